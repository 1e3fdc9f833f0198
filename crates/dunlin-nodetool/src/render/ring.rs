//! `nodetool ring`: runs of vnodes with their owner.

use super::{cell, tree};
use serde_json::Value;
use std::fmt::Write as _;

/// One line a vnode: number, first token, owner.
pub fn text(answer: &Value) -> String {
    let Some(vnodes) = answer["vnodes"].as_array() else { return tree(answer, 0) };
    let mut out = String::from("vnode  first token           owner\n");
    for vnode in vnodes {
        let first = vnode["first_token"]
            .as_u64()
            .or_else(|| vnode["first_token"].as_str()?.parse().ok())
            .unwrap_or(0);
        let _ = writeln!(out, "{:>5}  {first:<20}  {}", cell(&vnode["vnode"]), cell(&vnode["owner"]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_line_a_vnode() {
        let text = text(&json!({ "vnodes": [{ "vnode": 7, "first_token": 99, "owner": "n1" }] }));
        assert_eq!(text.lines().nth(1), Some("    7  99                    n1"));
    }
}
