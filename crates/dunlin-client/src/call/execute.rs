//! One statement as it is written.

use crate::client::Client;
use crate::error::ClientError;
use crate::reply::Reply;
use crate::retry::Repetition;
use crate::statement;
use futures::future::BoxFuture;
use std::future::IntoFuture;
use std::time::Duration;

/// A statement: [`Client::execute`].
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before it is awaited"]
pub struct Execute<'a> {
    client: &'a Client,
    statement: &'a str,
    timeout: Option<Duration>,
}

impl<'a> Execute<'a> {
    pub(crate) fn new(client: &'a Client, statement: &'a str) -> Execute<'a> {
        Execute { client, statement, timeout: None }
    }

    /// The longest wait, instead of the client's.
    pub fn timeout(mut self, timeout: Duration) -> Execute<'a> {
        self.timeout = Some(timeout);
        self
    }
}

impl<'a> IntoFuture for Execute<'a> {
    type Output = Result<Reply, ClientError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let dispatch = &self.client.dispatch;
        let deadline = dispatch.deadline(self.timeout);
        Box::pin(async move {
            let mut text = Vec::new();
            statement::append_shared(&mut text, self.statement)?;
            let repetition = match statement::only_reads(self.statement) {
                true => Repetition::ReadsAgain,
                false => Repetition::Harms,
            };
            dispatch.run(text.into(), repetition, deadline).await
        })
    }
}
