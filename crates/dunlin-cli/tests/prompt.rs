//! `dunlin shell` on a terminal: what a person types and sees.

// Real processes, sockets, threads, files and terminals are what is tested.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod scripted;

use rexpect::session::{PtySession, spawn_command};
use scripted::{Given, node, obedient, of_the_shell};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Longest wait for what is expected, in ms; machines are slow and shared.
const PATIENCE: u64 = 60_000;

/// A shell at its prompt on a terminal of that many columns.
fn shell(host: &str, history: &Path, columns: u16, options: &[&str]) -> PtySession {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "stty cols \"$COLS\" rows 30; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_dunlin"),
            "shell",
            host,
        ])
        .args(options)
        .env("COLS", columns.to_string())
        .env("DUNLIN_HISTORY", history)
        .env("TERM", "xterm")
        .env_remove("DUNLIN_HOST");
    let mut session = spawn_command(command, Some(PATIENCE)).unwrap();
    session.exp_string("Ctrl-D leaves.").unwrap();
    session.exp_string("dunlin> ").unwrap();
    session
}

/// Types a line and gives back what is printed up to the next prompt.
fn say(session: &mut PtySession, line: &str) -> String {
    session.send_line(line).unwrap();
    printed(session)
}

/// What is printed between the line that was just ended and the next prompt. The line editor has terminals bracket
/// what is pasted for as long as it reads.
fn printed(session: &mut PtySession) -> String {
    session.exp_string("\x1b[?2004l").unwrap();
    let text = session.exp_string("\x1b[?2004h").unwrap();
    session.exp_string("dunlin> ").unwrap();
    // It comes as a character for each byte.
    let bytes = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    String::from_utf8(bytes).unwrap().trim_start_matches(['\r', '\n']).to_owned()
}

fn leave(mut session: PtySession) {
    session.send_line("exit").unwrap();
    session.exp_eof().unwrap();
}

fn history_of(dir: &Path) -> std::path::PathBuf {
    dir.join("history")
}

/// 25 rows in pages of 10.
fn paged() -> (String, Given) {
    let given = Given::default();
    let noted = given.clone();
    let host = node(move |statement| {
        if let Some(reply) = noted.note(statement) {
            return Some(reply);
        }
        let Ok(dunlin_cql::Statement::Select(select)) = dunlin_cql::parse(statement) else {
            return Some("OK\n".to_owned());
        };
        let first: u32 = select.using.page.map_or(0, |page| page.parse().unwrap());
        let last = 25.min(first + 10);
        let rows: String = (first..last).map(|i| format!("ROW\tk{i}\n")).collect();
        let page = if last < 25 { format!("\tpage={last}") } else { String::new() };
        Some(format!("COLUMNS\tkey\n{rows}END\trows={}{page}\n", last - first))
    });
    (host, given)
}

#[test]
fn a_select_stops_at_a_page_and_enter_or_more_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (host, given) = paged();
    let mut session = shell(&host, &history_of(dir.path()), 80, &[]);
    let first = say(&mut session, "SELECT * FROM kv;");
    assert!(first.contains("k9 ") && !first.contains("k10"), "{first}");
    assert!(first.contains("(10 rows so far, there are more: Enter or MORE; goes on)"), "{first}");
    let second = say(&mut session, "");
    assert!(second.contains("k10") && second.contains("(20 rows so far"), "{second}");
    let third = say(&mut session, "more");
    assert!(third.contains("k24") && third.contains("(25 rows)"), "{third}");
    let over = say(&mut session, "MORE;");
    assert!(over.contains("there is no SELECT that stopped"), "{over}");
    assert_eq!(given.take().len(), 3);

    say(&mut session, "SELECT * FROM kv;");
    say(&mut session, "USE x;");
    assert_eq!(given.take().len(), 2);
    // The rest was given up: Enter is only Enter.
    assert_eq!(say(&mut session, ""), "");
    let by_hand = say(&mut session, "SELECT * FROM kv USING PAGE '10';");
    assert!(by_hand.contains("k10") && by_hand.contains("(10 rows, page=20)"), "{by_hand}");
    leave(session);
}

