//! COPY and verify as a user runs them, against nodes that follow a script.

// Real processes, sockets, threads and files are what is tested.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod scripted;

use dunlin_cql::statement::WriteStatement;
use dunlin_cql::{Literal, Statement};
use scripted::{dunlin, dunlin_reading, node, of_the_shell, outcome, table};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A table `shop."T"` of a scripted node: the writes it got for each key, in their order.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Statements with rows that were asked for so far.
    asked: usize,
    writes: BTreeMap<String, Vec<Write>>,
    requests: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Write {
    value: String,
    context: Option<String>,
    ttl: Option<i128>,
}

impl State {
    fn write(
        &mut self,
        writes: Vec<WriteStatement>,
        text: &str,
        fault: &impl Fn(usize, &str) -> Option<Option<String>>,
    ) -> Option<String> {
        let nth = self.asked;
        self.asked += 1;
        if let Some(other) = fault(nth, text) {
            return other;
        }
        for write in writes {
            let WriteStatement::Insert { values, using, .. } = write else { panic!("{text}") };
            let [Literal::Text(key), Literal::Text(value)] = &values[..] else { panic!("{text}") };
            if self.requests.insert(using.request.unwrap().to_string()) {
                self.writes.entry(key.clone()).or_default().push(Write {
                    value: value.clone(),
                    context: using.context,
                    ttl: using.ttl_s,
                });
            }
        }
        Some("OK\tcontext=c\n".to_owned())
    }
}

impl Table {
    /// A node of it. `fault` may answer the n-th write otherwise; `Some(None)` hangs up.
    fn node(&self, fault: impl Fn(usize, &str) -> Option<Option<String>> + Send + Sync + 'static) -> String {
        let state = self.0.clone();
        node(move |text| {
            if let Some(reply) = own(text) {
                return Some(reply);
            }
            let mut state = state.lock().unwrap();
            match dunlin_cql::parse(text.trim_end_matches(';')).unwrap() {
                Statement::Select(_) => Some("COLUMNS\tc\nEND\trows=0\tcontext=before\n".to_owned()),
                Statement::Write(write) => Some(state.write(vec![write], text, &fault)?),
                Statement::Batch { writes, .. } => Some(state.write(writes, text, &fault)?),
                _ => Some("OK\n".to_owned()),
            }
        })
    }

    fn values(&self, key: &str) -> Vec<String> {
        let state = self.0.lock().unwrap();
        state.writes.get(key).into_iter().flatten().map(|write| write.value.clone()).collect()
    }
}

fn own(text: &str) -> Option<String> {
    if text.starts_with("DESCRIBE TABLE") {
        let described = r#"CREATE TABLE shop."T" (key text PRIMARY KEY, value text);"#;
        return Some(format!("COLUMNS\tstatement\nROW\t{described}\nEND\trows=1\n"));
    }
    if text.starts_with("SELECT * FROM system.tables") {
        return Some(table("shop\tT\tkey\ttext\tvalue\ttext\tsiblings"));
    }
    of_the_shell(text)
}

fn copy(host: &str, statement: &str) -> (i32, String, String) {
    outcome(&dunlin(&["shell", host, "-e", statement]))
}

fn from(dir: &Path, bytes: impl AsRef<[u8]>, with: &str) -> String {
    let file = dir.join("rows.csv");
    std::fs::write(&file, bytes).unwrap();
    format!("COPY shop.\"T\" FROM '{}'{with}", file.display())
}

/// Every connection breaks after some rows, and some rows are refused for a while: all arrive, none twice.
#[test]
fn every_row_gets_through() {
    const ROWS: usize = 700;
    let table = Table::default();
    let host = table.node(|nth, _| match nth {
        n if n % 5 == 4 => Some(None),
        n if n % 7 == 3 => Some(Some("ERROR\tUNAVAILABLE\tfew\tapplied=no\n".to_owned())),
        _ => None,
    });
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::from("key,value\n");
    for i in 0..ROWS {
        text.push_str(&format!("key{i},value {i}\n"));
    }
    text.push_str("only one column\n");
    let (status, out, err) = copy(&host, &from(dir.path(), text, " WITH header = true"));
    assert_eq!(status, 1, "{out}{err}");
    assert!(out.starts_with("700 rows loaded in ") && out.contains("1 rejected"), "{out}");
    assert!(err.contains("line 702: it has 1 columns, not 2"), "{err}");
    assert_eq!(table.0.lock().unwrap().writes.len(), ROWS);
    for i in 0..ROWS {
        assert_eq!(table.values(&format!("key{i}")), [format!("value {i}")]);
    }
}

