//! The command as a process: help, exit status, messages; against a node that follows a script where one is needed.

// Real processes, sockets, threads and files are what is tested.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod scripted;

use scripted::{check, command, node, of_the_shell, outcome, table};
use std::net::TcpListener;

#[test]
fn every_verb_explains_itself() {
    check(&["--help"], 0, "dunlin local", "");
    for verb in [
        "server",
        "local",
        "shell",
        "get",
        "put",
        "delete",
        "scan",
        "verify",
        "certs",
        "bench",
        "check-config",
    ] {
        check(&[verb, "--help"], 0, "Usage: dunlin", "");
    }
    check(&["--version"], 0, "dunlin ", "");
    check(&["completions", "bash"], 0, "_dunlin", "");
}

#[test]
fn wrong_usage_is_status_2() {
    check(&[], 2, "", "Usage");
    check(&["frobnicate"], 2, "", "frobnicate");
    check(&["get"], 2, "", "<KEY>");
    check(&["local", "--nodes", "0"], 2, "", "--nodes");
    check(&["get", "k", "--consistency", "SOME"], 2, "", "no consistency level");
}

#[test]
fn nobody_there_is_status_1() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    check(&["get", "k", "--host", &free], 1, "", "cannot connect");
    check(&["shell", &free, "-e", "SELECT * FROM kv"], 1, "", "cannot connect");
    check(&["server", "--config", "/nonexistent/dunlin.toml"], 1, "", "/nonexistent/dunlin.toml");
    check(&["check-config", "/nonexistent/dunlin.toml"], 1, "", "/nonexistent/dunlin.toml");
}

#[test]
fn one_shot_verbs() {
    let host = node(|statement| {
        Some(match statement {
            s if s.contains("system.tables") => table("dunlin\tkv\tkey\ttext\tvalue\ttext\tsiblings"),
            s if s.starts_with("SELECT") && s.contains("'alice'") => {
                "COLUMNS\tvalue\tcontext\nROW\t3 apples\tAQEB\nEND\trows=1\n".to_owned()
            }
            s if s.starts_with("SELECT") => "COLUMNS\tvalue\tcontext\nEND\trows=0\tcontext=AQ\n".to_owned(),
            s if s.contains("'full'") => "ERROR\tDISK_FULL\tno room\tapplied=no\n".to_owned(),
            _ => "OK\tcontext=AQEB\n".to_owned(),
        })
    });
    check(&["get", "alice", "--host", &host], 0, "3 apples\n", "");
    check(&["get", "alice", "--host", &host, "--format", "json"], 0, r#""values":["3 apples"]"#, "");
    check(&["get", "bob", "--host", &host], 1, "", "no such key");
    check(&["put", "it's", "v", "--host", &host], 0, "", "");
    check(&["put", "full", "v", "--host", &host], 1, "", "DISK_FULL");
    check(&["delete", "alice", "--host", &host], 0, "", "");
    check(&["shell", &host, "-e", "SELECT value FROM kv WHERE key = 'alice'"], 0, "3 apples", "");
    check(&["shell", &host, "-e", "INSERT INTO kv (key, value) VALUES ('full', 'x')"], 1, "", "DISK_FULL");
}

#[test]
fn certificates() {
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    let certs = certs.to_str().unwrap();
    check(&["certs", "issue", "n1", "--dir", certs], 1, "", "ca.key");
    check(&["certs", "init", "--dir", certs], 0, "", "");
    check(&["certs", "init", "--dir", certs], 1, "", "exists already");
    check(&["certs", "issue", "n1", "--san", "127.0.0.1", "--dir", certs], 0, "", "");
    check(&["certs", "issue", "../n1", "--dir", certs], 1, "", "cannot name a node");
    assert!(dir.path().join("certs/n1.key").exists());
}

#[test]
fn a_taken_port_is_named_before_anything_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let dir = tempfile::tempdir().unwrap();
    check(
        &["local", "--dir", dir.path().join("d").to_str().unwrap(), "--base-port", &port],
        1,
        "",
        "choose other ports",
    );
}

#[test]
fn a_statement_that_is_not_closed_is_said_and_not_sent() {
    let host = node(of_the_shell);
    check(&["shell", &host, "-e", "SELECT * FROM kv WHERE key = 'oops"], 1, "", "is not closed");
}

#[test]
fn tables_with_other_columns_are_learnt_of() {
    let host = node(|line| {
        Some(if line.contains("system.tables") {
            table("shop\tt\tId\tbigint\tv\tdouble\tsiblings")
        } else if line.starts_with("INSERT INTO shop.t (\"Id\", v) VALUES (5, 1.5) USING ")
            || line == "CONSISTENCY QUORUM;"
        {
            "OK\tcontext=AQEB\n".to_owned()
        } else {
            "ERROR\tINVALID\ttable t has no such column\n".to_owned()
        })
    });
    check(&["put", "5", "1.5", "--table", "shop.t", "--host", &host], 0, "", "");
    check(&["put", "x", "1.5", "--table", "shop.t", "--host", &host], 1, "", "an integer such as 42");
    check(&["put", "5", "1.5", "--table", "shop.u", "--host", &host], 1, "", "no table shop.u");
    check(&["put", "5", "1.5", "--table", "t; DROP TABLE t", "--host", &host], 2, "", "is no table");
}

#[test]
fn a_variable_that_cannot_be_read_is_named_and_an_option_wins() {
    let host = node(|statement| {
        of_the_shell(statement).or(Some("COLUMNS\tversion\nROW\t1\nEND\trows=1\n".to_owned()))
    });
    let run = |arguments: &[&str], name: &str, value: &str| {
        outcome(&command(arguments).env(name, value).stdin(std::process::Stdio::null()).output().unwrap())
    };
    let show = ["shell", &host, "-e", "SHOW VERSION"];
    for (name, value, option) in [
        ("DUNLIN_TIMEOUT", "soon", Some(["--timeout", "5"])),
        ("DUNLIN_TIMEOUT", "tcp://10.0.0.1:9041", Some(["--timeout", "5"])),
        ("DUNLIN_TLS_CA", "/nonexistent/ca.pem", None),
        ("DUNLIN_CLIENT_CONFIG", "/nonexistent/client.toml", None),
    ] {
        let (status, out, err) = run(&show, name, value);
        assert_eq!((status, out.as_str()), (1, ""), "{name}={value}: {err}");
        assert!(err.contains(value), "{name}={value}: {err}");
        if let Some(option) = option {
            assert!(err.contains(name), "{err}");
            let (status, _, err) = run(&[&show[..], &option].concat(), name, value);
            assert_eq!((status, err.as_str()), (0, ""), "{name}={value} {option:?}");
        }
    }
    // The host is given, so nobody asks what the variable says; an empty one says nothing.
    for (name, value) in [("DUNLIN_HOST", "tcp://10.0.0.1:9041"), ("DUNLIN_HOST", ""), ("DUNLIN_TIMEOUT", "")]
    {
        let (status, _, err) = run(&show, name, value);
        assert_eq!((status, err.as_str()), (0, ""), "{name}={value}");
    }
    let (status, _, err) = run(&["get", "k"], "DUNLIN_HOST", "tcp://10.0.0.1:9041");
    assert_eq!(status, 1);
    assert!(err.contains("DUNLIN_HOST=tcp://10.0.0.1:9041"), "{err}");
}
