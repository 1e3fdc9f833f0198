//! Standard output and standard error that are gone, closed or full.

// Real processes, sockets, threads and files are what is tested.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod scripted;
mod served;

use dunlin_terminal::conformance::{Run, every_verb};
use scripted::{DUNLIN, check, dunlin, node, of_the_shell, table, without_environment};
use served::configuration;
use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A node with more rows than any buffer holds.
fn large() -> String {
    let rows: String = (0..2000).map(|i| format!("ROW\tkey{i}\t{}\n", "x".repeat(100))).collect();
    let rows = format!("COLUMNS\tkey\tvalue\n{rows}END\trows=2000\n");
    // The load generator makes one of its own.
    let keyspace = Mutex::new("dunlin".to_owned());
    node(move |statement| {
        if let Some(reply) = of_the_shell(statement) {
            return Some(reply);
        }
        Some(match statement {
            s if s.contains("system.tables") => {
                table(&format!("{}\tkv\tkey\ttext\tvalue\ttext\tsiblings", keyspace.lock().unwrap()))
            }
            s if s.starts_with("CREATE KEYSPACE ") => {
                *keyspace.lock().unwrap() = s.split(' ').nth(2).unwrap().to_owned();
                "OK\n".to_owned()
            }
            s if s.starts_with("DROP KEYSPACE ") => {
                *keyspace.lock().unwrap() = "dunlin".to_owned();
                "OK\n".to_owned()
            }
            s if s.contains("'alice'") => "WARNING\tslow\nCOLUMNS\tvalue\tcontext\nROW\t3 apples\tAQEB\nROW\t4 apples\tAQEB\nEND\trows=2\n".to_owned(),
            s if s.starts_with("DESCRIBE") => {
                "COLUMNS\tstatement\nROW\tCREATE TABLE dunlin.kv (key text PRIMARY KEY, value text);\nEND\trows=1\n".to_owned()
            }
            s if s.starts_with("SELECT data_center") => "COLUMNS\tdata_center\nROW\tdc1\nEND\trows=1\n".to_owned(),
            s if s.starts_with("SELECT") => rows.clone(),
            _ => "OK\tcontext=AQEB\n".to_owned(),
        })
    })
}

