//! Standard output and standard error that are gone, closed or full.

// Real processes, sockets, threads and files are what is tested.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod scripted;

use dunlin_storage::fs::OsFs;
use dunlin_storage::{Engine, EngineOptions};
use dunlin_terminal::conformance::{Run, every_verb};
use dunlin_types::Micros;
use scripted::{NODETOOL, admin, full_answer, without_environment};
use std::sync::Arc;

/// Words behind a verb, where it needs any.
fn words(verb: &str) -> Option<&'static [&'static str]> {
    Some(match verb {
        "status" | "info" | "ring" | "describecluster" | "gossipinfo" | "layout" | "netstats" | "tpstats" => {
            &[]
        }
        "compactionstats" | "tablestats" | "flush" | "compact" | "verify" | "scrub" | "cleanup" => &[],
        "snapshot" | "listsnapshots" | "repair" | "tombstones" | "listpendinghints" | "drain" => &[],
        "decommission" | "version" => &[],
        "hints" | "hints list" | "hints wait" | "hints pause" | "hints resume" | "hints truncate" => &[],
        "getendpoints" | "getsstables" => &["shop", "baskets", "alice"],
        "clearsnapshot" | "removenode" | "abort" => &["n1"],
        "completions" => &["bash"],
        _ => return None,
    })
}

#[test]
fn every_verb_ends_as_it_should_whatever_becomes_of_what_it_says() {
    let port = admin(|verb| full_answer(verb, "n1"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("node.toml"), "format = 1\n").unwrap();
    let engine = Engine::open(Arc::new(OsFs::new(dir.path()).unwrap()), EngineOptions::default()).unwrap();
    engine.snapshot("s", Micros(1)).unwrap();
    drop(engine);
    let stopped = dir.path().to_str().unwrap();

    every_verb(NODETOOL, without_environment, |verb| {
        let verb_words: Vec<&str> = verb.split(' ').collect();
        let mut lines = Vec::new();
        if verb == "restore" {
            lines.push(vec!["restore", "s", "--data-dir", stopped]);
        } else if let Some(words) = words(verb) {
            lines.push([&verb_words, words].concat());
        }
        if verb == "scrub" {
            lines.push(vec!["scrub", "--data-dir", stopped]);
        }
        let forms = lines.iter().flat_map(|line| ["text", "json"].map(|form| (line, form)));
        let mut runs: Vec<Run<'_>> = forms
            .map(|(line, form)| {
                Run::new(&[&["--port", &port, "--format", form], line.as_slice()].concat(), 0)
            })
            .collect();
        if verb == "status" {
            runs.push(Run::new(&["--port", "1", "status"], 1));
            runs.push(Run::new(&["--port", "1", "--format", "json", "status"], 1));
            runs.push(Run::new(&["status", "--frobnicate"], 2));
            runs.push(Run::new(&["--version"], 0));
        }
        runs
    });
}

#[test]
fn damage_that_verify_found_is_a_failure_that_is_said() {
    let port = admin(|verb| {
        let mut answer = full_answer(verb, "n1");
        if verb == "verify" {
            answer["result"]["damaged_places"] = 1.into();
        }
        answer
    });
    let (status, out, err) = scripted::outcome(&scripted::nodetool(&["--port", &port, "verify"], &[]));
    assert_eq!(status, 1, "{out}{err}");
    assert!(out.contains("1 damaged places") && err.contains("nodetool scrub"), "{out}{err}");
}
