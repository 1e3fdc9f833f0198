//! `dunlin shell` without a terminal: what is run, what is shown, and how it ends.

// Real processes, sockets, threads and files are what is tested.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod scripted;

use scripted::{Given, check, command, dunlin, dunlin_reading, node, obedient, of_the_shell, outcome};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Runs a text by `-e`, from a file, by `-f -` and through a pipe, and hands on (way, status, out, err).
fn every_way(host: &str, text: &str, mut check: impl FnMut(&str, i32, &str, &str)) {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "text.cql", text);
    let file = file.to_str().unwrap();
    for (way, arguments, input) in [
        ("-e", &["shell", host, "-e", text][..], ""),
        ("-f", &["shell", host, "-f", file], ""),
        ("-f -", &["shell", host, "-f", "-"], text),
        ("a pipe", &["shell", host], text),
    ] {
        let (status, out, err) = outcome(&dunlin_reading(arguments, input.as_bytes()));
        check(way, status, &out, &err);
    }
}

#[test]
fn every_statement_is_run_whatever_stands_around_it() {
    let (host, given) = obedient();
    let text = "\u{feff}-- first\nINSERT 1;/* b */ INSERT 2; // c\n  INSERT\n-- inner; \n3;\r\n;; INSERT '--;' /* last */; INSERT 5 -- end";
    every_way(&host, text, |way, status, out, err| {
        assert_eq!((status, out, err), (0, "", ""), "{way}");
        let bodies: Vec<String> = given
            .take()
            .iter()
            .map(|text| body(text).split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        let expected =
            ["INSERT 1", "INSERT 2", "INSERT -- inner; 3", "INSERT '--;' /* last */", "INSERT 5 -- end"];
        assert_eq!(bodies, expected, "{way}");
    });
}

fn body(text: &str) -> String {
    dunlin_cql::splitter::statements(text).next().unwrap().body.to_owned()
}

#[test]
fn what_begins_with_no_letter_is_given_to_the_node_and_its_error_ends_the_shell() {
    let host = node(|statement| {
        of_the_shell(statement).or(Some("ERROR\tSYNTAX\texpected a statement\tline=1\tcolumn=1\n".to_owned()))
    });
    for statement in ["(SELECT * FROM kv);", "?;", "\\q;", "'x';", "=", "1INSERT;", "\"x\"", "é;"] {
        every_way(&host, statement, |way, status, out, err| {
            assert_eq!((status, out), (1, ""), "{way} {statement}");
            assert!(err.contains("SYNTAX: expected a statement"), "{way} {statement}: {err}");
        });
    }
}

#[test]
fn comments_alone_are_nothing() {
    let (host, given) = obedient();
    for text in ["", "-- a", "-- a\n// b\n/* c; */\n", "\u{feff}", ";", " ; -- x\n;"] {
        every_way(&host, text, |way, status, out, err| {
            assert_eq!((status, out, err), (0, "", ""), "{way} {text:?}");
        });
    }
    assert!(given.all().is_empty());
}

#[test]
fn what_is_open_at_the_end_is_named_with_its_place_and_not_run() {
    let (host, given) = obedient();
    for (open, what) in [
        ("SELECT 'oops", "the string that starts at line 3, column 8 is not closed"),
        ("SELECT $$oops;", "the string that starts at line 3, column 8 is not closed"),
        ("SELECT \"oops", "the quoted name that starts at line 3, column 8 is not closed"),
        ("SELECT 1 /* oops", "the comment that starts at line 3, column 10 is not closed"),
        ("/* oops", "the comment that starts at line 3, column 1 is not closed"),
        ("BEGIN BATCH INSERT 1;", "the batch that starts at line 3, column 1 is not ended"),
    ] {
        every_way(&host, &format!("USE a;\n-- x\n{open}\n"), |way, status, out, err| {
            assert_eq!((status, out), (1, ""), "{way} {open}");
            assert!(err.contains(&format!(":3: {what}")), "{way} {open}: {err}");
            assert_eq!(given.take().len(), 1, "{way} {open}");
        });
    }
}

#[test]
fn errors_name_file_line_and_column_and_point_there() {
    let host = node(|statement| {
        of_the_shell(statement).or(Some(match body(statement).as_str() {
            "SELEC\t日本 wrong" => "ERROR\tSYNTAX\tno such word\tline=2\tcolumn=10\n".to_owned(),
            "USE nowhere" => "ERROR\tINVALID\tthere is no keyspace nowhere\tapplied=no\n".to_owned(),
            _ => "OK\n".to_owned(),
        }))
    });
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "a.cql", "USE a;\n\n USE b; -- why\nSELEC\t日本 wrong;\nUSE c;");
    let name = file.to_str().unwrap();
    let (status, out, err) = outcome(&dunlin(&["shell", &host, "-f", name]));
    assert_eq!((status, out.as_str()), (1, ""));
    let expected = format!(
        "{name}:4:10: SYNTAX: no such word\n  SELEC⇥日本 wrong;\n             ^\n{name}: what follows was not run\n"
    );
    assert_eq!(err, expected);
    check(
        &["shell", &host, "-e", "/* x */\n  USE nowhere"],
        1,
        "",
        "-e:2: INVALID: there is no keyspace nowhere",
    );
    let (_, _, err) = outcome(&dunlin(&["shell", &host, "--format", "json", "-f", name]));
    let error: serde_json::Value = serde_json::from_str(err.lines().next().unwrap()).unwrap();
    let expected = serde_json::json!({ "error": {
        "code": "SYNTAX", "message": "no such word", "file": name, "line": 4, "column": 10
    } });
    assert_eq!(error, expected);
}

