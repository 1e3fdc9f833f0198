//! Many writes at once.

use super::{AT_ONCE, Write, Written};
use crate::client::Client;
use crate::dispatch::Deadline;
use crate::error::ClientError;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::ops::Deref;
use std::time::Duration;

/// Many writes, each on its own: [`Client::batch`].
///
/// Every write keeps its options, carries a request id of its own and is tried again on its own. After a write has failed,
/// later ones of the same key are not sent ([`ClientError::NotSent`]).
#[derive(Debug, Clone)]
#[must_use = "nothing is written before it is awaited"]
pub struct Batch<'a> {
    client: &'a Client,
    writes: Vec<Write<'a>>,
    timeout: Option<Duration>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(client: &'a Client, writes: Vec<Write<'a>>) -> Batch<'a> {
        Batch { client, writes, timeout: None }
    }

    /// Adds a write.
    pub fn push(&mut self, write: Write<'a>) {
        self.writes.push(write);
    }

    /// The longest wait for all of them together, instead of the client's.
    pub fn timeout(mut self, timeout: Duration) -> Batch<'a> {
        self.timeout = Some(timeout);
        self
    }
}

impl<'a> IntoFuture for Batch<'a> {
    type Output = Outcomes;
    type IntoFuture = BoxFuture<'a, Outcomes>;

    fn into_future(self) -> Self::IntoFuture {
        let deadline = self.client.dispatch.deadline(self.timeout);
        let mut by_key: BTreeMap<_, Vec<(usize, Write<'a>)>> = BTreeMap::new();
        for (place, write) in self.writes.into_iter().enumerate() {
            by_key.entry(write.identity()).or_default().push((place, write));
        }
        let in_turn = |group| -> BoxFuture<'a, _> { Box::pin(in_turn(group, deadline)) };
        let groups: Vec<_> = by_key.into_values().map(in_turn).collect();
        Box::pin(async move {
            let groups: Vec<_> = stream::iter(groups).buffer_unordered(AT_ONCE).collect().await;
            let mut all: Vec<_> = groups.into_iter().flatten().collect();
            all.sort_by_key(|(place, _)| *place);
            Outcomes(all.into_iter().map(|(_, outcome)| outcome).collect())
        })
    }
}

async fn in_turn(
    writes: Vec<(usize, Write<'_>)>,
    deadline: Deadline,
) -> Vec<(usize, Result<Written, ClientError>)> {
    let mut outcomes = Vec::with_capacity(writes.len());
    let mut failed = false;
    for (place, write) in writes {
        let outcome = match failed {
            true => Err(ClientError::NotSent),
            false => write.until(deadline).await,
        };
        failed |= outcome.is_err();
        outcomes.push((place, outcome));
    }
    outcomes
}

/// What came of each write of a batch, in the order in which they were given.
#[derive(Debug)]
#[must_use = "each write may have failed: see into_result"]
pub struct Outcomes(Vec<Result<Written, ClientError>>);

impl Outcomes {
    /// All of them if none failed, else the first error. The other writes were made nevertheless.
    pub fn into_result(self) -> Result<Vec<Written>, ClientError> {
        self.0.into_iter().collect()
    }
}

impl Deref for Outcomes {
    type Target = [Result<Written, ClientError>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl IntoIterator for Outcomes {
    type Item = Result<Written, ClientError>;
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
