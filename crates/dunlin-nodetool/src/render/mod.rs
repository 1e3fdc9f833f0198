//! Answers as text for people.

mod hints;
mod repair;
mod ring;
mod status;
mod storage;

use crate::args::Verb;
use bytesize::ByteSize;
use comfy_table::{Table, presets};
use dunlin_terminal::printable;
use serde_json::Value;
use std::fmt::Write as _;

/// Text that ends in a newline. Whatever names the node gives, none of them steers a terminal.
pub fn text(verb: &Verb, answer: &Value) -> String {
    rendered(verb, answer).lines().map(|line| printable(line) + "\n").collect()
}

fn rendered(verb: &Verb, answer: &Value) -> String {
    match verb {
        Verb::Status => status::text(answer),
        Verb::Ring => ring::text(answer),
        Verb::Listsnapshots => storage::snapshots(answer),
        Verb::Snapshot { .. } => storage::taken(answer),
        Verb::Verify { .. } => storage::verified(answer),
        Verb::Scrub { data_dir: None, .. } => storage::scrubbed(answer),
        Verb::Hints { .. } | Verb::Listpendinghints => hints::text(answer),
        Verb::Repair(_) => repair::text(answer),
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
            let width = map.iter().map(|(name, value)| label(name, value).len()).max().unwrap_or(0);
            for (name, value) in map {
                match value {
                    Value::Object(inner) if !inner.is_empty() => {
                        let _ = write!(out, "{pad}{name}:\n{}", tree(value, depth + 1));
                    }
                    Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_object) => {
                        let _ = writeln!(out, "{pad}{name}:\n{}", table(list, &pad));
                    }
                    _ => {
                        let _ = writeln!(out, "{pad}{:width$} : {}", label(name, value), named(name, value));
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
    // What a row is about comes first; the rest is in the order of the alphabet.
    columns.sort_by_key(|name| !["name", "node", "peer", "table", "task", "target"].contains(&name.as_str()));
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.iter().map(|name| {
        // The unit goes with the values that have it.
        let units = list.iter().map(|row| label(name, &row[name.as_str()]));
        units.min_by_key(|label| label.len()).unwrap_or(name).to_owned()
    }));
    for row in list {
        table.add_row(columns.iter().map(|c| named(c, &row[c.as_str()])));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.to_string().lines().map(|line| format!("{pad}{}", line.trim_end())).collect::<Vec<_>>().join("\n")
}

/// A name without the unit that its value shows.
fn label<'a>(name: &'a str, value: &Value) -> &'a str {
    let with_unit = ["_bytes", "_s", "_us"].into_iter().find_map(|unit| name.strip_suffix(unit));
    with_unit.filter(|_| value.is_number()).unwrap_or(name)
}

/// A value whose name gives its unit.
fn named(name: &str, value: &Value) -> String {
    match (value.as_u64(), value.as_f64()) {
        (Some(bytes), _) if name.ends_with("bytes") => size(bytes),
        (_, Some(seconds)) if name.ends_with("_s") => age(seconds.max(0.0) as u64),
        (_, Some(micros)) if name.ends_with("_us") => duration_us(micros),
        _ => cell(value),
    }
}

/// Microseconds for people.
fn duration_us(micros: f64) -> String {
    match micros.abs() {
        0.0..1000.0 => format!("{micros:.0} us"),
        1000.0..1_000_000.0 => format!("{:.1} ms", micros / 1000.0),
        _ => format!("{:.1} s", micros / 1_000_000.0),
    }
}

/// Seconds for people: the two largest units.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// A value in one cell; control characters are shown, not obeyed.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(text) => printable(text),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(list) => list.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| format!("{name}={}", named(name, value)))
            .collect::<Vec<_>>()
            .join(" "),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(real) => rounded(real),
            None => number.to_string(),
        },
    }
}

/// Three digits behind the point at most.
fn rounded(real: f64) -> String {
    let text = format!("{real:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
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
        for part in ["name : n1\n", "load : 2.0 KiB\n", "more:\n  a : 1\n", "rows:\n"] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }

    #[test]
    fn ages() {
        for (seconds, expected) in
            [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3_660, "1 h 1 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(age(seconds), expected);
        }
    }

    #[test]
    fn numbers_are_for_people() {
        let answer = json!({ "uptime_s": 148.737806458, "phi": 6.996477897460629e-15, "share": 0.5, "rtt_us": 1500, "up": true, "ports": [] });
        assert_eq!(
            tree(&answer, 0),
            "phi    : 0\nports  : none\nrtt    : 1.5 ms\nshare  : 0.5\nup     : yes\nuptime : 2 min 28 s\n"
        );
        assert_eq!(table(&[json!({ "age_s": null }), json!({ "age_s": 90_000 })], ""), "age\n-\n1 d 1 h");
        assert_eq!(cell(&json!({ "a": 1, "b_bytes": 2048 })), "a=1 b_bytes=2.0 KiB");
        assert_eq!(cell(&json!("\u{1b}[31m")), "\\x1b[31m");
    }

    #[test]
    fn endpoints_come_with_the_address_first() {
        assert_eq!(line(&json!("10.0.0.1:7000")), "10.0.0.1:7000");
        assert!(
            line(&json!({ "name": "n1", "address": "10.0.0.1:7000" })).starts_with("10.0.0.1:7000  name=n1")
        );
    }
}
