//! What others say to nodetool: nodes, and the environment.

// Real processes, sockets and threads are what is tested.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod scripted;

use scripted::{admin, full_answer, nodetool, outcome};

#[test]
fn nothing_that_a_node_says_steers_a_terminal() {
    let port = admin(|verb| full_answer(verb, "\u{1b}[31m\u{202e}x"));
    for words in [
        &["status"][..],
        &["ring"],
        &["info"],
        &["netstats"],
        &["tablestats"],
        &["listsnapshots"],
        &["hints"],
        &["repair"],
        &["verify"],
        &["scrub"],
        &["version"],
        &["snapshot"],
        &["getendpoints", "shop", "baskets", "alice"],
        &["getsstables", "shop", "baskets", "alice"],
    ] {
        let (status, out, err) = outcome(&nodetool(&[&["--port", &port], words].concat(), &[]));
        assert_eq!(status, 0, "{words:?}: {out}{err}");
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!out.contains(steers) && !err.contains(steers), "{words:?}: {out:?} {err:?}");
        assert!(words == ["snapshot"] || out.contains("\\x1b[31m"), "{words:?}: {out}");
    }
}

#[test]
fn an_error_of_a_node_steers_no_terminal() {
    let port = admin(|_| serde_json::json!({ "error": "no \u{1b}[2Jsuch\nthing" }));
    let (status, out, err) = outcome(&nodetool(&["--port", &port, "status"], &[]));
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("\\x1b[2Jsuch") && !err.contains('\u{1b}'), "{err:?}");
}

#[test]
fn a_foreign_variable_is_named_and_an_option_wins() {
    let port = admin(|verb| full_answer(verb, "n1"));
    let foreign = [("DUNLIN_ADMIN_PORT", "tcp://10.0.0.1:7199")];
    let (status, out, err) = outcome(&nodetool(&["version"], &foreign));
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("DUNLIN_ADMIN_PORT=tcp://10.0.0.1:7199") && err.contains("Kubernetes"), "{err}");
    let (status, out, err) = outcome(&nodetool(&["--port", &port, "version"], &foreign));
    assert_eq!((status, out.as_str(), err.as_str()), (0, "n1\n", ""));
    // Of use is the variable as soon as it is one; an empty one is none.
    let (status, out, _) = outcome(&nodetool(&["version"], &[("DUNLIN_ADMIN_PORT", &port)]));
    assert_eq!((status, out.as_str()), (0, "n1\n"));
    let (status, _, err) = outcome(&nodetool(&["--host", &format!("127.0.0.1:{port}"), "version"], &foreign));
    assert_eq!((status, err.as_str()), (0, ""));
}
