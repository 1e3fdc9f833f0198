//! Snapshots, and what `verify` and `scrub` found.

use super::{age, cell, size, table};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// One line a snapshot.
pub fn snapshots(answer: &Value) -> String {
    let Some(list) = answer["snapshots"].as_array().filter(|list| !list.is_empty()) else {
        return "There are no snapshots. `nodetool snapshot --name NAME` takes one.\n".to_owned();
    };
    let rows: Vec<Value> = list
        .iter()
        .map(|s| {
            json!({ "name": s["name"], "age": age(s["age_s"].as_u64().unwrap_or(0)), "size_bytes": s["size_bytes"],
                "files": s["files"], "tables": s["tables"] })
        })
        .collect();
    format!("{}\nin {}\n", table(&rows, ""), cell(&answer["directory"]))
}

/// Every damaged place, or that there is none.
pub fn verified(answer: &Value) -> String {
    let tables = cell(&answer["tables_verified"]);
    let found = answer["damage"].as_array().map(Vec::as_slice).unwrap_or_default();
    if found.is_empty() {
        return format!("{tables} tables verified, every SSTable is sound\n");
    }
    let mut out = String::new();
    for place in found {
        let _ = write!(
            out,
            "{}: {} at byte {}: {}",
            cell(&place["table"]),
            cell(&place["file"]),
            cell(&place["offset"]),
            cell(&place["what"])
        );
        if !place["first_token"].is_null() {
            let _ =
                write!(out, " (tokens {} to {})", cell(&place["first_token"]), cell(&place["last_token"]));
        }
        out.push('\n');
    }
    let _ = writeln!(out, "{tables} tables verified, {} damaged places", cell(&answer["damaged_places"]));
    out
}

/// What was mended, and where the damaged files are.
pub fn scrubbed(answer: &Value) -> String {
    let tables = cell(&answer["tables_checked"]);
    let done = answer["scrubbed"].as_array().map(Vec::as_slice).unwrap_or_default();
    if done.is_empty() {
        return format!("{tables} tables checked, every SSTable is sound: nothing to do\n");
    }
    let mut out = table(done, "") + "\n";
    out.push_str(
        "What was lost is fetched from the other replicas; `nodetool status` says when it is not back yet.\n",
    );
    out
}

/// A snapshot that was taken.
pub fn taken(answer: &Value) -> String {
    let bytes = size(answer["size_bytes"].as_u64().unwrap_or(0));
    let name = cell(&answer["name"]);
    format!("snapshot {name}: {} SSTables, {bytes}\n", cell(&answer["files"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_listed() {
        assert!(snapshots(&json!({ "snapshots": [] })).starts_with("There are no snapshots"));
        let text = snapshots(&json!({ "directory": "d/snapshots", "snapshots": [
            { "name": "s", "age_s": 120, "files": 3, "size_bytes": 2048, "tables": ["a.b", "a.c"] }] }));
        for part in ["s", "2 min 0 s", "2.0 KiB", "a.b, a.c", "in d/snapshots\n"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn damage_is_named() {
        assert_eq!(
            verified(&json!({ "tables_verified": 2, "damage": [] })),
            "2 tables verified, every SSTable is sound\n"
        );
        let text = verified(&json!({ "tables_verified": 2, "damaged_places": 1, "damage": [
            { "table": "ks.t", "file": "tables/ks/t/1.sst", "offset": 4096, "what": "checksum", "first_token": 1, "last_token": 9 }] }));
        assert_eq!(
            text,
            "ks.t: tables/ks/t/1.sst at byte 4096: checksum (tokens 1 to 9)\n2 tables verified, 1 damaged places\n"
        );
        assert!(scrubbed(&json!({ "tables_checked": 3, "scrubbed": [] })).contains("nothing to do"));
    }
}
