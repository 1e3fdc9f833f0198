//! One GET of a node's admin HTTP.

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;

/// Largest answer taken.
const BODY_BYTES_MAX: usize = 16 << 20;

/// Status code and body of `GET path`.
#[allow(
    clippy::disallowed_methods,
    reason = "an edge: the command line runs on tokio, never in the simulator"
)]
pub async fn get(addr: SocketAddr, path: &str, timeout: Duration) -> anyhow::Result<(u16, Vec<u8>)> {
    tokio::time::timeout(timeout, async {
        let stream = tokio::net::TcpStream::connect(addr)
            .await
            .with_context(|| format!("cannot connect to {addr}"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request =
            hyper::Request::get(path).header("host", addr.to_string()).body(Empty::<bytes::Bytes>::new())?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            match Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await {
                Ok(body) => Ok((status, body.to_bytes().to_vec())),
                Err(error) => bail!("reading {path} of {addr}: {error}"),
            }
        };
        tokio::select! {
            biased;
            done = exchange => done,
            ended = connection => {
                ended?;
                bail!("{addr} closed the connection")
            }
        }
    })
    .await
    .with_context(|| format!("{addr} did not answer in time"))?
}

/// `GET path` parsed as JSON; an error unless the status is 200.
pub async fn get_json(addr: SocketAddr, path: &str, timeout: Duration) -> anyhow::Result<serde_json::Value> {
    let (status, body) = get(addr, path, timeout).await?;
    if status != 200 {
        bail!("{addr} answered {status} to {path}");
    }
    serde_json::from_slice(&body)
        .with_context(|| format!("{addr} answered {path} with something that is not JSON"))
}
