//! The admin HTTP of one node, over one connection.
//!
//! Every wait has a bound, since nobody knows what listens at an address: a client port and a port that says nothing
//! take the connection too. So the node is asked for its version first, which it answers at once. Only work that the node
//! has taken up is waited for as long as it takes, and meanwhile the node is asked now and then whether it is there.

#![allow(
    clippy::disallowed_methods,
    reason = "an edge: a command line runs on tokio, never in the simulator"
)]

use crate::place::Place;
use anyhow::{Context, anyhow, bail};
use dunlin_terminal::Progress;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Longest wait for the connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for an answer that the node has at hand.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for word from a node that is at work.
const LOOK_WITHIN: Duration = Duration::from_secs(20);
/// How often a node at work is asked whether it is there, and how long it may take to say so.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// Unanswered ones in a row after which nobody waits any longer.
const PROBES_MISSED_MAX: u32 = 2;
/// Between two looks at the progress of work.
pub const POLL_EVERY: Duration = Duration::from_millis(100);
/// Largest answer taken.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A connection to a node.
pub struct Admin {
    at: String,
    sender: SendRequest<Empty<Bytes>>,
    /// When the whole verb has to be done, if it was said.
    until: Option<Instant>,
}

impl Admin {
    /// Connects and makes sure that a node answers there; else says which address does not and what to look at. `limit`
    /// bounds this and all that follows together.
    pub async fn connect(place: &Place, limit: Option<Duration>) -> anyhow::Result<Admin> {
        let at = place.to_string();
        let until = limit.map(|limit| Instant::now() + limit);
        let sender = open(&at, soonest(CONNECT_WITHIN, until)).await?;
        let mut admin = Admin { at, sender, until };
        let answer = admin.get("/api/v1/version").await?;
        if !answer["version"].is_string() {
            bail!("{} answers, but is no Dunlin node: see [admin] in the node's configuration", admin.at);
        }
        Ok(admin)
    }

    /// Asks for what the node has at hand.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.quick(Method::GET, path, ANSWER_WITHIN).await
    }

    /// Asks how far work is; a node at work may be slow to answer.
    pub async fn look(&mut self, path: &str) -> anyhow::Result<Value> {
        self.quick(Method::GET, path, LOOK_WITHIN).await
    }

    /// Tells it something that is done at once.
    pub async fn post(&mut self, path: &str) -> anyhow::Result<Value> {
        self.quick(Method::POST, path, ANSWER_WITHIN).await
    }

    /// Tells it to do what may take long, and waits for the end of it.
    pub async fn work(&mut self, path: &str, progress: &mut Progress) -> anyhow::Result<Value> {
        let (at, until) = (self.at.clone(), self.until);
        let work = self.exchange(Method::POST, path);
        let gone = until_gone(&at);
        tokio::pin!(work, gone);
        let what = verb_of(path);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                error = &mut gone => {
                    return Err(error.context(format!("{what} was begun, and may have been done or not")));
                }
                () = sleep(POLL_EVERY) => progress.show(&format!("{what} on {at}"), None),
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                bail!("{what} is not done within --timeout; it goes on at {at}");
            }
        }
    }

    /// Whether the time that was given for the whole verb is over.
    pub fn is_late(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    async fn quick(&mut self, method: Method, path: &str, within: Duration) -> anyhow::Result<Value> {
        let began = Instant::now();
        let limit = self.until.unwrap_or(began + within);
        let (at, acts) = (self.at.clone(), method == Method::POST);
        if let Ok(answer) = timeout_at(limit, self.exchange(method, path)).await {
            return answer;
        }
        let (what, waited) = (verb_of(path), began.elapsed().as_secs_f64());
        let more = "--timeout SECONDS waits longer";
        match what {
            "version" => bail!(
                "{at} took the connection and has said nothing for {waited:.1} s: is it the [admin] port of a node (7199, not \
                 the clients' 9041)? If it is, the node stands still or is very busy; {more}"
            ),
            what if acts => {
                bail!("{at} has not answered {what} within {waited:.1} s, and may do it yet; {more}")
            }
            what => bail!("{at} has not answered {what} within {waited:.1} s: it is very busy; {more}"),
        }
    }

    async fn exchange(&mut self, method: Method, path: &str) -> anyhow::Result<Value> {
        let at = &self.at;
        let request = Request::builder().method(method).uri(path).header("host", at).body(Empty::new())?;
        let response = self.sender.send_request(request).await.map_err(|error| unheard(at, &error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow!("reading the answer of {at}: {error}"))?.to_bytes();
        understand(at, path, status, &body)
    }
}

/// The earlier of `within` from now and what was said for the whole verb.
fn soonest(within: Duration, until: Option<Instant>) -> Instant {
    let soon = Instant::now() + within;
    until.map_or(soon, |until| until.min(soon))
}

async fn open(at: &str, until: Instant) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let hint =
        || format!("no node answers at {at}: does it run, and is this its [admin] address? (--host, --port)");
    let stream = timeout_at(until, tokio::net::TcpStream::connect(at))
        .await
        .map_err(|_| anyhow!("the connection was not taken in time"))
        .and_then(|connected| Ok(connected?))
        .with_context(hint)?;
    stream.set_nodelay(true)?;
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.with_context(hint)?;
    tokio::spawn(async move {
        // Its end shows as a failed request.
        let _ = connection.await;
    });
    Ok(sender)
}

