//! What every verb of a command has to do with standard output and standard error that are gone, closed or full, as one
//! suite that runs on the command itself.
//!
//! A case that fails panics.

#![allow(clippy::disallowed_methods, reason = "it starts the command and waits in real time")]

use std::io::{Read, pipe};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longest wait for one run.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// One way to run a verb, which can be taken again and again.
pub struct Run<'a> {
    arguments: Box<dyn FnMut() -> Vec<String> + 'a>,
    status: i32,
}

impl<'a> Run<'a> {
    /// It ends with that status when all it says can be written.
    pub fn new(arguments: &[&str], status: i32) -> Run<'a> {
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        Run::anew(move || arguments.clone(), status)
    }

    /// The same for a verb that cannot do the same thing twice.
    pub fn anew(arguments: impl FnMut() -> Vec<String> + 'a, status: i32) -> Run<'a> {
        Run { arguments: Box::new(arguments), status }
    }
}

/// Where a stream of the command leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    /// Somebody reads.
    Read,
    /// A pipe whose reader is gone.
    Gone,
    /// Nowhere: there is no such stream.
    Closed,
    /// A disk without room.
    Full,
}

const BAD: [Sink; 3] = [Sink::Gone, Sink::Closed, Sink::Full];

/// Runs every verb that the help of the `program` lists as `runs` says, and its help, with every kind of standard output
/// and standard error. `prepare` sets the environment. A verb without a run fails.
pub fn every_verb<'a>(
    program: &str,
    prepare: impl Fn(&mut Command),
    mut runs: impl FnMut(&str) -> Vec<Run<'a>>,
) {
    let start = |arguments: &[String], out, err| outcome(program, &prepare, arguments, out, err);
    let verbs = verbs(&|arguments| start(arguments, Sink::Read, Sink::Read).out, &mut Vec::new());
    assert!(!verbs.is_empty(), "the help of {program} lists no verbs");
    for verb in verbs {
        let mut runs = runs(&verb);
        assert!(!runs.is_empty(), "no run is known of the verb `{verb}`");
        let help: Vec<&str> = verb.split(' ').chain(["--help"]).collect();
        runs.push(Run::new(&help, 0));
        for mut run in runs {
            let usual = start(&(run.arguments)(), Sink::Read, Sink::Read);
            assert_eq!(usual.status, Some(run.status), "{usual:?}");
            for bad in BAD {
                for (out, err) in [(bad, Sink::Read), (Sink::Read, bad), (bad, bad)] {
                    start(&(run.arguments)(), out, err).check(&usual, out, err);
                }
            }
        }
    }
}

/// The verbs that the help lists, `certs init` for one within another, and those alone that need no further word.
fn verbs(help: &dyn Fn(&[String]) -> String, path: &mut Vec<String>) -> Vec<String> {
    let text = help(&path.iter().cloned().chain(["--help".to_owned()]).collect::<Vec<_>>());
    let listed = text.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split(' ').next())
        .filter(|name| *name != "help");
    let mut found = Vec::new();
    for name in names {
        path.push(name.to_owned());
        found.append(&mut verbs(help, path));
        path.pop();
    }
    let is_verb = !path.is_empty() && (found.is_empty() || text.contains("[COMMAND]"));
    if is_verb {
        found.push(path.join(" "));
    }
    found
}

/// How a run ended, and what could be read of it.
#[derive(Debug)]
#[expect(dead_code, reason = "the arguments are for whoever reads why a case failed")]
struct Outcome {
    arguments: Vec<String>,
    /// `None`: ended by a signal.
    status: Option<i32>,
    out: String,
    err: String,
}

impl Outcome {
    /// `usual`: when all it says can be written.
    fn check(&self, usual: &Outcome, out: Sink, err: Sink) {
        let told = format!("standard output {out:?}, standard error {err:?}: {self:?}, usually {usual:?}");
        assert!(!self.err.contains("panicked") && !self.out.contains("panicked"), "{told}");
        match out {
            Sink::Gone if !usual.out.is_empty() => {
                assert!(self.status == usual.status || self.status == Some(0), "{told}");
                assert!(err != Sink::Read || usual.err.contains(&self.err), "{told}");
            }
            Sink::Full if !usual.out.is_empty() => {
                assert_eq!(self.status, Some(1), "{told}");
                assert!(err != Sink::Read || self.err.matches('\n').count() == 1, "{told}");
                assert!(err != Sink::Read || self.err.contains("standard output"), "{told}");
            }
            _ => {
                assert_eq!(self.status, usual.status, "{told}");
                assert_eq!(out == Sink::Read && !usual.out.is_empty(), !self.out.is_empty(), "{told}");
            }
        }
    }
}

fn outcome(
    program: &str,
    prepare: &impl Fn(&mut Command),
    arguments: &[String],
    out: Sink,
    err: Sink,
) -> Outcome {
    let mut redirected = "exec \"$@\"".to_owned();
    for (stream, sink) in [(1, out), (2, err)] {
        match sink {
            Sink::Read | Sink::Gone => {}
            Sink::Closed => redirected.push_str(&format!(" {stream}>&-")),
            Sink::Full => redirected.push_str(&format!(" {stream}>/dev/full")),
        }
    }
    let mut command = Command::new("sh");
    command.args(["-c", &redirected, "sh", program]).args(arguments).stdin(Stdio::null());
    command.stdout(stream(out)).stderr(stream(err));
    prepare(&mut command);
    let mut child = command.spawn().expect("the command starts");
    // A command that is full of words must not stand still for want of a reader.
    let (out, err) = (child.stdout.take().map(read), child.stderr.take().map(read));
    let status = ended(&mut child);
    let text = |reader: Option<thread::JoinHandle<String>>| {
        reader.map(|reader| reader.join().expect("text was read")).unwrap_or_default()
    };
    let (out, err) = (text(out), text(err));
    let status = status.unwrap_or_else(|| panic!("{arguments:?} does not end: {out} {err}"));
    Outcome { arguments: arguments.to_vec(), status: status.code(), out, err }
}

fn stream(sink: Sink) -> Stdio {
    match sink {
        Sink::Read => Stdio::piped(),
        Sink::Gone => pipe().expect("a pipe").1.into(),
        Sink::Closed | Sink::Full => Stdio::null(),
    }
}

fn read(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    let reader = thread::Builder::new().name("reader".into());
    let read = move || {
        let mut bytes = Vec::new();
        // What came before an error is what was said.
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    reader.spawn(read).expect("a thread")
}

/// `None`: it had to be killed.
fn ended(child: &mut Child) -> Option<ExitStatus> {
    let until = Instant::now() + ENDS_WITHIN;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_found_in_the_help() {
        let help = |arguments: &[String]| {
            match arguments.join(" ").as_str() {
            "--help" => "x\n\nCommands:\n  a     first\n        more of it\n  b     second\n  help  Print\n\nOptions:\n  -h\n",
            "a --help" => "Usage: x a [COMMAND]\n\nCommands:\n  one  1\n  two  2\n",
            _ => "Usage: x\n",
        }
        .to_owned()
        };
        assert_eq!(verbs(&help, &mut Vec::new()), ["a one", "a two", "a", "b"]);
    }
}
