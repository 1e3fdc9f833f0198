//! Rows of the tables of the keyspace `system`.

use super::services::{ClientServices, Readiness};
use dunlin_cql::system::SystemTable;
use dunlin_cql::{Cell, describe};
use dunlin_replication::view::View;

/// Every row, each as long as the table's columns.
pub(super) fn rows(services: &ClientServices, table: SystemTable) -> Vec<Vec<Cell>> {
    let view = services.view();
    match table {
        SystemTable::Local => local(services, &view),
        SystemTable::Peers => peers(&view),
        SystemTable::Keyspaces => view
            .schema
            .keyspaces()
            .map(|def| {
                vec![
                    Cell::text(&def.name),
                    Cell::text(describe::replication(&def.replication)),
                    Cell::text(def.sloppy_quorum.to_string()),
                    Cell::text(def.durable_writes.to_string()),
                ]
            })
            .collect(),
        SystemTable::Tables => tables(&view),
    }
}

fn local(services: &ClientServices, view: &View) -> Vec<Vec<Cell>> {
    let Some(layout) = view.newest_layout() else { return Vec::new() };
    let member = layout.member(view.me);
    let of_member =
        |text: fn(&dunlin_ring::Member) -> String| member.map_or(Cell::NULL, |m| Cell::text(text(m)));
    let status = match (services.backend.readiness(), member) {
        (Readiness::Starting, _) | (_, None) => "joining",
        (Readiness::Ready, Some(_)) => "normal",
        (Readiness::Draining, Some(_)) => "draining",
    };
    vec![vec![
        Cell::text(view.name_of(view.me)),
        Cell::text(view.me.to_string()),
        Cell::text(&layout.cluster_name),
        Cell::text(layout.cluster.to_string()),
        Cell::text(&view.data_center),
        of_member(|m| m.rack.clone()),
        Cell::text(services.backend.generation().to_string()),
        Cell::text(env!("CARGO_PKG_VERSION")),
        Cell::text(status),
        Cell::text(layout.version.to_string()),
        Cell::text(layout.vnodes_owned(view.me).to_string()),
        Cell::text(schema_digest(view)),
        of_member(|m| m.client.to_string()),
        of_member(|m| m.internode.to_string()),
        of_member(|m| m.admin.to_string()),
    ]]
}

/// First bytes of the BLAKE3 of the schema's statements: equal schemas, equal digests.
fn schema_digest(view: &View) -> String {
    let mut hasher = blake3::Hasher::new();
    for statement in describe::schema(&view.schema) {
        hasher.update(statement.as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

fn peers(view: &View) -> Vec<Vec<Cell>> {
    let Some(layout) = view.newest_layout() else { return Vec::new() };
    layout
        .members
        .iter()
        .filter(|member| member.host != view.me)
        .map(|member| {
            vec![
                Cell::text(&member.name),
                Cell::text(member.host.to_string()),
                Cell::text(&member.data_center),
                Cell::text(&member.rack),
                Cell::text("normal"),
                Cell::text(view.is_alive(member.host).to_string()),
                Cell::text(member.client.to_string()),
                Cell::text(member.internode.to_string()),
                Cell::text(member.admin.to_string()),
            ]
        })
        .collect()
}

fn tables(view: &View) -> Vec<Vec<Cell>> {
    view.schema
        .tables()
        .map(|def| {
            vec![
                Cell::text(&def.keyspace),
                Cell::text(&def.name),
                Cell::text(def.id.to_string()),
                Cell::text(&def.key_column),
                Cell::text(def.key_type.name()),
                Cell::text(&def.value_column),
                Cell::text(def.value_type.name()),
                Cell::text(def.conflicts.name()),
                Cell::text(def.default_time_to_live_s.to_string()),
                Cell::text(def.gc_grace_s.to_string()),
                Cell::text(def.compaction.name()),
                Cell::text(def.compression.name()),
                Cell::text(&def.speculative_retry),
                Cell::text(&def.comment),
            ]
        })
        .collect()
}
