//! `nodetool repair`: what was compared and moved, by peer.

use super::{cell, size, table};
use serde_json::Value;
use std::fmt::Write as _;

/// A row a peer, and what it all means.
pub fn text(answer: &Value) -> String {
    if let Some(cancelled) = answer["cancelled"].as_u64() {
        return match cancelled {
            0 => "no repair was running\n".to_owned(),
            n => format!(
                "{n} repair{} cancelled; what was compared until then is equal\n",
                if n == 1 { "" } else { "s" }
            ),
        };
    }
    let mut out = String::new();
    if let Some(peers) = answer["peers"].as_array().filter(|peers| !peers.is_empty()) {
        let _ = writeln!(out, "{}\n", table(peers, ""));
    }
    let number = |name: &str| answer[name].as_u64().unwrap_or(0);
    let (ranges, differing) = (number("ranges"), number("records_differing"));
    let _ = match (ranges, differing, answer["preview"] == true) {
        (0, ..) => writeln!(out, "nothing to compare: no other node has a copy of this"),
        (_, 0, _) => writeln!(out, "{ranges} ranges compared, all equal"),
        (_, _, true) => writeln!(
            out,
            "{ranges} ranges compared, {differing} keys differ in {}; nothing was moved (--preview)",
            cell(&answer["ranges_differing"])
        ),
        _ => writeln!(
            out,
            "{ranges} ranges compared, {differing} keys differed in {}: {} records sent, {} received, {}",
            cell(&answer["ranges_differing"]),
            number("records_sent"),
            number("records_received"),
            size(number("bytes"))
        ),
    };
    let doubtful = number("ranges_doubtful");
    if doubtful > 0 {
        let _ = writeln!(
            out,
            "{doubtful} ranges were left out: one of the two copies lost data of them and has to get it back first"
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_a_peer_and_the_sum() {
        let answer = json!({ "ranges": 85, "ranges_differing": 2, "records_differing": 3, "records_sent": 1, "records_received": 2,
            "bytes": 2048, "preview": false,
            "peers": [{ "peer": "n2", "ranges": 85, "records_sent": 1, "records_received": 2 }] });
        let text = text(&answer);
        assert!(text.contains("peer") && text.contains("n2"), "{text}");
        assert!(
            text.ends_with("85 ranges compared, 3 keys differed in 2: 1 records sent, 2 received, 2.0 KiB\n"),
            "{text}"
        );
        assert_eq!(
            super::text(&json!({ "ranges": 4, "records_differing": 0 })),
            "4 ranges compared, all equal\n"
        );
        assert_eq!(super::text(&json!({ "cancelled": 0 })), "no repair was running\n");
        assert!(super::text(&json!({ "ranges": 0 })).starts_with("nothing to compare"));
    }
}