#[test]
fn words_that_everybody_tries_need_no_semicolon() {
    let dir = tempfile::tempdir().unwrap();
    let host = node(|statement| {
        of_the_shell(statement).or(Some(
            if statement.to_uppercase().starts_with("HELP") {
                "COLUMNS\thelp\nROW\tthe node's help\nEND\trows=1\n"
            } else {
                "OK\n"
            }
            .to_owned(),
        ))
    });
    let history = history_of(dir.path());
    for last in ["exit", "quit", "\\q", "EXIT;"] {
        let mut session = shell(&host, &history, 80, &[]);
        if last == "exit" {
            for help in ["help", "?", "HELP;"] {
                let shown = say(&mut session, help);
                assert!(shown.contains("the node's help") && shown.contains("COPY"), "{help}: {shown}");
            }
            assert!(say(&mut session, "help expand").contains("EXPAND [ON | OFF]"));
            assert!(say(&mut session, "? select").contains("the node's help"));
            assert!(say(&mut session, "clear").contains("\x1b[2J"));
        }
        session.send_line(last).unwrap();
        session.exp_eof().unwrap();
    }
    let mut session = shell(&host, &history, 80, &[]);
    session.send_control('d').unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn a_statement_goes_on_over_lines_until_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let (host, given) = obedient();
    let mut session = shell(&host, &history_of(dir.path()), 80, &[]);
    session.send_line("INSERT -- not yet;").unwrap();
    session.exp_string("   ... ").unwrap();
    session.send_line("'a").unwrap();
    session.exp_string("   ... ").unwrap();
    session.send_line("exit").unwrap();
    session.exp_string("   ... ").unwrap();
    assert!(say(&mut session, "b';").contains("OK"));
    assert_eq!(given.take(), ["INSERT -- not yet;\n'a\nexit\nb';"]);

    // Several statements pasted at once, with tabs and the line ends of another system.
    session.send("\x1b[200~INSERT\t1;\r\nINSERT 2;\r\n-- done\x1b[201~").unwrap();
    say(&mut session, "");
    assert_eq!(given.take(), ["INSERT\t1;", "INSERT 2;"]);
    leave(session);
}

#[test]
fn what_stands_behind_a_wrong_statement_is_not_run_and_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let given = Given::default();
    let noted = given.clone();
    let host = node(move |statement| {
        noted.note(statement).or(Some(
            if statement.contains("SELEC") { "ERROR\tSYNTAX\tno\tline=1\tcolumn=1\n" } else { "OK\n" }
                .to_owned(),
        ))
    });
    let mut session = shell(&host, &history_of(dir.path()), 80, &[]);
    let shown = say(&mut session, "USE a; SELEC; USE b; /* x */ USE c; -- end");
    assert_eq!(given.take(), ["USE a;", "SELEC;"]);
    assert!(shown.contains("  SELEC;\r\n  ^\r\n"), "{shown}");
    assert!(shown.contains("the 2 statements behind it were not run"), "{shown}");
    leave(session);
}

#[test]
fn ctrl_c_ends_the_statement_and_not_the_shell() {
    let dir = tempfile::tempdir().unwrap();
    let (begun, at_work) = std::sync::mpsc::channel();
    let given = Given::default();
    let noted = given.clone();
    let host = node(move |statement| {
        if let Some(reply) = noted.note(statement) {
            return Some(reply);
        }
        if statement.contains("slow") {
            begun.send(()).unwrap();
            std::thread::park();
        }
        Some("OK\n".to_owned())
    });
    let history = history_of(dir.path());
    let mut session = shell(&host, &history, 80, &[]);
    say(&mut session, "USE shop;");
    for (statement, maybe) in [("SELECT * FROM slow;", false), ("DELETE FROM slow WHERE k = 1;", true)] {
        session.send_line(statement).unwrap();
        at_work.recv().unwrap();
        session.send_control('c').unwrap();
        let shown = printed(&mut session);
        assert!(shown.contains("cancelled"), "{shown}");
        assert_eq!(shown.contains("may have been applied"), maybe, "{shown}");
        given.take();
        assert!(say(&mut session, "SHOW SESSION;").contains("OK"));
        // On a connection of its own, which is told what was set before.
        assert_eq!(given.take(), ["USE shop;", "SHOW SESSION;"]);
        assert!(std::fs::read_to_string(&history).unwrap().contains(statement));
    }
    // At the prompt it gives up what was typed.
    session.send("SELECT 'half").unwrap();
    session.send_control('c').unwrap();
    assert_eq!(printed(&mut session), "");
    session.send_line("SELECT 'half").unwrap();
    session.exp_string("   ... ").unwrap();
    session.send_control('c').unwrap();
    session.exp_string("dunlin> ").unwrap();
    assert!(say(&mut session, "USE x;").contains("OK"));
    assert_eq!(given.take(), ["USE x;"]);
    leave(session);
}