/// Returns when the node has not said that it lives for a while, with the reason.
async fn until_gone(at: &str) -> anyhow::Error {
    let mut missed = 0;
    loop {
        sleep(PROBE_EVERY).await;
        let lives = async {
            let mut sender = open(at, Instant::now() + PROBE_EVERY).await?;
            let request = Request::get("/health/live").header("host", at).body(Empty::new())?;
            anyhow::Ok(sender.send_request(request).await?)
        };
        match timeout_at(Instant::now() + PROBE_EVERY, lives).await {
            Ok(Ok(_)) => missed = 0,
            _ => missed += 1,
        }
        if missed >= PROBES_MISSED_MAX {
            return anyhow!("{at} has not answered for {} s", (PROBE_EVERY * (2 * missed)).as_secs());
        }
    }
}

/// What it means that no answer came over a connection that was taken.
fn unheard(at: &str, error: &hyper::Error) -> anyhow::Error {
    if error.is_parse() {
        return anyhow!(
            "{at} does not speak HTTP, so it is no admin port (a port of TLS, or the clients' 9041?): see [admin] in the \
             node's configuration"
        );
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return anyhow!(
            "{at} closed the connection without an answer: the node has stopped, or it is no admin port"
        );
    }
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    anyhow!("asking {at}: {cause}")
}

fn understand(at: &str, path: &str, status: StatusCode, body: &[u8]) -> anyhow::Result<Value> {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    if status.is_success() {
        return value.with_context(|| {
            format!("{at} answered with something that is not JSON: is it a Dunlin node's admin port?")
        });
    }
    match value.as_ref().and_then(|v| v["error"].as_str()) {
        Some(error) => bail!("{error}"),
        None if status == StatusCode::NOT_FOUND => {
            bail!("{at} does not know {}; is it an older node, or no Dunlin node?", verb_of(path))
        }
        None => {
            let text = String::from_utf8_lossy(body);
            let first: String = text.trim().chars().take(200).collect();
            bail!("{at} answered {status}: {first}")
        }
    }
}

/// The verb in a path of the API.
fn verb_of(path: &str) -> &str {
    let path = path.strip_prefix("/api/v1/").unwrap_or(path);
    path.split_once('?').map_or(path, |(verb, _)| verb)
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
        assert_eq!(verb_of("/api/v1/flush?keyspace=a"), "flush");
    }
}