#[test]
fn every_verb_ends_as_it_should_whatever_becomes_of_what_it_says() {
    let host = large();
    let dir = tempfile::tempdir().unwrap();
    let config = configuration(dir.path(), "");
    let config = config.to_str().unwrap();
    let rows = dir.path().join("rows.csv");
    std::fs::write(&rows, "alice,3 apples\nbob,2\n").unwrap();
    let rows = rows.to_str().unwrap();
    let out = dir.path().join("out.csv");
    let copy_from = format!("COPY kv FROM '{rows}'");
    let copy_to = format!("COPY kv TO '{}'", out.display());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().port().to_string();
    let nth = Cell::new(0);
    let new = || {
        nth.set(nth.get() + 1);
        dir.path().join(format!("d{}", nth.get())).to_str().unwrap().to_owned()
    };
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();

    every_verb(DUNLIN, without_environment, |verb| {
        let at = |words: &[&str], status| Run::new(&[words, &["--host", &host]].concat(), status);
        let shell = |words: &[&str]| Run::new(&[&["shell", &host], words].concat(), 0);
        match verb {
            "server" => vec![
                Run::new(&["server", "--config", config, "--until-stdin-closes"], 0),
                Run::new(&["server", "--config", "/nonexistent.toml"], 1),
            ],
            "local" => vec![Run::anew(|| owned(&["local", "--dir", &new(), "--base-port", &taken]), 1)],
            "shell" => vec![
                shell(&["-e", "SELECT * FROM kv"]),
                shell(&["--format", "table", "-e", "SELECT * FROM kv"]),
                shell(&["--format", "json", "-e", "SELECT * FROM kv"]),
                shell(&["-e", "SELECT value, context FROM kv WHERE key = 'alice'"]),
                shell(&["-e", "DESCRIBE SCHEMA; HELP COPY; SHOW HOST; EXPAND; INSERT 1"]),
                shell(&["-e", &copy_from]),
                shell(&["-e", &copy_to]),
                Run::new(&["shell", &host, "-e", "SELECT 'open"], 1),
                Run::new(&["shell", &host, "--format", "json", "-e", "SELECT 'open"], 1),
                Run::new(&["shell", "127.0.0.1:1", "-e", "USE x"], 1),
            ],
            "get" => vec![
                at(&["get", "alice"], 0),
                at(&["get", "alice", "--format", "json"], 0),
                Run::new(&["get", "alice", "--host", "127.0.0.1:1"], 1),
                Run::new(&["get"], 2),
            ],
            "put" => vec![at(&["put", "alice", "3 apples"], 0)],
            "delete" => vec![at(&["delete", "alice"], 0)],
            "scan" => vec![at(&["scan"], 0), at(&["scan", "--format", "json"], 0)],
            "verify" => vec![at(&["verify", rows], 1)],
            "certs init" => vec![Run::anew(|| owned(&["certs", "init", "--dir", &new()]), 0)],
            "certs issue" => vec![Run::anew(
                || {
                    let dir = new();
                    dunlin_transport::certs::init_ca(Path::new(&dir)).unwrap();
                    owned(&["certs", "issue", "n1", "--dir", &dir])
                },
                0,
            )],
            "bench" => {
                let bench = ["bench", "--seconds", "0.01", "--clients", "1", "--keys", "3"];
                vec![at(&bench, 0), at(&[&bench[..], &["--format", "json"]].concat(), 0)]
            }
            // It notes that there are no seeds.
            "check-config" => vec![
                Run::new(&["check-config", config], 0),
                Run::new(&["check-config", "/nonexistent.toml"], 1),
            ],
            "completions" => vec![Run::new(&["completions", "bash"], 0)],
            _ => Vec::new(),
        }
    });
    check(&["check-config", config], 0, "is fine", "note: cluster.seeds is empty");
}

/// Three ports in a row that were free a moment ago.
fn three_ports() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let next = |n| port.checked_add(n).map(|port| ("127.0.0.1", port));
        let others = next(1).zip(next(2)).map(|(udp, tcp)| (UdpSocket::bind(udp), TcpListener::bind(tcp)));
        if let Some((Ok(_), Ok(_))) = others {
            return port;
        }
    }
}

#[test]
fn a_local_cluster_lives_on_when_nobody_hears_it() {
    let dir = tempfile::tempdir().unwrap();
    for (redirected, errors) in [(">/dev/full", 1), (">&- 2>&-", 0), (">/dev/full 2>/dev/full", 0)] {
        let port = three_ports();
        let mut command = Command::new("sh");
        without_environment(&mut command);
        let mut child = command
            .args(["-c", &format!("exec \"$@\" {redirected}"), "sh", DUNLIN, "local", "--nodes", "1"])
            .arg("--dir")
            .arg(dir.path().join("data"))
            .args(["--base-port", &port.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        let host = format!("127.0.0.1:{port}");
        while !dunlin(&["put", "k", "v", "--host", &host]).status.success() {
            assert!(child.try_wait().unwrap().is_none(), "{redirected}: it has ended");
            assert!(Instant::now() < until, "{redirected}: the node does not serve");
            std::thread::sleep(Duration::from_millis(50));
        }
        // It says that it is ready when it knows so, which may be a moment later.
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let first: Vec<String> = said.by_ref().take(errors).collect();
        assert!(first.iter().all(|line| line.contains("cannot write to standard output")), "{first:?}");
        Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(child.wait().unwrap().success(), "{redirected}");
        let rest: Vec<String> = said.filter(|line| !line.starts_with("stopping")).collect();
        assert!(rest.is_empty(), "{redirected}: {rest:?}");
    }
}
