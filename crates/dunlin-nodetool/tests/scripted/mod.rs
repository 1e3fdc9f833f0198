//! The command as a process, against an admin HTTP that follows a script.

// Not every test needs all of it.
#![allow(dead_code)]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

/// The command's program.
pub const NODETOOL: &str = env!("CARGO_BIN_EXE_nodetool");

/// Takes away what the tester's own environment says to the command.
pub fn without_environment(command: &mut Command) {
    command.env_remove("DUNLIN_ADMIN_HOST").env_remove("DUNLIN_ADMIN_PORT");
}

/// Runs the command to its end with such variables.
pub fn nodetool(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(NODETOOL);
    without_environment(&mut command);
    command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null()).output().unwrap()
}

/// (status, standard output, standard error)
pub fn outcome(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// An admin HTTP on a free port of 127.0.0.1 whose node answers to a verb as `answer` says.
pub fn admin(answer: impl Fn(&str) -> Value + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                // A request is its first line; the command sends no bodies.
                while let Some(Ok(request)) = lines.next() {
                    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                    let path = request.split(' ').nth(1).unwrap();
                    let verb = path.rsplit('/').next().unwrap().split('?').next().unwrap();
                    let body = answer(verb);
                    let status = if body["error"].is_string() && body["id"].is_null() { 400 } else { 200 };
                    let body = body.to_string();
                    let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
                    if stream.write_all((head + &body).as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// What a node may answer to a verb, with `name` wherever a name or a text of somebody else stands.
pub fn full_answer(verb: &str, name: &str) -> Value {
    match verb {
        "version" => json!({ "version": name }),
        "status" => {
            json!({ "attention": [name], "nodes": [{ "name": name, "host_id": name, "address": name, "data_center": name,
            "rack": name, "up": true, "state": name, "load_bytes": 1024, "vnodes": 85, "owns": 0.5 }] })
        }
        "ring" => json!({ "vnodes": [{ "vnode": 7, "first_token": "99", "owner": name }] }),
        "getendpoints" => json!({ "endpoints": [{ "name": name, "address": name, name: name }, name] }),
        "getsstables" => json!({ "sstables": [name] }),
        "compact" | "verify" | "scrub" | "cleanup" | "task" => {
            json!({ "id": 1, "verb": name, "table": name, "running": false,
            "result": { "tables_verified": 1, "damaged_places": 0, "tables_cleaned": 1, "damage": [{ "table": name, "file": name,
                "offset": 1, "what": name, "first_token": name, "last_token": name }],
                "tables_checked": 1, "scrubbed": [{ "table": name, name: name }] } })
        }
        "listsnapshots" => {
            json!({ "directory": name, "snapshots": [{ "name": name, "age_s": 5, "size_bytes": 1, "files": 1, "tables": [name] }] })
        }
        "snapshot" => json!({ "name": name, "files": 1, "size_bytes": 5 }),
        "repair" => {
            json!({ "id": 1, "running": false, "ranges": 4, "ranges_differing": 1, "records_differing": 1, "records_sent": 1,
            "records_received": 0, "bytes": 5, "preview": false, "peers": [{ "peer": name, name: name }] })
        }
        "hints" => {
            json!({ "total": 1, "paused": true, "targets": [{ "target": name, "host_id": name, "state": name, "count": 1,
            "bytes": 5, "oldest_s": 1, "rate_bytes": 5, "eta_s": 1, "delivered": 0, "moved": 0, "dropped": 1,
            "dropped_by_rule": { name: 1 }, "kept_ever": 1, "gone_ever": 1 }] })
        }
        _ => {
            json!({ "name": name, name: name, "inner": { name: name }, "rows": [{ "table": name, name: name, "map": { name: name } }],
            "list": [name], "load_bytes": 1024 })
        }
    }
}