/// Answers get lost after the write was made, and rows are refused: still each key's writes come in the file's order.
#[test]
fn the_last_row_of_a_key_wins_also_when_rows_are_tried_again() {
    let table = Table::default();
    let host = table.node(|nth, _| match nth {
        n if n % 97 == 96 => Some(None),
        n if n % 13 == 5 => Some(Some("ERROR\tOVERLOADED\tlater\tretry_after_ms=1\tapplied=no\n".to_owned())),
        _ => None,
    });
    let dir = tempfile::tempdir().unwrap();
    let text: String = (0..300).map(|i| format!("k{},{i:03}\n", i % 7)).collect();
    let (status, out, err) = copy(&host, &from(dir.path(), text, ""));
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    for k in 0..7 {
        let values = table.values(&format!("k{k}"));
        assert!(values.is_sorted(), "{values:?}");
        let last = (0..300).filter(|i| i % 7 == k).max().unwrap();
        assert_eq!(values.last(), Some(&format!("{last:03}")));
    }
    assert!(out.starts_with("300 rows loaded"), "{out}");
}

#[test]
fn rows_that_cannot_be_taken_are_counted_and_kept_and_the_rest_is_loaded() {
    let table = Table::default();
    let host = table.node(|_, text| {
        text.contains("'big'").then(|| Some("ERROR\tTOO_LARGE\ttoo long for this table\n".to_owned()))
    });
    let dir = tempfile::tempdir().unwrap();
    let rejects = dir.path().join("bad.csv");
    let rows = b"a,1\nb,caf\xe9\nc,\"open\nd,4,5\nbig,6\ne,say \"hi\"\nf,\"x\"y\ng,8\n";
    let with = format!(" WITH rejects = '{}'", rejects.display());
    let (status, out, err) = copy(&host, &from(dir.path(), rows, &with));
    assert_eq!(status, 1, "{out}{err}");
    assert!(out.starts_with("2 rows loaded") && out.contains("6 rejected"), "{out}");
    assert!(
        err.contains("line 2: column 2 is not UTF-8: byte 0xe9") && err.contains("all 6 are in "),
        "{err}"
    );
    let kept = std::fs::read(&rejects).unwrap();
    let kept = String::from_utf8_lossy(&kept);
    let lines: Vec<&str> = kept.lines().collect();
    assert_eq!(lines[0], "line,reason,row");
    for (line, begins, ends) in [
        (2, "2,column 2 is not UTF-8", "\"b,caf\u{fffd}\""),
        (3, "3,", "\"c,\"\"open\""),
        (4, "4,\"it has 3 columns, not 2\"", "\"d,4,5\""),
        (5, "5,TOO_LARGE: too long for this table", "\"big,6\""),
        (6, "6,", "\"e,say \"\"hi\"\"\""),
        (7, "7,", "\"f,\"\"x\"\"y\""),
    ] {
        let found = lines.iter().find(|text| text.starts_with(&format!("{line},"))).unwrap();
        assert!(found.starts_with(begins) && found.ends_with(ends), "{found}");
    }
    assert_eq!((table.values("a"), table.values("g")), (vec!["1".into()], vec!["8".into()]));
}

/// A row that was left out for a later one of its key is written after all if that one is refused.
#[test]
fn a_row_that_is_rejected_replaces_nothing() {
    let table = Table::default();
    let host = table.node(|_, text| {
        text.contains("'big'").then(|| Some("ERROR\tTOO_LARGE\ttoo long for this table\n".to_owned()))
    });
    let dir = tempfile::tempdir().unwrap();
    let rows = "k,first\n".to_owned() + &"k,then\n".repeat(50) + "k,last\nk,big\n";
    let (status, out, err) = copy(&host, &from(dir.path(), rows, ""));
    assert_eq!(status, 1, "{out}{err}");
    assert!(out.starts_with("52 rows loaded") && err.contains("line 53: TOO_LARGE"), "{out}{err}");
    assert_eq!(table.values("k").last().unwrap(), "last");
}

