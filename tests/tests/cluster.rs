//! Three real processes: start, write, kill one with SIGKILL, write and read at QUORUM, restart it,
//! hints delivered, all replicas equal; and what hostile bytes get.

#![allow(clippy::disallowed_methods, reason = "tests of real processes use real time, files and threads")]

use dunlin_tests::cluster::{Connection, LocalCluster, statement, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const KEYS: usize = 200;

fn insert(connection: &mut Connection, key: usize, value: &str) {
    let reply = connection
        .statement(&format!("INSERT INTO kv (key, value) VALUES ('key-{key}', '{value}-{key}')"))
        .expect("a reply");
    assert!(reply.starts_with("OK\tcontext="), "key {key}: {reply}");
}

fn value(connection: &mut Connection, key: usize) -> Vec<String> {
    let reply =
        connection.statement(&format!("SELECT value FROM kv WHERE key = 'key-{key}'")).expect("a reply");
    assert!(reply.contains("\nEND\t") || reply.starts_with("COLUMNS"), "key {key}: {reply}");
    reply.lines().filter_map(|line| line.strip_prefix("ROW\t")).map(str::to_owned).collect()
}

#[test]
fn a_killed_node_is_missed_by_nobody_and_catches_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut cluster = LocalCluster::start(dir.path(), 3);
    assert_eq!(cluster.up(1), 3);

    let mut first = Connection::open(cluster.client(1)).expect("node 1 accepts");
    for key in 0..KEYS {
        insert(&mut first, key, "before");
    }

    cluster.kill(3);
    // QUORUM goes on, at once and through either survivor.
    let mut second = Connection::open(cluster.client(2)).expect("node 2 accepts");
    for key in 0..KEYS {
        insert(if key % 2 == 0 { &mut first } else { &mut second }, key, "after");
    }
    for key in 0..KEYS {
        assert_eq!(value(&mut second, key), [format!("after-{key}")]);
    }
    wait_until("both survivors see node 3 down", || cluster.up(1) == 2 && cluster.up(2) == 2);
    first.statement("CONSISTENCY ALL").expect("a reply");
    let refused = first.statement("INSERT INTO kv (key, value) VALUES ('all', 'x')").expect("a reply");
    assert!(refused.starts_with("ERROR\tUNAVAILABLE\t") && refused.contains("applied=no"), "{refused}");
    assert!(refused.contains("required=3") && refused.contains("alive=2"), "{refused}");
    first.statement("CONSISTENCY QUORUM").expect("a reply");

    cluster.restart(3);
    wait_until("all nodes see all nodes", || (1..=3).all(|i| cluster.up(i) == 3));
    wait_until("hints are delivered", || {
        (1..=3).all(|i| {
            let hints = cluster.nodetool_json(i, &["hints", "list"]);
            hints["targets"].as_array().expect("targets").iter().all(|t| t["count"] == 0)
        })
    });
    // Nothing but hints brought node 3 up to date, and now it alone answers.
    let mut third = Connection::open(cluster.client(3)).expect("node 3 accepts");
    third.statement("CONSISTENCY ALL").expect("a reply");
    for key in 0..KEYS {
        assert_eq!(value(&mut third, key), [format!("after-{key}")]);
    }
    // Repair finds nothing left to do.
    // The connection to a node that has just come back may still be backing off.
    let mut repair = serde_json::Value::Null;
    wait_until("a repair reaches every replica", || {
        let output = cluster.nodetool(1, &["--format", "json", "repair"]);
        if output.status.success() {
            repair = serde_json::from_slice(&output.stdout).expect("nodetool prints JSON");
        }
        output.status.success()
    });
    assert_eq!(repair["records_sent"].as_u64(), Some(0), "{repair}");
    assert_eq!(repair["records_received"].as_u64(), Some(0), "{repair}");
}

