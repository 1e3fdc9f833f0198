//! Hints as a table of targets.

use super::{age, cell, size};
use comfy_table::{Table, presets};
use serde_json::Value;

const COLUMNS: [&str; 10] =
    ["target", "state", "hints", "size", "oldest", "rate", "eta", "delivered", "moved", "dropped"];

/// One line for each target; what was dropped, by rule, at its end.
pub fn text(answer: &Value) -> String {
    if let Some(count) = answer["waited_for"].as_u64() {
        return format!("{count} hints waited for, all of them gone\n");
    }
    let targets = answer["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let paused = if answer["paused"] == true { "Delivery is paused: `nodetool hints resume`.\n" } else { "" };
    if targets.is_empty() {
        return format!("{paused}No hints.\n");
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(COLUMNS);
    table.add_rows(targets.iter().map(row));
    let lines: Vec<String> =
        table.to_string().lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    lines.concat() + paused
}

fn row(target: &Value) -> [String; 10] {
    let waits = target["count"].as_u64().unwrap_or(0) > 0;
    let rate = target["rate_bytes"].as_u64().map_or("-".to_owned(), |rate| format!("{}/s", size(rate)));
    let time = |name: &str| match target[name].as_u64().filter(|_| waits) {
        Some(seconds) => age(seconds),
        None => "-".to_owned(),
    };
    let rules = target["dropped_by_rule"].as_object().into_iter().flatten();
    let dropped: Vec<String> = rules
        .filter(|(_, count)| count.as_u64().unwrap_or(0) > 0)
        .map(|(rule, count)| format!("{}={}", cell(&Value::from(rule.as_str())), cell(count)))
        .collect();
    [
        cell(&target["target"]),
        cell(&target["state"]),
        cell(&target["count"]),
        size(target["bytes"].as_u64().unwrap_or(0)),
        time("oldest_s"),
        rate,
        time("eta_s"),
        cell(&target["delivered"]),
        cell(&target["moved"]),
        if dropped.is_empty() { "-".to_owned() } else { dropped.join(" ") },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_target_is_one_line() {
        let target = json!({
            "target": "n2", "state": "delivering", "count": 3, "bytes": 2048, "oldest_s": 90, "rate_bytes": 1 << 20,
            "eta_s": 5, "delivered": 7, "moved": 0, "dropped_by_rule": { "window": 2, "disk": 0, "bytes": 1 },
        });
        let text = text(&json!({ "paused": false, "targets": [target] }));
        let words: Vec<&str> = text.lines().nth(1).expect("a line").split_whitespace().collect();
        let line = words.join(" ");
        for part in
            ["n2", "delivering", "3", "2.0 KiB", "1 min 30 s", "1.0 MiB/s", "5 s", "7", "bytes=1 window=2"]
        {
            assert!(line.contains(part), "{part:?} in {line:?}");
        }
        assert!(super::text(&json!({ "paused": true, "targets": [] })).contains("paused"));
    }
}