#[test]
fn after_the_longest_wait_the_session_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let given = Given::default();
    let noted = given.clone();
    let host = node(move |statement| {
        if let Some(reply) = noted.note(statement) {
            return Some(reply);
        }
        if statement.contains("slow") {
            std::thread::park();
        }
        Some("OK\n".to_owned())
    });
    let mut session = shell(&host, &history_of(dir.path()), 80, &["--timeout", "2"]);
    say(&mut session, "CONSISTENCY ONE;");
    let shown = say(&mut session, "SELECT COUNT(*) FROM slow;");
    assert!(shown.contains("within 2 s (--timeout)") && !shown.contains("applied"), "{shown}");
    given.take();
    assert!(say(&mut session, "USE x;").contains("OK"));
    assert_eq!(given.take(), ["CONSISTENCY ONE;", "USE x;"]);
    leave(session);
}

#[test]
fn no_node_at_all_does_not_end_the_shell() {
    let dir = tempfile::tempdir().unwrap();
    let there = Arc::new(AtomicBool::new(true));
    let is_there = there.clone();
    let host = node(move |statement| {
        if !is_there.load(Ordering::Relaxed) {
            return None;
        }
        of_the_shell(statement).or(Some("OK\n".to_owned()))
    });
    let mut session = shell(&host, &history_of(dir.path()), 120, &[]);
    there.store(false, Ordering::Relaxed);
    let shown = say(&mut session, "SELECT * FROM kv;");
    assert!(shown.contains("lost the connection to"), "{shown}");
    there.store(true, Ordering::Relaxed);
    let shown = say(&mut session, "USE x;");
    assert!(shown.contains("connected to") && shown.contains("OK"), "{shown}");
    leave(session);
}

#[test]
fn the_history_is_kept_after_each_statement_beside_that_of_other_shells() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _) = obedient();
    let history = history_of(dir.path());
    let mut first = shell(&host, &history, 80, &[]);
    let mut second = shell(&host, &history, 80, &[]);
    say(&mut first, "USE first;");
    say(&mut second, "USE second;");
    say(&mut first, "LOGIN 'me' 'secret';");
    say(&mut first, "/* again */ login 'me' 'secret'; USE hidden;");
    say(&mut first, "USE third;");
    first.process_mut().kill(rexpect::process::Signal::SIGKILL).unwrap();
    say(&mut second, "USE fourth;");
    second.process_mut().kill(rexpect::process::Signal::SIGHUP).unwrap();
    let kept = std::fs::read_to_string(&history).unwrap();
    assert_eq!(kept, "#V2\nUSE first;\nUSE second;\nUSE third;\nUSE fourth;\n");
    assert_eq!(std::fs::metadata(&history).unwrap().permissions().mode() & 0o777, 0o600);
    let mut third = shell(&host, &history, 80, &[]);
    // Up twice is the statement before the last.
    third.send("\x1b[A\x1b[A").unwrap();
    third.flush().unwrap();
    third.exp_string("USE third;").unwrap();
    assert!(say(&mut third, "").contains("OK"));
    leave(third);
}

#[test]
fn what_is_wider_than_the_terminal_is_cut_visibly_and_nothing_steers_it() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!("{}END", "日本".repeat(40));
    let reply = format!(
        "WARNING\t\x1b[31mwarned\nTRACE\t7\tn1\t\x1b[32mtraced\nCOLUMNS\tk\x1b[33m\tv\nROW\ta\t{long}\nROW\tb\t\u{1b}]0;title\u{7}\u{9b}1m\u{202e}\nROW\tc\t\\N\nROW\td\tnull\nEND\trows=4\n"
    );
    let host = node(move |statement| {
        of_the_shell(statement).or(Some(if statement.contains("wrong") {
            "ERROR\tINVALID\t\x1b[34mno\n".to_owned()
        } else {
            reply.clone()
        }))
    });
    for (format, cut) in [("table", true), ("tsv", false), ("json", false)] {
        let mut session = shell(&host, &history_of(dir.path()), 50, &["--format", format]);
        let shown = say(&mut session, "SELECT * FROM kv;") + &say(&mut session, "wrong;");
        let steering =
            shown.chars().filter(|c| c.is_control() && !['\r', '\n', '\t'].contains(c) || *c == '\u{202e}');
        assert_eq!(steering.count(), 0, "{format}: {shown:?}");
        assert_eq!(shown.contains('…') && shown.contains("EXPAND ON;"), cut, "{format}: {shown}");
        assert_eq!(shown.contains("END"), !cut, "{format}: {shown}");
        if cut {
            assert!(shown.contains("(null)") && shown.contains(" null "), "{shown}");
            say(&mut session, "expand on");
            let shown = say(&mut session, "SELECT * FROM kv;");
            assert!(shown.contains(&long) && shown.contains("@ row 4"), "{shown}");
            assert!(!shown.contains('\x1b'), "{shown:?}");
        }
        leave(session);
    }
}
