//! The admin HTTP of one node, over one connection.

#![allow(
    clippy::disallowed_methods,
    reason = "an edge: a command line runs on tokio, never in the simulator"
)]

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fmt::Write as _;
use std::time::Duration;

/// Longest wait for the connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for an answer; a flush or a drain takes a while.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);
/// Largest answer taken.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A connection to a node.
pub struct Admin {
    at: String,
    sender: SendRequest<Empty<hyper::body::Bytes>>,
}

impl Admin {
    /// Connects, or says which address does not answer and what to look at.
    pub async fn connect(host: &str, port: u16) -> anyhow::Result<Admin> {
        let at = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        let hint = || {
            format!("no node answers at {at}: does it run, and is this its [admin] address? (--host, --port)")
        };
        let stream = tokio::time::timeout(CONNECT_WITHIN, tokio::net::TcpStream::connect(&at))
            .await
            .with_context(hint)?
            .with_context(hint)?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.with_context(hint)?;
        tokio::spawn(async move {
            // Its end shows as a failed request.
            let _ = connection.await;
        });
        Ok(Admin { at, sender })
    }

    /// Asks.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.exchange(Method::GET, path).await
    }

    /// Tells.
    pub async fn post(&mut self, path: &str) -> anyhow::Result<Value> {
        self.exchange(Method::POST, path).await
    }

    async fn exchange(&mut self, method: Method, path: &str) -> anyhow::Result<Value> {
        let at = self.at.clone();
        let request = Request::builder().method(method).uri(path).header("host", &at).body(Empty::new())?;
        let answer = async {
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| anyhow::anyhow!("{error}"))?;
            anyhow::Ok((status, body.to_bytes()))
        };
        let (status, body) = tokio::time::timeout(ANSWER_WITHIN, answer)
            .await
            .with_context(|| format!("{at} did not answer within {} s", ANSWER_WITHIN.as_secs()))?
            .with_context(|| format!("asking {at}"))?;
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        if status.is_success() {
            return value.with_context(|| {
                format!("{at} answered with something that is not JSON: is it a Dunlin node's admin port?")
            });
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        match value.as_ref().and_then(|v| v["error"].as_str()) {
            Some(error) => bail!("{error}"),
            None if status.as_u16() == 404 => {
                bail!("{at} does not know this verb; is it an older node, or no Dunlin node?")
            }
            None => bail!("{at} answered {status}: {}", text.trim()),
        }
    }
}

/// Percent-encodes a value of a query.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        assert_eq!(escape("a b&ü/"), "a%20b%26%C3%BC%2F");
    }
}
