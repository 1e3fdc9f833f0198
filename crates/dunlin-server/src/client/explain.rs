//! `EXPLAIN SELECT ... WHERE k = key`: the way to a key, without reading it.

use super::errors;
use super::execute::no_layout;
use super::services::ClientServices;
use dunlin_cql::{Cell, Reply};
use dunlin_types::{Consistency, ErrorCode, Key, TableDef};

/// Rows of `item`, `value`, `note`.
pub(super) fn explain(
    services: &ClientServices,
    table: &TableDef,
    key: &Key,
    consistency: Consistency,
) -> Reply {
    let view = services.view();
    let (Some(layout), Some(found)) = (view.read_layout(), view.table(table.id)) else {
        return errors::reply(services, *no_layout(), None);
    };
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    let mut row = |item: &str, value: String, note: String| {
        rows.push(vec![Cell::text(item), Cell::text(value), Cell::text(note)]);
    };
    let token = layout.token(key);
    let vnode = layout.vnode_of(token);
    let range = layout.range_of(vnode);
    row(
        "token",
        token.0.to_string(),
        "SipHash-2-4 of the key under the cluster's partitioner key".to_owned(),
    );
    row(
        "vnode",
        vnode.to_string(),
        format!("of {}; tokens {} to {}", layout.vnodes.get(), range.first.0, range.last.0),
    );
    row("coordinator", view.name_of(view.me), "the node that was asked".to_owned());
    let replicas = view.replicas(found, token);
    for (placed, version) in
        found.keyspace.placed.iter().zip(found.keyspace.placed.iter().map(|p| p.layout.version))
    {
        let reads = if version == layout.version { "reads and writes go here" } else { "writes go here too" };
        row("layout", version.to_string(), reads.to_owned());
        for (position, host) in placed.replicas(token).iter().enumerate() {
            let place = placed
                .layout
                .member(*host)
                .map_or_else(String::new, |m| format!("{}/{}", m.data_center, m.rack));
            let why = if position == 0 { "owner of the vnode" } else { "next on the ring" };
            let state = if view.is_alive(*host) { "up" } else { "down" };
            row("replica", view.name_of(*host), format!("{state}; {why}; {place}; layout {version}"));
        }
    }
    let read_layout = [replicas.read_mask()];
    let required: u32 =
        view.needs(found, &replicas, &read_layout, consistency).iter().map(|need| need.required).sum();
    let alive = (replicas.read_mask() & replicas.alive).count_ones();
    let verdict = if alive >= required { "can be served" } else { ErrorCode::Unavailable.name() };
    row("consistency", consistency.to_string(), format!("needs {required}, {alive} are up: {verdict}"));
    Reply::rows(vec!["item".to_owned(), "value".to_owned(), "note".to_owned()], rows)
}
