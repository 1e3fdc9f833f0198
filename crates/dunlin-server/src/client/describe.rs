//! `DESCRIBE` and `SHOW VERSION`.

use super::services::ClientServices;
use dunlin_cql::operation::Describe;
use dunlin_cql::{Cell, Reply, describe};

/// `SHOW VERSION`.
pub(super) fn version() -> Reply {
    Reply::ok_with("version", env!("CARGO_PKG_VERSION")).with("protocol", "1")
}

/// `DESCRIBE`.
pub(super) fn describe(services: &ClientServices, what: Describe) -> Reply {
    let view = services.view();
    let schema = &view.schema;
    match what {
        Describe::Keyspaces => {
            let rows = schema.keyspaces().map(|def| vec![Cell::text(&def.name)]).collect();
            Reply::rows(vec!["keyspace".to_owned()], rows)
        }
        Describe::Tables => {
            let rows =
                schema.tables().map(|def| vec![Cell::text(&def.keyspace), Cell::text(&def.name)]).collect();
            Reply::rows(vec!["keyspace".to_owned(), "table".to_owned()], rows)
        }
        Describe::Schema => statements(describe::schema(schema)),
        Describe::Keyspace(name) => statements(describe::keyspace_and_tables(schema, &name)),
        Describe::Table(def) => statements(vec![describe::table(&def)]),
        Describe::Cluster => cluster(services),
    }
}

fn statements(texts: Vec<String>) -> Reply {
    Reply::rows(vec!["statement".to_owned()], texts.into_iter().map(|text| vec![Cell::text(text)]).collect())
}

fn cluster(services: &ClientServices) -> Reply {
    let view = services.view();
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![Cell::text(name), Cell::text(value)]);
    if let Some(layout) = view.newest_layout() {
        row("name", layout.cluster_name.clone());
        row("id", layout.cluster.to_string());
        row("partitioner", "SipHash-2-4".to_owned());
        row("vnodes", layout.vnodes.get().to_string());
        row("layout", layout.version.to_string());
        for member in &layout.members {
            let state = if view.is_alive(member.host) { "up" } else { "down" };
            row(
                "node",
                format!("{} {} {}/{} {state}", member.name, member.client, member.data_center, member.rack),
            );
        }
    }
    Reply::rows(vec!["item".to_owned(), "value".to_owned()], rows)
}
