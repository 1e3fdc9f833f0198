//! Connections: pipelining, order, hostile and half-open peers, drain.

use super::{TestNode, run};
use crate::client::budget::Budget;
use crate::client::connection::Connection;
use crate::client::greeting::Foreign;
use crate::client::listener::ClientListener;
use crate::client::stream::ClientStream;
use crate::client::{ClientSettings, Readiness};
use dunlin_cql::Reply;
use dunlin_cql::reply::ReplyReader;
use dunlin_types::ErrorCode;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub struct Wire {
    stream: DuplexStream,
    reader: ReplyReader,
    server: JoinHandle<std::io::Result<Option<Foreign>>>,
    acknowledged: Arc<AtomicUsize>,
}

/// The server's end, which counts how often the peer's bytes are acknowledged.
struct Pipe(DuplexStream, Arc<AtomicUsize>);

impl ClientStream for Pipe {
    fn acknowledge(&self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, to)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl Wire {
    pub fn connect(node: &TestNode) -> Wire {
        Wire::draining(node, std::future::pending())
    }

    fn draining(node: &TestNode, drain: impl Future<Output = ()> + Send + 'static) -> Wire {
        let (stream, theirs) = tokio::io::duplex(4096);
        let budget = Arc::new(Budget::new(node.services.settings.input_bytes));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let theirs = Pipe(theirs, Arc::clone(&acknowledged));
        let connection = Connection::new(theirs, Arc::clone(&node.services), budget);
        let server = tokio::spawn(connection.run(drain));
        Wire { stream, reader: ReplyReader::new(64 << 20), server, acknowledged }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn reply(&mut self) -> Reply {
        loop {
            if let Some(reply) = self.reader.take_reply().unwrap() {
                return reply;
            }
            let mut bytes = [0; 1000];
            let n = self.stream.read(&mut bytes).await.unwrap();
            assert!(n > 0, "closed before the answer");
            self.reader.push(&bytes[..n]);
        }
    }

    pub async fn text(&mut self) -> String {
        String::from_utf8(self.reply().await.to_bytes()).unwrap()
    }

    /// Whether nothing comes for a moment.
    pub async fn is_silent(&mut self) -> bool {
        let pause = tokio::time::sleep(Duration::from_millis(30));
        tokio::select! { biased; _ = self.reply() => false, () = pause => true }
    }

    /// The bytes up to the end of the stream, and how the server ended.
    async fn rest(mut self) -> (Vec<u8>, std::io::Result<Option<Foreign>>) {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).await.unwrap();
        drop(self.stream);
        (bytes, self.server.await.unwrap())
    }
}

#[test]
fn pipelined_statements_are_answered_in_order() {
    run(async {
        let node = TestNode::start().await;
        let mut wire = Wire::connect(&node);
        let mut text = String::new();
        for i in 0..3000 {
            text.push_str(&format!(
                "INSERT INTO lww (k, v) VALUES ({}, {i});\nSELECT v FROM lww WHERE k = {};\n",
                i % 7,
                i % 7
            ));
        }
        text.push_str("SELEC;CONSISTENCY ALL;CONSISTENCY;");
        let (mut read, mut write) =
            tokio::io::split(std::mem::replace(&mut wire.stream, tokio::io::duplex(1).0));
        let sender = tokio::spawn(async move {
            write.write_all(text.as_bytes()).await.unwrap();
            write
        });
        let mut next = async || loop {
            if let Some(reply) = wire.reader.take_reply().unwrap() {
                return String::from_utf8(reply.to_bytes()).unwrap();
            }
            let mut bytes = [0; 777];
            let n = read.read(&mut bytes).await.unwrap();
            wire.reader.push(&bytes[..n]);
        };
        for i in 0..3000 {
            assert_eq!(next().await, "OK\n");
            assert_eq!(next().await, format!("COLUMNS\tv\nROW\t{i}.0\nEND\trows=1\n"));
        }
        assert!(next().await.starts_with("ERROR\tSYNTAX\t"));
        assert_eq!(next().await, "OK\n");
        assert_eq!(next().await, "OK\tconsistency=ALL\n");
        drop(sender.await.unwrap());
    });
}

#[test]
fn a_slow_statement_holds_up_answers_but_not_work_on_other_keys() {
    run(async {
        let node = TestNode::start().await;
        let (mut wire, mut other) = (Wire::connect(&node), Wire::connect(&node));
        wire.send(
            "SELECT * FROM kv WHERE key = 'slow'; INSERT INTO kv (key, value) VALUES ('b', '1'); \
             INSERT INTO kv (key, value) VALUES ('slow', '1'); INSERT INTO kv (key, value) VALUES ('c', '1');",
        )
        .await;
        assert!(wire.is_silent().await);
        let mut count = async |key: &str| {
            other.send(format!("SELECT COUNT(*) FROM kv WHERE key = '{key}';")).await;
            other.text().await
        };
        let (none, one) = ("COLUMNS\tcount\nROW\t0\nEND\trows=1\n", "COLUMNS\tcount\nROW\t1\nEND\trows=1\n");
        assert_eq!(count("b").await, one);
        // The same key waits for its turn, and so does what comes after it.
        assert_eq!(count("c").await, none);
        node.store.gate.send(true).unwrap();
        assert_eq!(wire.text().await, "COLUMNS\tkey\tvalue\nEND\trows=0\n");
        for _ in 0..3 {
            assert!(wire.text().await.starts_with("OK\tcontext="));
        }
        assert_eq!(count("c").await, one);
        assert_eq!(count("slow").await, one);
    });
}

#[test]
fn statements_may_dribble_in() {
    run(async {
        let node = TestNode::start().await;
        let mut wire = Wire::connect(&node);
        for byte in b"SELECT v -- a comment; with '\n FROM lww WHERE k = 1;".chunks(1) {
            wire.send(byte).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(wire.text().await, "COLUMNS\tv\nEND\trows=0\n");
        assert!(wire.is_silent().await);
    });
}

#[test]
fn errors_of_framing_do_not_end_the_connection() {
    run(async {
        let settings = ClientSettings { statement_bytes: 1000, ..ClientSettings::default() };
        let node = TestNode::with(settings).await;
        let mut wire = Wire::connect(&node);
        wire.send(b"SELECT '\xff\xfe';CONSISTENCY;").await;
        assert_eq!(wire.text().await, "ERROR\tSYNTAX\texpected UTF-8, found other bytes\tline=1\tcolumn=9\n");
        assert_eq!(wire.text().await, "OK\tconsistency=QUORUM\n");
        let long = format!("INSERT INTO kv (key, value) VALUES ('a', '{}');CONSISTENCY;", "x".repeat(2000));
        wire.send(long).await;
        assert_eq!(wire.text().await, "ERROR\tTOO_LARGE\ta statement has at most 1000 bytes\tapplied=no\n");
        assert_eq!(wire.text().await, "OK\tconsistency=QUORUM\n");
        // Without an end it is given up.
        wire.send(format!("'{}", "x".repeat(4500))).await;
        assert_eq!(wire.reply().await.code(), Some(ErrorCode::TooLarge));
        let (rest, result) = wire.rest().await;
        assert!(rest.is_empty());
        result.unwrap();
    });
}

#[test]
fn the_peer_may_close_its_side_first() {
    run(async {
        let node = TestNode::start().await;
        let mut wire = Wire::connect(&node);
        wire.send("CONSISTENCY;SELECT * FROM kv WHERE key = 'slow'; USE dunlin").await;
        wire.stream.shutdown().await.unwrap();
        assert_eq!(wire.text().await, "OK\tconsistency=QUORUM\n");
        node.store.gate.send(true).unwrap();
        let (rest, result) = wire.rest().await;
        let expected = "COLUMNS\tkey\tvalue\nEND\trows=0\n\
                        ERROR\tSYNTAX\texpected ; to end the statement, found the end of the input\tline=1\tcolumn=1\n";
        assert_eq!(String::from_utf8(rest).unwrap(), expected);
        result.unwrap();
    });
}

#[test]
fn quit_answers_and_closes() {
    run(async {
        let node = TestNode::start().await;
        let mut wire = Wire::connect(&node);
        wire.send("USE dunlin;QUIT;USE dunlin;").await;
        let (rest, result) = wire.rest().await;
        assert_eq!(rest, b"OK\nOK\n");
        result.unwrap();
    });
}

#[test]
fn a_binary_cql_client_gets_one_error_frame() {
    run(async {
        let node = TestNode::start().await;
        let mut wire = Wire::connect(&node);
        wire.send([4, 0, 0, 1, 1, 0, 0, 0, 22, 0, 1]).await;
        let (rest, result) = wire.rest().await;
        assert_eq!(rest[..5], [0x84, 0, 0, 1, 0]);
        assert_eq!(result.unwrap(), Some(Foreign::Binary([4, 0, 0, 1])));
    });
}

#[test]
fn an_http_request_is_refused_and_its_body_is_no_statement() {
    run(async {
        let node = TestNode::start().await;
        for request in ["POST / HTTP/1.1\r\n\r\n;DROP TABLE kv;\n", "GET /;DROP TABLE kv; HTTP/1.1\r\n\r\n"] {
            for piece in [1, 5, 1000] {
                let mut wire = Wire::connect(&node);
                for piece in request.as_bytes().chunks(piece) {
                    wire.send(piece).await;
                    tokio::task::yield_now().await;
                }
                let (rest, result) = wire.rest().await;
                assert!(rest.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&rest));
                assert_eq!(result.unwrap(), Some(Foreign::Http));
            }
        }
        let mut wire = Wire::connect(&node);
        wire.send("SELECT COUNT(*) FROM kv;").await;
        assert_eq!(wire.reply().await.code(), None, "the table is still there");
    });
}

#[test]
fn a_tls_client_gets_an_alert() {
    run(async {
        let node = TestNode::start().await;
        let mut wire = Wire::connect(&node);
        wire.send([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).await;
        let (rest, result) = wire.rest().await;
        assert_eq!(rest[..2], [0x15, 3]);
        assert_eq!(result.unwrap(), Some(Foreign::Tls));
    });
}

/// What a connection answers to all of the text and its end, a line each; rows in one line.
async fn answers(node: &TestNode, text: &str) -> Vec<String> {
    let mut wire = Wire::connect(node);
    wire.send(text).await;
    wire.stream.shutdown().await.unwrap();
    let (rest, result) = wire.rest().await;
    assert_eq!(result.unwrap(), None);
    let mut answers = vec![String::new()];
    for line in String::from_utf8(rest).unwrap().lines() {
        let line = line.replace('\t', " ");
        let ends = ["OK", "END", "ERROR"].iter().any(|tag| line.starts_with(tag));
        answers.last_mut().unwrap().push_str(&line);
        if ends {
            answers.push(String::new());
        }
    }
    answers.pop();
    answers
}

#[test]
fn every_statement_is_answered_whatever_stands_around_it() {
    run(async {
        let node = TestNode::start().await;
        let check = async |text: &str, expected: &[&str]| {
            let found = answers(&node, text).await;
            assert_eq!(found, expected, "{text:?}");
        };
        let (quorum, one) = ("OK consistency=QUORUM", "OK consistency=ONE");
        check("-- a;\nCONSISTENCY; // b;\n/* c; */CONSISTENCY/* d */; -- e", &[quorum, quorum]).await;
        check(
            "\u{feff}CONSISTENCY;\u{feff}\n\u{feff}CONSISTENCY ONE;\u{b}CONSISTENCY;",
            &[quorum, "OK", one],
        )
        .await;
        let not = |what: &str, line: u32, column: u32| {
            format!("ERROR SYNTAX expected a statement, found {what} line={line} column={column}")
        };
        check(";;", &[&not(";", 1, 1), &not(";", 1, 1)]).await;
        check("-- only a comment\n;CONSISTENCY;", &[&not(";", 2, 1), quorum]).await;
        check("-- only a comment\n/* another */", &[]).await;
        check("", &[]).await;
        check("(SELECT * FROM kv);CONSISTENCY;", &[&not("(", 1, 1), quorum]).await;
        check("  1INSERT;?;'x';=;\"x\";", &[
            "ERROR SYNTAX expected a number or a duration in us, ms, s or m, found 1INSERT line=1 column=1",
            &not("?", 1, 1), &not("'x'", 1, 1), &not("=", 1, 1), &not("\"x\"", 1, 1),
        ]).await;
        // Positions count from the first word, or from the comment before it.
        check("CONSISTENCY;\n\n  \u{feff} SELEC 1;", &[quorum, &not("SELEC", 1, 1)]).await;
        check("CONSISTENCY; -- x\n  SELEC 1;", &[quorum, &not("SELEC", 2, 3)]).await;
        check("/* é */ SELEC 1;", &[&not("SELEC", 1, 9)]).await;
        check(
            "CONSISTENCY; SELECT 'a",
            &[quorum, "ERROR SYNTAX expected ' to end the string that starts here, found the end of the input line=1 column=8"],
        )
        .await;
        check("/* x", &["ERROR SYNTAX expected */ to end the comment that starts here, found the end of the input line=1 column=1"]).await;
    });
}

/// Whatever stands before or in a batch: all of it is done, or nothing.
#[test]
fn no_part_of_a_batch_is_done_alone() {
    run(async {
        let node = TestNode::start().await;
        let insert = |key: &str| format!("INSERT INTO kv (key, value) VALUES ('{key}', 'x;')");
        let mut round = 0;
        for (before, begin, apply, good) in [
            ("", "BEGIN BATCH", "APPLY BATCH", true),
            ("\u{feff}", "BEGIN BATCH", "APPLY BATCH", true),
            ("\u{feff}-- x\n\u{b}", "BEGIN/* ; */BATCH", "APPLY -- ;\n BATCH", true),
            ("", "begin\u{feff}batch;", "apply\u{feff}batch", true),
            ("\u{a0}", "BEGIN BATCH", "APPLY BATCH", false),
            ("(", "BEGIN BATCH", "APPLY BATCH)", false),
            ("x ", "BEGIN BATCH", "APPLY BATCH", false),
            ("", "BEGIN UNLOGGED BATCH", "APPLY BATCH", false),
            ("", "BEGIN LOGGED BATCH", "APPLY BATCH", false),
            ("", "BEGIN COUNTER BATCH", "APPLY BATCH", false),
            ("", "BEGIN BATCH BEGIN BATCH", "APPLY BATCH; APPLY BATCH", false),
            ("", "BEGIN BATCH SELECT * FROM kv;", "APPLY BATCH", false),
            ("", "BEGIN BATCH", "APPLY", false),
            ("", "BEGIN BATCH", "APPLY BACTH", false),
        ] {
            round += 1;
            let (a, b) = (format!("a{round}"), format!("b{round}"));
            let text = format!("{before}{begin} {}; {}; {apply};CONSISTENCY;", insert(&a), insert(&b));
            let found = answers(&node, &text).await;
            assert_eq!(found.len(), 2, "{text:?}: {found:?}");
            assert_eq!(found[1], "OK consistency=QUORUM");
            match good {
                true => assert_eq!(found[0], "OK applied=2", "{text:?}"),
                false => assert!(found[0].starts_with("ERROR SYNTAX"), "{text:?}: {found:?}"),
            }
            let count = format!("SELECT COUNT(*) FROM kv WHERE key IN ('{a}', '{b}');");
            let expected = format!("COLUMNS countROW {}END rows=1", if good { 2 } else { 0 });
            assert_eq!(answers(&node, &count).await, [expected], "{text:?}");
        }
        let open = format!("BEGIN BATCH {};", insert("open"));
        let end = "ERROR SYNTAX expected APPLY BATCH; to end the batch that starts here, found the end of the input line=1 column=1";
        assert_eq!(answers(&node, &open).await, [end]);
    });
}

#[test]
fn what_leaves_nothing_to_answer_is_acknowledged_at_once() {
    run(async {
        let node = TestNode::start().await;
        let mut wire = Wire::connect(&node);
        let acknowledged = Arc::clone(&wire.acknowledged);
        let count = || acknowledged.load(Ordering::Relaxed);
        let until = async |expected: usize| {
            while count() < expected {
                tokio::task::yield_now().await;
            }
            assert_eq!(count(), expected);
        };
        wire.send("CONSISTENCY;").await;
        wire.reply().await;
        wire.send("CONSISTENCY;CONSISTENCY;\n").await;
        wire.reply().await;
        wire.reply().await;
        assert_eq!(count(), 0, "answers do it");
        wire.send("\n").await;
        until(1).await;
        wire.send("CONSIS").await;
        until(2).await;
        wire.send("TENCY;").await;
        wire.reply().await;
        wire.send("SELECT * FROM kv WHERE key = 'slow';").await;
        assert!(wire.is_silent().await);
        assert_eq!(count(), 2, "its answer will");
    });
}

#[test]
fn random_bytes_and_sudden_ends_do_no_harm() {
    run(async {
        let settings = ClientSettings { statement_bytes: 5000, ..ClientSettings::default() };
        let node = TestNode::with(settings).await;
        let mut random = 12345u64;
        for round in 0..60 {
            let mut wire = Wire::connect(&node);
            let bytes: Vec<u8> = (0..2000)
                .map(|_| {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let byte = (random >> 56) as u8;
                    // Half the rounds stay near the language.
                    if round % 2 == 0 { byte } else { b"SELECT * FROM kv;'$-/\"\n01"[usize::from(byte) % 25] }
                })
                .collect();
            let (mut read, mut write) = tokio::io::split(wire.stream);
            let reader = tokio::spawn(async move {
                let mut all = Vec::new();
                let _ = read.read_to_end(&mut all).await;
                all
            });
            let _ = write.write_all(&bytes).await;
            if round % 3 > 0 {
                let _ = write.shutdown().await;
            }
            if round % 3 == 2 {
                wire.server.abort();
            }
            if round % 3 == 0 {
                // Gone without a word.
                reader.abort();
                drop(write);
                let _ = reader.await;
            } else if let Ok(all) = reader.await {
                wire.reader.push(&all);
                while wire.reader.take_reply().is_ok_and(|reply| reply.is_some()) {}
            }
            let _ = wire.server.await;
        }
        assert_eq!(node.services.admission.stats().at_work, 0);
    });
}

#[test]
fn a_peer_that_takes_no_answers_is_not_waited_for() {
    run(async {
        let settings =
            ClientSettings { stall_timeout: Duration::from_millis(50), ..ClientSettings::default() };
        let node = TestNode::with(settings).await;
        let mut wire = Wire::connect(&node);
        let help = "HELP;".repeat(200);
        // Neither side can go on once both buffers are full.
        let _ = tokio::time::timeout(Duration::from_secs(5), wire.stream.write_all(help.as_bytes())).await;
        let error = wire.server.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    });
}

#[test]
fn a_peer_that_stops_in_the_middle_is_not_waited_for() {
    run(async {
        let settings =
            ClientSettings { partial_timeout: Duration::from_millis(50), ..ClientSettings::default() };
        let node = TestNode::with(settings).await;
        let mut wire = Wire::connect(&node);
        wire.send("CONSISTENCY;").await;
        wire.reply().await;
        // Between statements there is no hurry.
        tokio::time::sleep(Duration::from_millis(120)).await;
        wire.send("CONSIS").await;
        let error = wire.server.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    });
}

#[test]
fn draining_answers_what_was_taken() {
    run(async {
        let node = TestNode::start().await;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let mut wire = Wire::draining(&node, async { drop(stopped.await) });
        let (idle_stop, idle_stopped) = tokio::sync::oneshot::channel::<()>();
        let idle = Wire::draining(&node, async { drop(idle_stopped.await) });
        wire.send("CONSISTENCY;SELECT * FROM kv WHERE key = 'slow';SELECT * FROM kv WHERE key = 'a'; SELECT")
            .await;
        wire.reply().await;
        node.set_readiness(Readiness::Draining);
        stop.send(()).unwrap();
        idle_stop.send(()).unwrap();
        assert_eq!(idle.rest().await.0, b"");
        node.store.gate.send(true).unwrap();
        assert_eq!(wire.text().await, "COLUMNS\tkey\tvalue\nEND\trows=0\n");
        assert_eq!(wire.text().await, "COLUMNS\tkey\tvalue\nEND\trows=0\n");
        let (rest, result) = wire.rest().await;
        assert_eq!(String::from_utf8(rest).unwrap(), "");
        result.unwrap();
    });
}

#[test]
fn the_port_serves_bounds_and_drains() {
    run(async {
        let settings = ClientSettings { connections: 2, ..ClientSettings::default() };
        let node = TestNode::with(settings).await;
        let listener =
            ClientListener::bind("127.0.0.1:0".parse().unwrap(), Arc::clone(&node.services), None).unwrap();
        let address = listener.local_addr().unwrap();
        let (drain, drained) = watch::channel(false);
        let server = tokio::spawn(listener.serve(drained, Duration::from_secs(5)));
        let mut first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        first.write_all(b"CONSISTENCY;").await.unwrap();
        let mut answer = [0; 22];
        first.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"OK\tconsistency=QUORUM\n");
        let mut third = TcpStream::connect(address).await.unwrap();
        let mut refusal = String::new();
        third.read_to_string(&mut refusal).await.unwrap();
        assert_eq!(refusal, "ERROR\tOVERLOADED\ttoo many connections\tretry_after_ms=1000\n");
        drain.send(true).unwrap();
        assert_eq!(server.await.unwrap(), 0);
        assert_eq!(first.read(&mut answer).await.unwrap(), 0);
        assert!(TcpStream::connect(address).await.is_err());
    });
}