#[test]
fn a_file_that_is_not_utf_8_is_named_with_the_line_of_the_byte() {
    let (host, given) = obedient();
    let dir = tempfile::tempdir().unwrap();
    for (bytes, place, run) in [
        (&b"USE a;\nUSE b;\nINSERT 'caf\xe9';\nUSE c;"[..], "l.cql:3: the byte 0xe9 is not UTF-8", 2),
        (b"\xff\xfeU\0S\0E\0", "l.cql:1: the byte 0xff is not UTF-8 (it looks like UTF-16)", 0),
    ] {
        let file = write(dir.path(), "l.cql", bytes);
        check(&["shell", &host, "-f", file.to_str().unwrap()], 1, "", place);
        assert_eq!(given.take().len(), run);
    }
}

#[test]
fn a_pipe_is_run_statement_by_statement_as_it_comes() {
    let (host, given) = obedient();
    let mut child = command(&["shell", &host, "--format", "table"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for nth in 1..=3 {
        write!(input, "INSERT {nth};").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "OK");
        assert_eq!(given.all().len(), nth);
    }
    input.write_all(b"EXIT;").unwrap();
    assert!(child.wait().unwrap().success());
}

/// A table of 25 rows in pages of 10, each named by the number of its first row. A page that `fails` is refused.
fn paged(fails: Option<u32>) -> (String, Given) {
    let given = Given::default();
    let noted = given.clone();
    let host = node(move |statement| {
        if let Some(reply) = noted.note(statement) {
            return Some(reply);
        }
        let Ok(dunlin_cql::Statement::Select(select)) = dunlin_cql::parse(statement) else {
            return Some("ERROR\tINVALID\tno\n".to_owned());
        };
        let first: u32 = select.using.page.map_or(0, |page| page.parse().unwrap());
        if fails == Some(first) {
            return Some("ERROR\tREAD_TIMEOUT\ttoo few replicas\trequired=2\treceived=1\n".to_owned());
        }
        let end = select.limit.map_or(25, |limit| u32::try_from(limit).unwrap().min(25));
        let last = end.min(first + 10);
        let rows: String = (first..last).map(|i| format!("ROW\tk{i}\tv\n")).collect();
        let page = if last < end { format!("\tpage={last}") } else { String::new() };
        Some(format!("COLUMNS\tkey\tvalue\n{rows}END\trows={}{page}\n", last - first))
    });
    (host, given)
}

#[test]
fn without_a_terminal_all_pages_are_shown() {
    let (host, _) = paged(None);
    for (statement, rows) in
        [("SELECT * FROM kv", 25), ("SELECT key FROM kv LIMIT 15", 15), ("SELECT * FROM kv LIMIT 3", 3)]
    {
        every_way(&host, statement, |way, status, out, err| {
            assert_eq!((status, out.lines().count(), err), (0, rows, ""), "{way} {statement}");
            assert_eq!(out.lines().last(), Some(format!("k{}\tv", rows - 1).as_str()));
        });
        let (_, json, _) = outcome(&dunlin(&["shell", &host, "--format", "json", "-e", statement]));
        assert_eq!(json.lines().count(), rows);
        assert!(json.ends_with(&format!("{{\"key\":\"k{}\",\"value\":\"v\"}}\n", rows - 1)), "{json}");
        check(&["shell", &host, "--format", "table", "-e", statement], 0, &format!("({rows} rows)\n"), "");
    }
}

#[test]
fn a_page_asked_for_by_hand_is_that_page() {
    let (host, given) = paged(None);
    let statement = "SELECT * FROM kv USING PAGE '10'";
    let (status, out, err) = outcome(&dunlin(&["shell", &host, "-e", statement]));
    assert_eq!((status, out.lines().next(), out.lines().count()), (0, Some("k10\tv"), 10));
    assert_eq!(err, "page=20\n");
    assert_eq!(given.all(), [format!("{statement};")]);
    check(&["shell", &host, "--format", "table", "-e", statement], 0, "(10 rows, page=20)", "");
    check(&["shell", &host, "--format", "json", "-e", statement], 0, "{\"rows\":10,\"page\":\"20\"}\n", "");
}

#[test]
fn a_page_that_fails_is_an_error_with_the_number_of_rows_before_it() {
    let (host, _) = paged(Some(20));
    let (status, out, err) = outcome(&dunlin(&["shell", &host, "-e", "SELECT * FROM kv"]));
    assert_eq!((status, out.lines().count()), (1, 20));
    assert!(err.contains("READ_TIMEOUT: too few replicas") && err.contains("required=2 received=1"), "{err}");
    assert!(err.contains("20 rows were shown before that"), "{err}");
}

#[test]
fn a_node_that_names_a_page_as_its_own_next_one_is_not_followed_for_ever() {
    let host = node(|statement| {
        of_the_shell(statement).or(Some("COLUMNS\tkey\nROW\ta\nEND\trows=1\tpage=x\n".to_owned()))
    });
    check(&["shell", &host, "-e", "SELECT * FROM kv"], 1, "a\na\n", "round in circles");
}

fn answers() -> String {
    node(|statement| {
        of_the_shell(statement).or(Some(
            match statement {
                "SHOW VERSION;" => "OK\tversion=0.1.0\tprotocol=1\n",
                "SHOW SESSION;" => "OK\tkeyspace=dunlin\tconsistency=QUORUM\tpaging=1000\ttracing=OFF\tuser=\n",
                "CONSISTENCY;" => "OK\tconsistency=QUORUM\n",
                "CONSISTENCY ONE;" | "USE shop;" => "OK\n",
                "SELECT value, CONTEXT(value) FROM kv WHERE key = 'absent';" => {
                    "COLUMNS\tvalue\tcontext\nEND\trows=0\tcontext=AQ\n"
                }
                s if s.starts_with("BEGIN BATCH") => "OK\tapplied=3\n",
                s if s.starts_with("INSERT") => "WARNING\tmany siblings\nTRACE\t12\tn1\tread all\nOK\tcontext=AQEB\n",
                "DESCRIBE TABLE t;" => "COLUMNS\tstatement\nROW\tCREATE TABLE ks.t (\"Id\" bigint PRIMARY KEY, v boolean) WITH comment = 'C:\\\\temp';\nEND\trows=1\n",
                "HELP;" => "COLUMNS\thelp\nROW\tStatements end with ;\nROW\t  a\\\\tb\nEND\trows=2\n",
                "SELECT * FROM t;" => {
                    "COLUMNS\tId\tv\nROW\t5\ttrue\nROW\t9007199254740993\t\\N\nROW\t6\tmaybe\nEND\trows=3\n"
                }
                "SELECT v, TTL(v), TOKEN(\"Id\") FROM t;" => "COLUMNS\tv\tttl\ttoken\nROW\tfalse\t60\t5\nEND\trows=1\n",
                "SELECT statement FROM t;" => "COLUMNS\tstatement\nROW\ta\\nb\nROW\t\\N\nROW\tnull\nEND\trows=3\n",
                _ => "ERROR\tINVALID\twhat?\n",
            }
            .to_owned(),
        ))
    })
}

#[test]
fn answers_are_shown_in_every_format() {
    let host = answers();
    let batch = "BEGIN BATCH INSERT 1; INSERT 2; INSERT 3; APPLY BATCH";
    let session =
        "keyspace     dunlin\nconsistency  QUORUM\npaging       1000\ntracing      OFF\nuser         \n";
    for (statement, table, tsv, json) in [
        (
            "SHOW VERSION",
            "version   0.1.0\nprotocol  1\n",
            "version\t0.1.0\nprotocol\t1\n",
            "{\"version\":\"0.1.0\",\"protocol\":\"1\"}\n",
        ),
        (
            "SHOW SESSION",
            session,
            "keyspace\tdunlin\nconsistency\tQUORUM\npaging\t1000\ntracing\tOFF\nuser\t\n",
            "{\"keyspace\":\"dunlin\",\"consistency\":\"QUORUM\",\"paging\":\"1000\",\"tracing\":\"OFF\",\"user\":\"\"}\n",
        ),
        ("CONSISTENCY", "consistency  QUORUM\n", "consistency\tQUORUM\n", "{\"consistency\":\"QUORUM\"}\n"),
        ("INSERT 1", "OK  context=AQEB\n", "context\tAQEB\n", "{\"context\":\"AQEB\"}\n"),
        (batch, "OK  applied=3\n", "applied\t3\n", "{\"applied\":3}\n"),
        ("USE shop; CONSISTENCY ONE", "OK\nOK\n", "", ""),
    ] {
        for (format, expected) in [("table", table), ("tsv", tsv), ("json", json)] {
            let (status, out, err) = outcome(&dunlin(&["shell", &host, "--format", format, "-e", statement]));
            assert_eq!((status, out.as_str()), (0, expected), "{format} {statement}\n{err}");
            if statement == "INSERT 1" {
                assert_eq!(err, "warning: many siblings\ntrace:       12 us  n1  read all\n", "{format}");
            }
        }
    }
    let absent = "SELECT value, CONTEXT(value) FROM kv WHERE key = 'absent'";
    check(&["shell", &host, "--format", "table", "-e", absent], 0, "(0 rows, context=AQ)\n", "");
    check(&["shell", &host, "--format", "json", "-e", absent], 0, "{\"rows\":0,\"context\":\"AQ\"}\n", "");
    // On standard output it would be a row.
    let (status, out, err) = outcome(&dunlin(&["shell", &host, "-e", absent]));
    assert_eq!((status, out.as_str(), err.as_str()), (0, "", "context=AQ\n"));
}

#[test]
fn json_has_the_types_of_the_columns_as_far_as_its_readers_keep_them_exact() {
    let host = answers();
    let json = |statement| outcome(&dunlin(&["shell", &host, "--format", "json", "-e", statement])).1;
    assert_eq!(
        json("SELECT * FROM t"),
        "{\"Id\":5,\"v\":true}\n{\"Id\":\"9007199254740993\",\"v\":null}\n{\"Id\":6,\"v\":\"maybe\"}\n"
    );
    assert_eq!(json("SELECT v, TTL(v), TOKEN(\"Id\") FROM t"), "{\"v\":false,\"ttl\":60,\"token\":\"5\"}\n");
}

#[test]
fn text_is_as_it_is_and_rows_are_not_taken_for_it() {
    let host = answers();
    let create = "CREATE TABLE ks.t (\"Id\" bigint PRIMARY KEY, v boolean) WITH comment = 'C:\\temp';\n";
    for format in ["tsv", "table"] {
        let (_, out, _) = outcome(&dunlin(&["shell", &host, "--format", format, "-e", "DESCRIBE TABLE t"]));
        assert_eq!(out, create, "{format}");
        let (_, out, _) = outcome(&dunlin(&["shell", &host, "--format", format, "-e", "HELP"]));
        assert!(out.starts_with("Statements end with ;\n  a\\tb\n") && out.contains("COPY"), "{out}");
    }
    let (_, out, _) = outcome(&dunlin(&["shell", &host, "-e", "SELECT statement FROM t"]));
    assert_eq!(out, "a\\nb\n\\N\nnull\n");
    check(&["shell", &host, "--format", "table", "-e", "SELECT statement FROM t"], 0, "(null)", "");
    for topic in ["COPY", "source", "more", "expand", "clear", "show host"] {
        check(&["shell", &host, "-e", &format!("HELP {topic}")], 0, &topic.to_uppercase(), "");
    }
    check(&["shell", &host, "-e", "SHOW HOST"], 0, &format!("host\t{host}\n"), "");
    check(
        &["shell", &host, "--format", "table", "-e", "EXPAND ON; SELECT statement FROM t"],
        0,
        "@ row 1\n  statement │ a⏎b\n@ row 2\n  statement │ (null)\n@ row 3\n  statement │ null\n(3 rows)\n",
        "",
    );
}

#[test]
fn commands_of_the_shell_are_known_behind_comments() {
    let (host, given) = obedient();
    let dir = tempfile::tempdir().unwrap();
    let inner = write(dir.path(), "inner.cql", "INSERT 1;");
    let text = format!("-- a\nSOURCE /* b */ '{}';\n/* c */ QUIT; INSERT 2;", inner.display());
    every_way(&host, &text, |way, status, out, err| {
        assert_eq!((status, out, err), (0, "", ""), "{way}");
        assert_eq!(given.take(), ["INSERT 1;"], "{way}");
    });
    for (wrong, what) in
        [("QUIT now", "QUIT stands alone"), ("EXPAND up", "EXPAND ON or"), ("MORE", "no SELECT")]
    {
        check(&["shell", &host, "-e", wrong], 1, "", what);
    }
    check(&["shell", &host, "-e", "-- load\nCOPY kv FROM nothing"], 1, "", "-e:2:14: expected 'file'");
    check(
        &["shell", &host, "-e", "-- load\nCOPY kv FROM nothing"],
        1,
        "",
        "  COPY kv FROM nothing\n               ^",
    );
}

#[test]
fn files_say_source_of_files_beside_them() {
    let given = Given::default();
    let noted = given.clone();
    let host = node(move |statement| {
        noted
            .note(statement)
            .or(Some(if statement.contains("wrong") { "ERROR\tINVALID\tno\n" } else { "OK\n" }.to_owned()))
    });
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    let a = write(dir.path(), "a.cql", "INSERT 1;\nSOURCE 'sub/b.cql';\nINSERT 4;");
    write(dir.path(), "sub/b.cql", "INSERT 2;\nSOURCE 'c.cql';\n");
    let c = write(dir.path(), "sub/c.cql", "INSERT 3;");
    check(&["shell", &host, "-f", a.to_str().unwrap()], 0, "", "");
    assert_eq!(given.take(), ["INSERT 1;", "INSERT 2;", "INSERT 3;", "INSERT 4;"]);

    write(dir.path(), "sub/c.cql", "\nINSERT wrong;");
    let (status, _, err) = outcome(&dunlin(&["shell", &host, "-f", a.to_str().unwrap()]));
    assert_eq!(status, 1);
    assert!(err.contains(&format!("{}:2: INVALID: no\n", c.display())), "{err}");
    assert!(err.contains(&format!("{}:2: SOURCE 'sub/b.cql' stopped", a.display())), "{err}");

    let round = write(dir.path(), "round.cql", "SOURCE 'round.cql';");
    check(&["shell", &host, "-f", round.to_str().unwrap()], 1, "", "more than 16 files");
    check(
        &["shell", &host, "-e", "SOURCE '/nonexistent/x.cql'"],
        1,
        "",
        "-e:1: cannot read /nonexistent/x.cql",
    );
    check(&["shell", &host, "-f", "/nonexistent/x.cql"], 1, "", "cannot read /nonexistent/x.cql");
}

#[test]
fn the_longest_wait_is_kept_once_and_is_no_write() {
    let host = node(|statement| {
        of_the_shell(statement).or_else(|| {
            std::thread::park();
            None
        })
    });
    for (statement, maybe) in
        [("SELECT COUNT(*) FROM kv", false), ("DESCRIBE TABLES", false), ("TRUNCATE kv", true)]
    {
        for format in ["tsv", "json"] {
            let began = Instant::now();
            let shell = ["shell", &host, "--format", format, "--timeout", "0.3", "-e", statement];
            let (status, _, err) = outcome(&dunlin(&shell));
            assert_eq!(status, 1);
            assert!(err.contains("within 0.3 s (--timeout)"), "{err}");
            assert_eq!(err.contains("may have been applied"), maybe, "{err}");
            assert!(!err.contains("write"), "{err}");
            // Half of a second wait more would be too long already; the rest is for a busy machine to start in.
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        }
    }
    // Nor is the wait begun anew for the shell's own questions.
    let mute = node(|_| {
        std::thread::park();
        None
    });
    check(&["shell", &mute, "--timeout", "0.3", "-e", "SHOW VERSION"], 1, "", "within 0.3 s (--timeout)");
}

/// Two nodes that know of each other; the first hangs up at every statement that `hangs_up` is true of.
fn two_nodes(hangs_up: fn(&str) -> bool) -> (String, String, Given) {
    let given = Given::default();
    let noted = given.clone();
    let second = node(move |statement| {
        noted.note(statement).or(Some(
            if statement.starts_with("SELECT") { "COLUMNS\tkey\nROW\tsecond\nEND\trows=1\n" } else { "OK\n" }
                .to_owned(),
        ))
    });
    let peer = second.clone();
    let first = node(move |statement| match statement {
        "SELECT * FROM system.peers;" => Some(format!(
            "COLUMNS\tname\tclient_address\nROW\tn0\t0.0.0.0:9041\nROW\tn2\t{peer}\nEND\trows=2\n"
        )),
        statement if hangs_up(statement) => None,
        _ => Some("OK\n".to_owned()),
    });
    (first, second, given)
}

#[test]
fn a_read_that_was_lost_is_sent_again_to_the_next_node_in_the_same_session() {
    let (first, second, given) = two_nodes(|statement| statement.starts_with("SELECT"));
    let text = "USE shop; CONSISTENCY ONE; CONSISTENCY ALL; SELECT * FROM kv; SHOW HOST;";
    let (status, out, err) = outcome(&dunlin(&["shell", &first, "-e", text]));
    assert_eq!((status, out), (0, format!("second\nhost\t{second}\n")));
    assert_eq!(given.all(), ["USE shop;", "CONSISTENCY ALL;", "SELECT * FROM kv;"]);
    let expected = format!(
        "lost the connection to {first} (it was closed there); the statement only reads and is sent again\nconnected to {second}\n"
    );
    assert_eq!(err, expected);
}

#[test]
fn a_write_that_was_lost_is_not_sent_again_and_may_have_been_applied() {
    let (first, _, given) = two_nodes(|statement| statement.starts_with("INSERT"));
    let insert = "INSERT INTO kv (key, value) VALUES ('a', 'b')";
    check(&["shell", &first, "-e", insert], 1, "", "(it was closed there); it may have been applied");
    assert!(given.all().is_empty());
}

#[test]
fn a_node_that_is_not_ready_is_left_for_the_next() {
    let given = Given::default();
    let noted = given.clone();
    let second = node(move |statement| noted.note(statement).or(Some("OK\n".to_owned())));
    let peer = second.clone();
    let first = node(move |statement| {
        Some(match statement {
            "SELECT * FROM system.peers;" => {
                format!("COLUMNS\tclient_address\nROW\t{peer}\nEND\trows=1\n")
            }
            _ => "ERROR\tNOT_READY\tthis node is stopping\tapplied=no\n".to_owned(),
        })
    });
    check(&["shell", &first, "-e", "INSERT 1"], 0, "", &format!("connected to {second}"));
    assert_eq!(given.all(), ["INSERT 1;"]);
}

#[test]
fn ctrl_c_ends_a_text_with_130() {
    let (begun, at_work) = std::sync::mpsc::channel();
    let host = node(move |statement| {
        of_the_shell(statement).or_else(|| {
            begun.send(()).unwrap();
            std::thread::park();
            None
        })
    });
    for (statement, maybe) in [("SELECT * FROM kv", false), ("TRUNCATE kv", true)] {
        let child = command(&["shell", &host, "-e", statement]).stderr(Stdio::piped()).spawn().unwrap();
        at_work.recv().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let (status, _, err) = outcome(&child.wait_with_output().unwrap());
        assert_eq!(status, 130, "{err}");
        assert!(err.contains("cancelled"), "{err}");
        assert_eq!(err.contains("may have been applied"), maybe, "{err}");
    }
}

#[test]
fn a_reader_that_is_gone_ends_it_quietly_and_a_full_disk_is_one_line() {
    let (host, _) = paged(None);
    let answers = answers();
    for format in ["table", "tsv", "json"] {
        for (host, statement) in [
            (&host, "SELECT * FROM kv"),
            (&answers, "SHOW SESSION"),
            (&answers, "HELP"),
            (&answers, "HELP COPY"),
            (&answers, "DESCRIBE TABLE t"),
            (&answers, "INSERT 1"),
            (&answers, "EXPAND"),
        ] {
            let arguments = ["shell", host, "--format", format, "-e", statement];
            let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            let output = command(&arguments).stdout(full).stderr(Stdio::piped()).output().unwrap();
            let (status, _, err) = outcome(&output);
            let said = err.lines().filter(|line| !line.starts_with("warning") && !line.starts_with("trace"));
            assert_eq!((status, said.count()), (1, 1), "{format} {statement}: {err}");
            assert!(err.contains("cannot write to standard output"), "{format} {statement}: {err}");

            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let output = command(&arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
            let (status, _, err) = outcome(&output);
            let said = err.lines().filter(|line| !line.starts_with("warning") && !line.starts_with("trace"));
            assert_eq!((status, said.count()), (0, 0), "{format} {statement}: {err}");
        }
    }
}

#[test]
fn a_connection_that_a_node_closed_meanwhile_is_opened_anew_before_a_write_is_sent() {
    // The node hangs up after each answer: what follows finds the connection closed.
    let given = Given::default();
    let noted = given.clone();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while let Some(Ok(line)) = lines.next() {
                let own = noted.note(&line);
                let reply = own.clone().unwrap_or_else(|| "OK\n".to_owned());
                (&stream).write_all(reply.as_bytes()).unwrap();
                if own.is_none() {
                    break;
                }
            }
        }
    });
    let mut child = command(&["shell", &host, "--format", "table"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for statement in ["INSERT 1;\n", "INSERT 2;\n"] {
        input.write_all(statement.as_bytes()).unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "OK");
    }
    drop(input);
    let (status, _, err) = outcome(&child.wait_with_output().unwrap());
    assert_eq!(status, 0, "{err}");
    assert_eq!(given.all(), ["INSERT 1;", "INSERT 2;"]);
    assert!(err.contains("has closed the connection") && err.contains("connected to"), "{err}");
}
