//! `dunlin get|put|delete|scan` as processes, against nodes that follow a script.

// Real processes, sockets, threads and files are what is tested.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod scripted;

use scripted::{Given, check, dunlin, dunlin_reading, node, outcome, table};
use std::net::TcpListener;
use std::time::{Duration, Instant};

const OF_TEXT: &str = "dunlin\tkv\tkey\ttext\tvalue\ttext\tsiblings";

/// A node with that table, which answers other statements as `answer` says, and what it was given of them.
fn serving(
    cells: &'static str,
    answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> (String, Given) {
    let given = Given::default();
    let noted = given.clone();
    let host = node(move |statement| match statement {
        _ if statement.contains("system.tables") => Some(table(cells)),
        "CONSISTENCY QUORUM;" => Some("OK\n".to_owned()),
        _ => noted.note(statement).or_else(|| answer(statement)),
    });
    (host, given)
}

fn obliging(cells: &'static str) -> (String, Given) {
    serving(cells, |_| Some("OK\tcontext=AQEB\n".to_owned()))
}

/// The one statement that was given since the last time, up to its options.
fn written(given: &Given) -> String {
    let all = given.take();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].split(" USING ").next().unwrap().to_owned()
}

#[test]
fn values_come_from_the_command_line_from_files_and_from_standard_input() {
    let (host, given) = obliging(OF_TEXT);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("value");
    std::fs::write(&file, "two\nlines; 'quoted'\n").unwrap();
    let at_file = format!("@{}", file.display());
    let insert =
        |key: &str, value: &str| format!("INSERT INTO dunlin.kv (key, value) VALUES ('{key}', '{value}')");
    for (arguments, statement) in [
        (&["k", at_file.as_str()][..], insert("k", "two\nlines; ''quoted''\n")),
        (&["k", "@nowhere", "--verbatim"], insert("k", "@nowhere")),
        (&["k", "-", "--verbatim"], insert("k", "-")),
        (&["k", "-5"], insert("k", "-5")),
        (&["k", "--dashes"], insert("k", "--dashes")),
        (&["-k", "v"], insert("-k", "v")),
        (&["--", "--key", "--"], insert("--key", "--")),
    ] {
        let done = dunlin(&[&["put", "--host", &host], arguments].concat());
        assert_eq!(outcome(&done), (0, String::new(), String::new()), "{arguments:?}");
        let all = given.take();
        let last = all.last().unwrap_or_else(|| panic!("{arguments:?} sent nothing"));
        assert!(last.starts_with(&statement), "{arguments:?}: {last}");
    }
    let done = dunlin_reading(&["put", "k", "-", "--host", &host], "from a pipe\n".as_bytes());
    assert_eq!(outcome(&done).0, 0);
    assert_eq!(written(&given), insert("k", "from a pipe\n"));
    let done = dunlin_reading(&["put", "k", "-", "--host", &host], b"\xff\xfe");
    assert_eq!(outcome(&done).0, 1);
    assert!(outcome(&done).2.contains("expected text"), "{done:?}");
    check(&["put", "k", "@/nonexistent/file", "--host", &host], 1, "", "/nonexistent/file");
    let big = dunlin_reading(&["put", "k", "-", "--host", &host], &vec![b'x'; (16 << 20) + 1]);
    assert!(outcome(&big).2.contains("longer than a value may be"), "{:?}", outcome(&big).2);
    assert_eq!(given.take(), Vec::<String>::new());
}

#[test]
fn keys_that_begin_with_a_dash() {
    let (host, given) = serving(OF_TEXT, |statement| {
        Some(match statement.starts_with("DELETE") {
            true => "OK\n".to_owned(),
            false => "COLUMNS\tvalue\tcontext\nROW\tv\tAQ\nEND\trows=1\n".to_owned(),
        })
    });
    check(&["get", "-5", "--host", &host], 0, "v\n", "");
    check(&["get", "--host", &host, "--", "--format"], 0, "v\n", "");
    check(&["delete", "-rf", "--host", &host], 0, "", "");
    let all = given.take();
    for (statement, key) in all.iter().zip(["'-5'", "'--format'", "'-rf'"]) {
        assert!(statement.contains(key), "{all:?}");
    }
}

#[test]
fn bytes_are_values_of_a_blob_column_as_they_are() {
    let (host, given) = obliging("shop\tphotos\tname\ttext\tbytes\tblob\tsiblings");
    let put = |value: &str, input: &[u8]| {
        let done = dunlin_reading(&["put", "k", value, "--table", "shop.photos", "--host", &host], input);
        assert_eq!(outcome(&done).0, 0, "{done:?}");
        written(&given)
    };
    assert!(put("-", &[0, 0xff, b'\n']).ends_with("VALUES ('k', 0x00ff0a)"));
    assert!(put("0xCAFE", &[]).ends_with("VALUES ('k', 0xcafe)"));
    let (host, given) = obliging("shop\tprices\tname\ttext\tcents\tbigint\tlast_write_wins");
    let done = dunlin_reading(&["put", "k", "-", "--table", "shop.prices", "--host", &host], b" 42\n");
    assert_eq!(outcome(&done).0, 0, "{done:?}");
    assert!(written(&given).ends_with("VALUES ('k', 42)"));
}