/// What COPY asks on its own account is refused at first too.
#[test]
fn an_overloaded_node_is_waited_for() {
    let refused = std::sync::atomic::AtomicUsize::new(0);
    let host = node(move |text| {
        let is_own = text.starts_with("DESCRIBE") || text.starts_with("SELECT * FROM system.tables");
        if is_own && refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 3 != 2 {
            return Some("ERROR\tOVERLOADED\tlater\tretry_after_ms=5\tapplied=no\n".to_owned());
        }
        own(text).or(Some("OK\n".to_owned()))
    });
    let dir = tempfile::tempdir().unwrap();
    let (status, out, err) = copy(&host, &from(dir.path(), "a,1\n", ""));
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
}

#[test]
fn columns_are_mapped_by_name_and_foreign_ones_refused() {
    let dir = tempfile::tempdir().unwrap();
    let header = " WITH header = true";
    let table = Table::default();
    let host = table.node(|_, _| None);
    assert_eq!(copy(&host, &from(dir.path(), "value,KEY\nv,k\n", header)).0, 0);
    assert_eq!(table.values("k"), ["v"]);
    for (text, part) in [
        ("lemma,gloss\na,b\n", "\"lemma\" is none of the columns key, value"),
        ("key\na\n", "value is missing"),
        ("key,value,note\na,b,c\n", "\"note\" is none of the columns"),
        ("", "it is empty"),
    ] {
        let (status, out, err) = copy(&host, &from(dir.path(), text, header));
        assert_eq!((status, out.as_str()), (1, ""), "{text}: {err}");
        assert!(err.contains(part), "{text}: {err}");
    }
    assert_eq!(table.0.lock().unwrap().writes.len(), 1);
}

/// Rows of one key and one context are concurrent values: each is written over what was there before all of them.
#[test]
fn siblings_come_back_as_siblings() {
    let table = Table::default();
    let host = table.node(|_, _| None);
    let dir = tempfile::tempdir().unwrap();
    let rows = "key,value,context(value),ttl(value)\na,1,X,\nb,2,Y,60\nb,3,Y,\nc,4,Z,\nc,5,W,\n";
    let (status, out, err) = copy(&host, &from(dir.path(), rows, " WITH header = true"));
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("5 rows loaded"), "{out}");
    let write = |value: &str, context: Option<&str>, ttl| Write {
        value: value.into(),
        context: context.map(str::to_owned),
        ttl,
    };
    let writes = &table.0.lock().unwrap().writes;
    assert_eq!(writes["a"], [write("1", None, None)]);
    assert_eq!(writes["b"], [write("2", Some("before"), Some(60)), write("3", Some("before"), None)]);
    // Of other contexts, the last row wins.
    assert_eq!(writes["c"].last(), Some(&write("5", None, None)));
}

