//! Connections: pipelining, order, hostile and half-open peers, drain.

use super::{TestNode, run};
use crate::client::budget::Budget;
use crate::client::connection::Connection;
use crate::client::listener::ClientListener;
use crate::client::{ClientSettings, Readiness};
use dunlin_cql::Reply;
use dunlin_cql::reply::ReplyReader;
use dunlin_types::ErrorCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub struct Wire {
    stream: DuplexStream,
    reader: ReplyReader,
    server: JoinHandle<std::io::Result<()>>,
}

impl Wire {
    pub fn connect(node: &TestNode) -> Wire {
        Wire::draining(node, std::future::pending())
    }

    fn draining(node: &TestNode, drain: impl Future<Output = ()> + Send + 'static) -> Wire {
        let (stream, theirs) = tokio::io::duplex(4096);
        let budget = Arc::new(Budget::new(node.services.settings.input_bytes));
        let connection = Connection::new(theirs, Arc::clone(&node.services), budget);
        let server = tokio::spawn(connection.run(drain));
        Wire { stream, reader: ReplyReader::new(64 << 20), server }
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
    async fn rest(mut self) -> (Vec<u8>, std::io::Result<()>) {
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
        result.unwrap();
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
