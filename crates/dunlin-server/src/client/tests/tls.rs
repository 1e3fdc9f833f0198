//! The port that speaks TLS, and those who do not.

use super::{TestNode, run};
use crate::client::ClientSettings;
use crate::client::listener::ClientListener;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, crypto::aws_lc_rs};
use tokio_rustls::{TlsAcceptor, TlsConnector};

struct Port {
    address: SocketAddr,
    connector: TlsConnector,
    node: TestNode,
    /// Dropping it ends the port.
    _drain: watch::Sender<bool>,
}

async fn port(settings: ClientSettings) -> Port {
    let dir = tempfile::tempdir().unwrap();
    dunlin_transport::certs::init_ca(dir.path()).unwrap();
    let files = dunlin_transport::certs::issue(dir.path(), "n1", &["localhost".to_owned()]).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = CertificateDer::pem_file_iter(&files.cert).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&files.key).unwrap())
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.ca).unwrap()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let node = TestNode::with(settings).await;
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener =
        ClientListener::bind("127.0.0.1:0".parse().unwrap(), Arc::clone(&node.services), Some(acceptor))
            .unwrap();
    let address = listener.local_addr().unwrap();
    let (drain, drained) = watch::channel(false);
    drop(tokio::spawn(listener.serve(drained, Duration::from_secs(5))));
    Port { address, connector: TlsConnector::from(Arc::new(client)), node, _drain: drain }
}

impl Port {
    async fn plain(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// What a TLS client reads after a statement.
    async fn answer(&self) -> std::io::Result<String> {
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = self.connector.connect(name, self.plain().await).await?;
        stream.write_all(b"CONSISTENCY;\n").await?;
        let mut answer = [0; 22];
        stream.read_exact(&mut answer).await?;
        Ok(String::from_utf8(answer.to_vec()).unwrap())
    }
}

const ANSWER: &str = "OK\tconsistency=QUORUM\n";

#[test]
fn plain_text_is_told_that_the_port_speaks_tls() {
    run(async {
        let port = port(ClientSettings::default()).await;
        for (sent, start) in [
            (&b"SELECT * FROM kv;\n"[..], "ERROR\tINVALID\tthis port speaks TLS: "),
            (b"\xef\xbb\xbf", "ERROR\tINVALID\tthis port speaks TLS: "),
            (b"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        ] {
            let mut stream = port.plain().await;
            stream.write_all(sent).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with(start) && answer.contains("speaks TLS"), "{answer}");
        }
        let mut stream = port.plain().await;
        stream.write_all(&[4, 0, 0, 1, 1, 0, 0, 0, 22, 0, 1]).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer[..5], [0x84, 0, 0, 1, 0]);
        assert_eq!(port.answer().await.unwrap(), ANSWER);
    });
}

#[test]
fn handshakes_that_do_not_go_on_keep_nobody_out() {
    run(async {
        let port = port(ClientSettings { connections: 200, ..ClientSettings::default() }).await;
        let mut stuck = Vec::new();
        for i in 0..150 {
            let mut stream = port.plain().await;
            if i % 2 == 0 {
                stream.write_all(&[0x16, 3, 1]).await.unwrap();
            }
            stuck.push(stream);
            // The first of them was ended to make room for the last, if there is not.
            assert_eq!(port.answer().await.unwrap(), ANSWER, "after {i}");
        }
        let mut byte = [0];
        assert!(matches!(stuck[0].read(&mut byte).await, Ok(0) | Err(_)), "the oldest is ended");
        let open = port.node.services.stats.connections.load(std::sync::atomic::Ordering::Relaxed);
        assert!(open <= 101, "{open} are open");
    });
}