/// A node whose table has these rows, on two pages.
fn with_rows(pages: [&'static str; 2]) -> String {
    node(move |text| {
        if let Some(reply) = own(text) {
            return Some(reply);
        }
        let (page, next) = if text.contains("PAGE 'p2'") { (pages[1], "") } else { (pages[0], "\tpage=p2") };
        let columns = "COLUMNS\tkey\tvalue\n";
        Some(format!("{columns}{page}END\trows={}{next}\n", page.lines().count()))
    })
}

#[test]
fn a_table_is_written_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("it's.csv");
    std::fs::write(&file, "older").unwrap();
    let statement = format!("COPY shop.\"T\" TO '{}'", file.display().to_string().replace('\'', "''"));
    let host = with_rows(["ROW\ta\tx,y\n", "ROW\tb\t\\N\n"]);
    let (status, out, err) = copy(&host, &format!("{statement} WITH header = true"));
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.starts_with("2 rows written in "), "{out}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "key,value\na,\"x,y\"\nb,\"\"\n");
    // Siblings do not fit into two columns.
    let host = with_rows(["ROW\ta\t1\n", "ROW\ta\t2\n"]);
    let (status, out, err) = copy(&host, &statement);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("\"a\" has several concurrent values") && err.contains("CONTEXT(value)"), "{err}");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("key,value\n"), "the older file is there");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn rows_stream_through_standard_input_and_output() {
    let host = with_rows(["ROW\ta\t1\n", "ROW\tb\t2\n"]);
    let (status, out, err) = copy(&host, "COPY shop.\"T\" TO STDOUT");
    assert_eq!((status, out.as_str()), (0, "a,1\nb,2\n"));
    assert!(err.starts_with("2 rows written"), "{err}");
    let table = Table::default();
    let host = table.node(|_, _| None);
    let read = dunlin_reading(&["shell", &host, "-e", "COPY shop.\"T\" FROM STDIN"], b"a,1\nb,2");
    let (status, out, err) = outcome(&read);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.starts_with("2 rows loaded"), "{out}");
    let as_json = ["shell", &host, "--format", "json", "-e", "COPY shop.\"T\" FROM STDIN"];
    let (_, out, _) = outcome(&dunlin_reading(&as_json, b"a,1\nb"));
    assert!(out.starts_with("{\"rejected\":1,\"rows\":1,\"seconds\":0"), "{out}");
    // In a text of statements the rows stand behind theirs.
    let text = b"COPY shop.\"T\" FROM STDIN;\nc,3\nd\n\\.\nSELEC;\n";
    let (status, out, err) = outcome(&dunlin_reading(&["shell", &host, "-f", "-"], text));
    assert_eq!(status, 1);
    assert!(out.starts_with("1 rows loaded") && err.contains("line 2: it has 1 columns"), "{out}{err}");
    assert_eq!((table.values("b"), table.values("c")), (vec!["2".into()], vec!["3".into()]));
}

#[test]
fn the_statement_is_checked_before_anything_is_done() {
    let table = Table::default();
    let host = table.node(|_, _| None);
    for (statement, part) in [
        ("COPY t FROM x", "expected 'file' in single quotes, or STDIN, found x"),
        ("COPY t FROM 'x' WITH null = ''", "COPY has no option null"),
        ("COPY t FROM 'x' WITH encoding = 'latin1'", "iconv"),
        ("COPY t FROM '/nonexistent/x'", "cannot read /nonexistent/x"),
        ("COPY t FROM '/'", "it is a directory"),
        ("COPY t TO '/'", "it is a directory"),
        ("COPY t TO '/nonexistent/x'", "cannot write /nonexistent/x"),
        ("COPY t FROM '/dev/null' WITH rejects = '/nonexistent/x'", "cannot write /nonexistent/x"),
        ("COPY t (key, gloss) FROM '/dev/null'", "gloss is none of the columns"),
    ] {
        let (status, out, err) = copy(&host, statement);
        assert_eq!((status, out.as_str()), (1, ""), "{statement}: {err}");
        assert!(err.contains(part), "{statement}: {err}");
    }
}

#[test]
fn verify_reads_files_as_copy_does() {
    let host = node(|text| {
        if let Some(reply) = own(text) {
            return Some(reply);
        }
        let key = text.rsplit('\'').nth(1).unwrap_or_default();
        let rows = match key {
            "a" => "ROW\t1\n",
            "b" => "ROW\t2\nROW\t3\n",
            "d" => "ROW\tother\n",
            _ => "",
        };
        Some(format!("COLUMNS\tvalue\n{rows}END\trows={}\n", rows.lines().count()))
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("v.csv");
    let file = file.to_str().unwrap();
    let verify = |rows: &[u8]| {
        std::fs::write(file, rows).unwrap();
        outcome(&dunlin(&["verify", "--host", &host, "--table", "shop.\"T\"", "--header", file]))
    };
    // The last row of a key counts; siblings are those of the file.
    let (status, out, err) = verify(b"context(value),value,key\n,0,a\n,1,a\nY,3,b\nY,2,b\n");
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("checked: 3, mismatches: 0"), "{out}");
    let (status, out, _) = verify(b"key,value\na,1\nb,2\nc,\xff\nd,4\ne,5\n");
    assert_eq!(status, 1);
    assert!(out.contains("line 4: column 2 is not UTF-8"), "{out}");
    assert!(out.contains("line 5: 'd' is 'other'") && out.contains("line 6: 'e' is missing"), "{out}");
    assert!(
        out.contains(
            "checked: 4, mismatches: 3 (missing 1, different 1, with siblings 1), unreadable rows: 1"
        ),
        "{out}"
    );
}