#[test]
fn data_survives_the_loss_of_every_process_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut cluster = LocalCluster::start(dir.path(), 3);
    let mut connection = Connection::open(cluster.client(2)).expect("node 2 accepts");
    for key in 0..KEYS {
        insert(&mut connection, key, "kept");
    }
    for node in 1..=3 {
        cluster.kill(node);
    }
    for node in 1..=3 {
        cluster.restart(node);
    }
    wait_until("all nodes see all nodes", || (1..=3).all(|i| cluster.up(i) == 3));
    let mut connection = Connection::open(cluster.client(1)).expect("node 1 accepts");
    for key in 0..KEYS {
        assert_eq!(value(&mut connection, key), [format!("kept-{key}")]);
    }
}

/// What `nodetool status` of a node has to say about lost or damaged data.
fn damage_lines(cluster: &LocalCluster, node: u16) -> Vec<String> {
    let status = cluster.nodetool_json(node, &["status"]);
    let lines = status["attention"].as_array().expect("attention").iter();
    let lines = lines.map(|line| line.as_str().expect("text").to_owned());
    lines.filter(|line| line.contains("lost here") || line.contains("damaged")).collect()
}

fn text(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_node_goes_back_to_a_snapshot_and_catches_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut cluster = LocalCluster::start(dir.path(), 3);
    let mut connection = Connection::open(cluster.client(1)).expect("node 1 accepts");
    for key in 0..KEYS {
        insert(&mut connection, key, "before");
    }
    let taken = cluster.nodetool(3, &["snapshot", "--name", "s1"]);
    assert!(taken.status.success(), "{}", text(&taken));
    let again = cluster.nodetool(3, &["snapshot", "--name", "s1"]);
    assert!(!again.status.success() && text(&again).contains("s1"), "{}", text(&again));
    let verified = cluster.nodetool(3, &["verify"]);
    assert!(
        verified.status.success() && text(&verified).contains("every SSTable is sound"),
        "{}",
        text(&verified)
    );
    for key in 0..KEYS {
        insert(&mut connection, key, "after");
    }
    let data = dir.path().join("n3/data");
    let restore = ["restore", "s1", "--data-dir", data.to_str().expect("a path of UTF-8")];
    let refused = cluster.nodetool(3, &restore);
    assert!(!refused.status.success() && text(&refused).contains("a node runs on"), "{}", text(&refused));
    cluster.kill(3);
    let restored = cluster.nodetool(3, &restore);
    assert!(restored.status.success(), "{}", text(&restored));
    cluster.restart(3);
    wait_until("all nodes see all nodes", || (1..=3).all(|i| cluster.up(i) == 3));
    wait_until("node 3 has its data back", || damage_lines(&cluster, 3).is_empty());
    let mut third = Connection::open(cluster.client(3)).expect("node 3 accepts");
    third.statement("CONSISTENCY ALL").expect("a reply");
    for key in 0..KEYS {
        assert_eq!(value(&mut third, key), [format!("after-{key}")]);
    }
    let listed = cluster.nodetool(3, &["listsnapshots"]);
    assert!(text(&listed).contains("s1") && text(&listed).contains("dunlin.kv"), "{}", text(&listed));
    let cleared = cluster.nodetool(3, &["clearsnapshot", "s1"]);
    assert!(cleared.status.success(), "{}", text(&cleared));
    assert!(text(&cluster.nodetool(3, &["listsnapshots"])).contains("There are no snapshots"));
}