#[test]
fn json_says_what_happened() {
    let (host, given) = serving(OF_TEXT, |statement| {
        Some(match statement {
            s if s.contains("'absent'") => "COLUMNS\tvalue\tcontext\nEND\trows=0\tcontext=AQ0\n".to_owned(),
            s if s.starts_with("SELECT") => {
                "COLUMNS\tvalue\tcontext\nROW\ta\tAQ2\nROW\tb\tAQ2\nEND\trows=2\n".to_owned()
            }
            s if s.contains("'full'") => "ERROR\tDISK_FULL\tno room\tapplied=no\n".to_owned(),
            _ => "OK\tcontext=AQEB\n".to_owned(),
        })
    });
    let run = |arguments: &[&str]| {
        let (status, out, err) =
            outcome(&dunlin(&[arguments, &["--format", "json", "--host", &host][..]].concat()));
        (status, out.trim_end().to_owned(), err)
    };
    let json = |status, text: &str| (status, text.to_owned(), String::new());
    assert_eq!(run(&["get", "k"]), json(0, r#"{"key":"k","values":["a","b"],"context":"AQ2"}"#));
    assert_eq!(run(&["get", "absent"]), json(1, r#"{"key":"absent","values":[],"context":"AQ0"}"#));
    assert_eq!(run(&["put", "k", "v"]), json(0, r#"{"key":"k","applied":true,"context":"AQEB"}"#));
    assert_eq!(
        run(&["delete", "k", "--context", "AQ2"]),
        json(0, r#"{"key":"k","applied":true,"context":"AQEB"}"#)
    );
    assert!(given.take().last().unwrap().contains("USING CONTEXT 'AQ2'"));
    let (status, out, err) = run(&["put", "full", "v"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.starts_with(r#"{"error":"DISK_FULL: no room"#), "{err}");
}

#[test]
fn a_last_write_wins_table_has_no_context() {
    let (host, _) = serving("shop\tm\tid\tbigint\tx\tdouble\tlast_write_wins", |statement| {
        Some(match statement.starts_with("SELECT x FROM") {
            true => "COLUMNS\tx\nROW\t1.5\nEND\trows=1\n".to_owned(),
            false => "OK\n".to_owned(),
        })
    });
    let json = ["--table", "shop.m", "--format", "json", "--host", &host];
    let run = |arguments: &[&str]| outcome(&dunlin(&[arguments, &json[..]].concat())).1;
    assert_eq!(run(&["get", "7"]).trim_end(), r#"{"key":7,"values":[1.5],"context":null}"#);
    assert_eq!(run(&["put", "7", "2"]).trim_end(), r#"{"key":7,"applied":true,"context":null}"#);
}

#[test]
fn a_scan_prints_the_rows_of_all_pages() {
    let (host, _) = serving(OF_TEXT, |statement| {
        Some(match statement.contains("PAGE 'p1'") {
            false => "COLUMNS\tkey\tvalue\nROW\ta\t1\nROW\tb\tx\\ty\nEND\trows=2\tpage=p1\n".to_owned(),
            true => "COLUMNS\tkey\tvalue\nROW\tc\t3\nEND\trows=1\n".to_owned(),
        })
    });
    let run = |arguments: &[&str]| outcome(&dunlin(&[&["scan", "--host", &host], arguments].concat()));
    assert_eq!(run(&[]), (0, "a\t1\nb\tx\\ty\nc\t3\n".to_owned(), String::new()));
    assert_eq!(run(&["--limit", "1"]).1, "a\t1\n");
    assert_eq!(run(&["--format", "json"]).1.lines().last().unwrap(), r#"{"key":"c","value":"3"}"#);
}

/// Every connection is taken, and nothing is ever answered.
fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let held: Vec<_> = listener.incoming().collect();
        drop(held);
    });
    addr
}

#[test]
fn the_time_limit_is_the_longest_wait_of_every_verb() {
    let (one, two) = (silent(), silent());
    let deaf = || {
        serving(OF_TEXT, |_| {
            std::thread::sleep(Duration::from_secs(20));
            None
        })
        .0
    };
    let (three, four) = (deaf(), deaf());
    for hosts in [vec![&one], vec![&one, &two], vec![&three], vec![&three, &four]] {
        let hosts = hosts.iter().map(|host| host.as_str()).collect::<Vec<_>>().join(",");
        for verb in [&["get", "k"][..], &["put", "k", "v"], &["delete", "k"], &["scan"]] {
            let began = Instant::now();
            let done = dunlin(&[verb, &["--host", &hosts, "--timeout", "1"][..]].concat());
            let took = began.elapsed();
            let (status, _, err) = outcome(&done);
            assert_eq!(status, 1, "{verb:?}: {err}");
            assert!(took < Duration::from_millis(2500), "{verb:?} of {hosts} took {took:?}: {err}");
            let writes = ["put", "delete"].contains(&verb[0]);
            let reached = hosts.contains(&three);
            assert_eq!(err.contains("may have been applied"), writes && reached, "{verb:?}: {err}");
        }
    }
}

#[test]
fn only_a_write_whose_outcome_is_open_may_have_been_applied() {
    for (reply, open) in [
        (Some("ERROR\tWRITE_TIMEOUT\tlate\tapplied=maybe\n"), true),
        (Some("ERROR\tINTERNAL\toops\n"), true),
        (None, true),
        (Some("ERROR\tUNAVAILABLE\tfew\tapplied=no\n"), false),
        (Some("ERROR\tDISK_FULL\tno room\tapplied=no\n"), false),
    ] {
        let (host, _) = serving(OF_TEXT, move |_| reply.map(str::to_owned));
        for (verb, writes) in [
            (&["put", "k", "v"][..], true),
            (&["delete", "k"], true),
            (&["get", "k"], false),
            (&["scan"], false),
        ] {
            let (status, _, err) =
                outcome(&dunlin(&[verb, &["--host", &host, "--timeout", "2"][..]].concat()));
            assert_eq!(status, 1);
            assert_eq!(err.contains("may have been applied"), writes && open, "{verb:?} {reply:?}: {err}");
        }
    }
}
