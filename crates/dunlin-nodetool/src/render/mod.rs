//! Answers as text for people.

mod hints;
mod ring;
mod status;
mod storage;

use crate::args::Verb;
use bytesize::ByteSize;
use comfy_table::{Table, presets};
use serde_json::Value;
use std::fmt::Write as _;

/// Text that ends in a newline.
pub fn text(verb: &Verb, answer: &Value) -> String {
    match verb {
        Verb::Status => status::text(answer),
        Verb::Ring => ring::text(answer),
        Verb::Listsnapshots => storage::snapshots(answer),
        Verb::Snapshot { .. } => storage::taken(answer),
        Verb::Verify { .. } => storage::verified(answer),
        Verb::Scrub { data_dir: None, .. } => storage::scrubbed(answer),
        Verb::Hints { .. } | Verb::Listpendinghints => hints::text(answer),
        Verb::Version => format!("{}\n", cell(&answer["version"])),
        Verb::Getendpoints { .. } => {
            let names = answer["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default();
            names.iter().fold(String::new(), |out, endpoint| out + &line(endpoint) + "\n")
        }
        Verb::Getsstables { .. } => {
            let paths = answer["sstables"].as_array().map(Vec::as_slice).unwrap_or_default();
            paths.iter().fold(String::new(), |out, path| out + &cell(path) + "\n")
        }
        _ => tree(answer, 0),
    }
}

/// One endpoint: a bare text, or the address first and the rest behind it.
fn line(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let first = ["address", "internode", "name"]
                .iter()
                .find_map(|k| map.get(*k))
                .map(cell)
                .unwrap_or_default();
            let rest: Vec<String> = map
                .iter()
                .filter(|(_, v)| cell(v) != first)
                .map(|(k, v)| format!("{k}={}", cell(v)))
                .collect();
            format!("{first}  {}", rest.join("  "))
        }
        other => cell(other),
    }
}

/// Objects as aligned `name : value` lines, lists of objects as tables, nested ones indented.
fn tree(value: &Value, depth: usize) -> String {
    let pad = "  ".repeat(depth);
    let mut out = String::new();
    match value {
        Value::Object(map) => {
            let width = map.keys().map(String::len).max().unwrap_or(0);
            for (name, value) in map {
                match value {
                    Value::Object(inner) if !inner.is_empty() => {
                        let _ = write!(out, "{pad}{name}:\n{}", tree(value, depth + 1));
                    }
                    Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_object) => {
                        let _ = writeln!(out, "{pad}{name}:\n{}", table(list, &pad));
                    }
                    _ => {
                        let _ = writeln!(out, "{pad}{name:width$} : {}", named(name, value));
                    }
                }
            }
        }
        Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_object) => {
            out = table(list, &pad) + "\n"
        }
        other => {
            let _ = writeln!(out, "{pad}{}", cell(other));
        }
    }
    out
}

fn table(list: &[Value], pad: &str) -> String {
    let mut columns: Vec<&String> = Vec::new();
    for row in list {
        for name in row.as_object().into_iter().flat_map(|map| map.keys()) {
            if !columns.contains(&name) {
                columns.push(name);
            }
        }
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.iter().map(|c| c.as_str()));
    for row in list {
        table.add_row(columns.iter().map(|c| named(c, &row[c.as_str()])));
    }
    table.to_string().lines().map(|line| format!("{pad}{}", line.trim_end())).collect::<Vec<_>>().join("\n")
}

/// A value whose name gives its unit.
fn named(name: &str, value: &Value) -> String {
    match value.as_u64() {
        Some(bytes) if name.ends_with("bytes") => size(bytes),
        _ => cell(value),
    }
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// A value in one cell; control characters are shown, not obeyed.
pub(crate) fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn trees_are_aligned() {
        let text = tree(
            &json!({ "name": "n1", "load_bytes": 2048, "more": { "a": 1 }, "rows": [{ "x": 1, "y": null }] }),
            0,
        );
        for part in ["name       : n1\n", "load_bytes : 2.0 KiB\n", "more:\n  a : 1\n", "rows:\n"] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }

    #[test]
    fn endpoints_come_with_the_address_first() {
        assert_eq!(line(&json!("10.0.0.1:7000")), "10.0.0.1:7000");
        assert!(
            line(&json!({ "name": "n1", "address": "10.0.0.1:7000" })).starts_with("10.0.0.1:7000  name=n1")
        );
    }
}