#[test]
fn a_flipped_bit_is_found_and_scrubbed_while_the_others_answer() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut cluster = LocalCluster::start(dir.path(), 3);
    let mut connection = Connection::open(cluster.client(1)).expect("node 1 accepts");
    for key in 0..KEYS {
        insert(&mut connection, key, "kept");
    }
    let flushed = cluster.nodetool(3, &["flush"]);
    assert!(flushed.status.success(), "{}", text(&flushed));
    cluster.kill(3);
    let folder = dir.path().join("n3/data/tables/dunlin/kv");
    let files = std::fs::read_dir(folder).expect("the table's folder").map(|e| e.expect("an entry").path());
    let sstables: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "sst")).collect();
    assert!(!sstables.is_empty());
    for path in &sstables {
        let mut bytes = std::fs::read(path).expect("an SSTable");
        bytes[200] ^= 1;
        std::fs::write(path, bytes).expect("a damaged SSTable");
    }
    cluster.restart(3);
    wait_until("all nodes see all nodes", || (1..=3).all(|i| cluster.up(i) == 3));
    let mut third = Connection::open(cluster.client(3)).expect("node 3 accepts");
    for key in 0..KEYS {
        assert_eq!(value(&mut third, key), [format!("kept-{key}")]);
    }
    let verified = cluster.nodetool(3, &["verify", "dunlin", "kv"]);
    assert_eq!(verified.status.code(), Some(1), "{}", text(&verified));
    assert!(
        text(&verified).contains(".sst at byte") && text(&verified).contains("nodetool scrub"),
        "{}",
        text(&verified)
    );
    assert!(!damage_lines(&cluster, 3).is_empty());
    let scrubbed = cluster.nodetool(3, &["scrub", "dunlin", "kv"]);
    assert!(scrubbed.status.success(), "{}", text(&scrubbed));
    wait_until("node 3 has its data back", || damage_lines(&cluster, 3).is_empty());
    let verified = cluster.nodetool(3, &["verify"]);
    assert!(verified.status.success(), "{}", text(&verified));
    third.statement("CONSISTENCY ALL").expect("a reply");
    for key in 0..KEYS {
        assert_eq!(value(&mut third, key), [format!("kept-{key}")]);
    }
}

#[test]
fn hostile_bytes_get_an_error_or_a_closed_connection() {
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = LocalCluster::start(dir.path(), 1);
    let client = cluster.client(1);
    let admin = std::net::SocketAddr::from(([127, 0, 0, 1], cluster.admin_port(1)));
    let internode = std::net::SocketAddr::from(([127, 0, 0, 1], cluster.base_port + 1));

    // A xorshift stream of junk; some of it half-open, some of it huge.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut junk = |length: usize| -> Vec<u8> {
        (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect()
    };
    let mut half_open = Vec::new();
    for round in 0..60 {
        for addr in [client, admin] {
            let mut stream = TcpStream::connect(addr).expect("the node accepts");
            stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
            let _ = stream.write_all(&junk(1 << (round % 16)));
            if round % 3 == 0 {
                half_open.push(stream);
            } else {
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read(&mut [0; 4096]);
            }
        }
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.send_to(&junk(1 + (round * 37) % 1400), internode).expect("datagrams go out");
    }
    // A binary CQL client by mistake: one error, then closed.
    let mut binary = TcpStream::connect(client).expect("the node accepts");
    binary.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    binary.write_all(&[4, 0, 0, 0, 5, 0, 0, 0, 0]).expect("bytes go out");
    let mut answer = Vec::new();
    binary.read_to_end(&mut answer).expect("closed by the node");
    assert!(!answer.is_empty());
    // Invalid UTF-8 and an unfinished string.
    let mut bad = Connection::open(client).expect("the node accepts");
    assert!(
        bad.statement("SELEC 1")
            .expect("a reply")
            .starts_with("ERROR\tSYNTAX\texpected a statement, found SELEC\tline=1\tcolumn=1")
    );

    // And it serves on.
    let reply = statement(client, "SELECT * FROM system.local").expect("a reply");
    assert!(reply.contains("END\trows=1"), "{reply}");
}

#[test]
fn a_second_node_on_the_same_data_directory_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = LocalCluster::start(dir.path(), 1);
    // The same but for its ports, so that only the directory stands in its way.
    let text = std::fs::read_to_string(dir.path().join("n1/dunlin.toml")).expect("the node's configuration");
    let text = text.replace(&format!("127.0.0.1:{}", cluster.base_port), "127.0.0.1:0");
    let text = text.replace(&format!("127.0.0.1:{}", cluster.admin_port(1)), "127.0.0.1:0");
    let text = text
        .replace(&format!("address = \"127.0.0.1:{}\"", cluster.base_port + 1), "address = \"127.0.0.1:0\"");
    let config = dir.path().join("second.toml");
    std::fs::write(&config, text).expect("a second configuration");
    let second = std::process::Command::new(&dunlin_tests::binaries::binaries().dunlin)
        .args(["server", "--config"])
        .arg(&config)
        .output()
        .expect("dunlin runs");
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{message}");
    assert!(message.contains("another process") && message.contains("n1"), "{message}");
}
