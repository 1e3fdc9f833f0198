//! `nodetool status`: Cassandra's lines, per data centre, then what needs attention.

use super::{cell, size};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The two letters: U or D, then N, L or J.
fn letters(node: &Value) -> String {
    let up = if node["up"] == true { 'U' } else { 'D' };
    let state = match node["state"].as_str().unwrap_or("").to_ascii_lowercase().as_str() {
        "leaving" | "left" => 'L',
        "joining" | "waiting" => 'J',
        "normal" => 'N',
        _ => '?',
    };
    format!("{up}{state}")
}

/// The whole page.
pub fn text(answer: &Value) -> String {
    let nodes = answer["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut centres: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for node in nodes {
        centres.entry(cell(&node["data_center"])).or_default().push(node);
    }
    let mut out = String::new();
    for (centre, nodes) in centres {
        let title = format!("Datacenter: {centre}");
        let _ = writeln!(out, "{title}\n{}", "=".repeat(title.chars().count()));
        out.push_str("Status=Up/Down\n|/ State=Normal/Leaving/Joining\n");
        let mut rows =
            vec![["--", "Address", "Load", "Vnodes", "Owns", "Host ID", "Rack", "Name"].map(str::to_owned)];
        for node in nodes {
            rows.push([
                letters(node),
                cell(&node["address"]),
                node["load_bytes"].as_u64().map_or("?".to_owned(), size),
                cell(&node["vnodes"]),
                node["owns"].as_f64().map_or("?".to_owned(), |owns| format!("{:.1}%", owns * 100.0)),
                cell(&node["host_id"]),
                cell(&node["rack"]),
                cell(&node["name"]),
            ]);
        }
        let widths: Vec<usize> =
            (0..8).map(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0)).collect();
        for row in rows {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            let _ = writeln!(out, "{}", cells.join("  ").trim_end());
        }
        out.push('\n');
    }
    for line in answer["attention"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "! {}", cell(line));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn as_cassandra_prints_it() {
        let node = |name: &str, up: bool, state: &str| {
            json!({ "name": name, "host_id": "0f0e", "address": "127.0.0.1", "data_center": "dc1", "rack": "r1", "up": up,
                "state": state, "load_bytes": 1024, "vnodes": 85, "owns": 0.333, "generation": 1 })
        };
        let text = text(
            &json!({ "nodes": [node("n1", true, "normal"), node("n2", false, "leaving")], "attention": ["n2 is down since 10 s"] }),
        );
        assert_eq!(
            text,
            "Datacenter: dc1\n===============\nStatus=Up/Down\n|/ State=Normal/Leaving/Joining\n\
             --  Address    Load     Vnodes  Owns   Host ID  Rack  Name\n\
             UN  127.0.0.1  1.0 KiB  85      33.3%  0f0e     r1    n1\n\
             DL  127.0.0.1  1.0 KiB  85      33.3%  0f0e     r1    n2\n\n! n2 is down since 10 s\n"
        );
    }
}
