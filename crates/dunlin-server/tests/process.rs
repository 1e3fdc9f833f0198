//! Nodes with their real ports: QUIC between them, TCP for clients and operators, files on disk.
#![allow(clippy::disallowed_methods)]

mod support;

use dunlin_server::client::Readiness;
use dunlin_server::config::Config;
use dunlin_server::run::Server;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;
use support::{ok, run, until, whole};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Ports that were free a moment ago.
fn free_addresses(count: usize) -> Vec<String> {
    let sockets: Vec<UdpSocket> =
        (0..count).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
    sockets.iter().map(|s| s.local_addr().expect("an address").to_string()).collect()
}

fn config(dir: &Path, i: usize, seeds: &[String]) -> Config {
    let (certs, name) = (dir.join("certs"), format!("n{i}"));
    if !certs.join("ca.crt").exists() {
        dunlin_transport::certs::init_ca(&certs).expect("a CA");
    }
    dunlin_transport::certs::issue(&certs, &name, &["127.0.0.1".to_owned()]).expect("a certificate");
    let mut config = Config::default();
    config.cluster.name = "process".into();
    config.cluster.seeds = seeds.to_vec();
    config.cluster.default_replication_factor = 3;
    config.node.data_dir = dir.join(&name);
    config.internode.address = seeds[i - 1].clone();
    config.internode.ca = certs.join("ca.crt");
    config.internode.certificate = certs.join(format!("{name}.crt"));
    config.internode.key = certs.join(format!("{name}.key"));
    config.node.name = name;
    config.client.address = "127.0.0.1:0".into();
    config.admin.address = "127.0.0.1:0".into();
    config
}

/// Status line and body of an HTTP request.
async fn http(addr: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(addr).await.expect("admin is there");
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

async fn json(addr: SocketAddr, path: &str) -> serde_json::Value {
    let (status, body) = http(addr, "GET", path).await;
    assert!(status.contains("200"), "{path}: {status} {body}");
    serde_json::from_str(&body).expect("JSON")
}

#[test]
fn three_nodes_over_quic_serve_clients_and_operators() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let seeds = free_addresses(3);
        let mut nodes = Vec::new();
        let (mut clients, mut admins, mut stops, mut tasks) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for i in 1..=3 {
            let server = Server::start(config(dir.path(), i, &seeds)).expect("the node starts");
            nodes.push(server.node.clone());
            clients.push(server.client_addr);
            admins.push(server.admin_addr);
            let (stop, stopped) = oneshot::channel::<()>();
            stops.push(stop);
            tasks.push(tokio::spawn(server.until(async { drop(stopped.await) })));
        }
        until("three nodes in one layout", || whole(&nodes, 3)).await;
        until("all ready", || nodes.iter().all(|n| n.readiness() == Readiness::Ready)).await;

        let mut client = TcpStream::connect(clients[0]).await.expect("clients are heard");
        client
            .write_all(b"INSERT INTO dunlin.kv (key, value) VALUES ('k', 'over tcp');\nQUIT;\n")
            .await
            .expect("sent");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("OK"), "{answer}");
        assert!(ok(&nodes[2], "SELECT value FROM dunlin.kv WHERE key = 'k'").await.contains("over tcp"));

        let status = json(admins[1], "/api/v1/status").await;
        assert_eq!(status["nodes"].as_array().expect("nodes").len(), 3);
        assert!(
            status["nodes"]
                .as_array()
                .expect("nodes")
                .iter()
                .all(|n| n["up"] == true && n["state"] == "normal"),
            "{status}"
        );
        for verb in [
            "info",
            "ring",
            "describecluster",
            "gossipinfo",
            "layout",
            "hints",
            "netstats",
            "tpstats",
            "compactionstats",
            "tablestats",
            "version",
            "repair",
        ] {
            json(admins[0], &format!("/api/v1/{verb}")).await;
        }
        let (_, paused) = http(admins[0], "POST", "/api/v1/hints?do=pause&target=n2").await;
        assert!(paused.contains(r#""total":0"#), "{paused}");
        assert!(http(admins[0], "POST", "/api/v1/hints?do=nothing").await.0.contains("400"));
        let endpoints = json(admins[0], "/api/v1/getendpoints?keyspace=dunlin&table=kv&key=k").await;
        assert_eq!(endpoints["endpoints"].as_array().expect("endpoints").len(), 3);
        let (status, body) = http(admins[0], "GET", "/metrics").await;
        assert!(status.contains("200") && body.contains("dunlin_commitlog_syncs_total"), "{status}");
        assert!(http(admins[0], "GET", "/health/ready").await.0.contains("200"));
        assert!(http(admins[0], "GET", "/api/v1/nonsense").await.0.contains("404"));
        assert!(http(admins[0], "GET", "/").await.1.contains("</html>"));
        for verb in ["flush", "compact"] {
            let (status, body) = http(admins[0], "POST", &format!("/api/v1/{verb}")).await;
            assert!(status.contains("200"), "{verb}: {status} {body}");
        }
        let (_, body) = http(admins[0], "POST", "/api/v1/repair?keyspace=dunlin").await;
        let begun: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let id = begun["id"].as_u64().expect("a number");
        let mut state = begun;
        while state["running"] == true {
            tokio::time::sleep(Duration::from_millis(10)).await;
            state = json(admins[0], &format!("/api/v1/repair?id={id}")).await;
        }
        assert!(state["error"].is_null(), "{state}");
        assert!(http(admins[0], "POST", "/api/v1/drain").await.0.contains("200"));
        assert!(http(admins[0], "GET", "/health/ready").await.0.contains("503"));

        drop(stops);
        for task in tasks {
            task.await.expect("no panic").expect("a clean stop");
        }
    });
}

#[test]
fn what_is_wrong_at_the_start_is_said() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let seeds = free_addresses(1);
        let good = config(dir.path(), 1, &seeds);
        let said = |config: Config| format!("{:#}", Server::start(config).err().expect("an error"));
        let mut wrong = good.clone();
        wrong.node.name = "n9".into();
        assert!(said(wrong).contains("internode.certificate names \"n1\""));
        let mut wrong = good.clone();
        wrong.internode.key = "nowhere.key".into();
        assert!(said(wrong).contains("nowhere.key"));
        let mut wrong = good.clone();
        wrong.node.data_dir = "/proc/dunlin".into();
        let text = said(wrong);
        assert!(text.contains("/proc/dunlin"), "{text}");
    });
}
