//! The command as a process, against nodes that follow a script.

// Not every test needs all of it.
#![allow(dead_code)]

use dunlin_cql::Splitter;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// The command's program.
pub const DUNLIN: &str = env!("CARGO_BIN_EXE_dunlin");

/// Takes away what the tester's own environment says to the command.
pub fn without_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DUNLIN_")) {
        command.env_remove(name);
    }
    command.env("XDG_CONFIG_HOME", "/nonexistent");
}

/// The command, without what the tester's own environment says to it.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(DUNLIN);
    without_environment(&mut command);
    command.args(arguments);
    command
}

/// Runs the command to its end.
pub fn dunlin(arguments: &[&str]) -> Output {
    command(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs the command to its end with that on its standard input.
pub fn dunlin_reading(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that stops at an error does not read the rest.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// (status, standard output, standard error)
pub fn outcome(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// Runs the command and looks for its status and for parts of what it says.
pub fn check(arguments: &[&str], status: i32, out: &str, err: &str) {
    let (code, stdout, stderr) = outcome(&dunlin(arguments));
    assert_eq!(code, status, "{arguments:?}\n{stdout}\n{stderr}");
    assert!(stdout.contains(out), "{arguments:?} prints {out:?}, not\n{stdout}");
    assert!(stderr.contains(err), "{arguments:?} complains {err:?}, not\n{stderr}");
}

/// A node on a free port that answers every statement as `answer` says; `None` hangs up.
pub fn node(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let answer = answer.clone();
            std::thread::spawn(move || {
                let (mut splitter, mut text, mut bytes) = (Splitter::new(), Vec::new(), [0; 64 << 10]);
                while let Ok(length @ 1..) = stream.read(&mut bytes) {
                    let mut rest = &bytes[..length];
                    while let Some(end) = splitter.feed(rest) {
                        text.extend_from_slice(&rest[..end]);
                        rest = &rest[end..];
                        let statement = String::from_utf8(std::mem::take(&mut text)).unwrap();
                        let Some(reply) = answer(statement.trim()) else { return };
                        if stream.write_all(reply.as_bytes()).is_err() {
                            return;
                        }
                    }
                    text.extend_from_slice(rest);
                }
            });
        }
    });
    addr
}

/// The answer to a question for a table; its seven cells.
pub fn table(cells: &str) -> String {
    format!(
        "COLUMNS\tkeyspace_name\ttable_name\tkey_column\tkey_type\tvalue_column\tvalue_type\tconflicts\n\
         ROW\t{cells}\nEND\trows=1\n"
    )
}

/// Statements that a node was given, but for those that the shell asks on its own account.
#[derive(Clone, Default)]
pub struct Given(Arc<Mutex<Vec<String>>>);

impl Given {
    /// Notes a statement; the answer if it is one of the shell's own.
    pub fn note(&self, statement: &str) -> Option<String> {
        if let Some(reply) = of_the_shell(statement) {
            return Some(reply);
        }
        self.0.lock().unwrap().push(statement.to_owned());
        None
    }

    /// What was given so far.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// What was given since the last time.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// What a node without peers and tables answers to what the shell asks on its own account.
pub fn of_the_shell(statement: &str) -> Option<String> {
    let columns = match statement {
        "SELECT * FROM system.peers;" => "name\tclient_address",
        "SELECT * FROM system.tables;" => "keyspace_name\ttable_name",
        _ => return None,
    };
    Some(format!("COLUMNS\t{columns}\nEND\trows=0\n"))
}

/// A node that says OK to everything, and what it was given.
pub fn obedient() -> (String, Given) {
    let given = Given::default();
    let noted = given.clone();
    let host = node(move |statement| noted.note(statement).or(Some("OK\n".to_owned())));
    (host, given)
}
