//! One client.

use super::statement::{self, Using};
use super::{PATIENCE, RECONNECT, TIMEOUTS_MS, Workload};
use crate::cluster::{Cluster, Running};
use crate::executor::Nanos;
use crate::options::pick_level;
use crate::oracle::{KeyId, Read, Rule, Seen, TableMode, Violation};
use crate::random::{Purpose, Stream};
use dunlin_cql::Reply;
use futures::future::{Either, select};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Contexts that a client remembers for a key.
const TOKENS_MAX: usize = 5;

/// A context token and what is known of it.
#[derive(Clone)]
pub(super) struct Token {
    pub text: String,
    pub seen: Seen,
}

/// A client of the workload.
pub struct Client {
    pub(super) cluster: Arc<Cluster>,
    pub(super) workload: Arc<Workload>,
    pub(super) chance: Stream,
    pub(super) tokens: BTreeMap<KeyId, Vec<Token>>,
    /// Replies that made no sense.
    complaints: Vec<Violation>,
}

impl Client {
    /// The client of that number.
    pub fn new(cluster: Arc<Cluster>, workload: Arc<Workload>, number: u32) -> Client {
        let chance = Stream::new(cluster.world.seed(), Purpose::Client(number));
        Client { cluster, workload, chance, tokens: BTreeMap::new(), complaints: Vec::new() }
    }

    /// Creates the keyspace and the table; `Err` if no node would within the time.
    pub async fn create_schema(&mut self, within: Nanos) -> Result<(), String> {
        let options = &self.workload.options;
        let conflicts = match options.mode {
            TableMode::Siblings => "siblings",
            TableMode::LastWriteWins => "last_write_wins",
        };
        let deadline = self.now() + within;
        for text in
            statement::schema(options.replication_factor, conflicts, options.gc_grace_s, options.sloppy)
        {
            loop {
                let reply = match self.node() {
                    Some(running) => self.execute(running, &text).await,
                    None => None,
                };
                match reply {
                    Some(reply) if reply.code().is_none() => break,
                    other if self.now() > deadline => return Err(format!("{text}: {other:?}")),
                    _ => self.cluster.world.sleep(RECONNECT).await,
                }
            }
        }
        Ok(())
    }

    /// Executes statements until the workload is over; complaints about replies.
    pub async fn run(mut self) -> Vec<Violation> {
        loop {
            let pause = self.chance.heavy_tail(0, 7 * self.workload.options.think_time);
            self.cluster.world.sleep(pause).await;
            if self.workload.is_over() {
                return self.complaints;
            }
            let Some(running) = self.node() else {
                self.cluster.world.sleep(RECONNECT).await;
                continue;
            };
            self.workload.enter();
            self.step(running).await;
            self.workload.leave();
        }
    }

    /// One of the keys in use now.
    pub(super) fn key(&mut self) -> KeyId {
        let first = self.workload.first_key(self.now());
        first + self.chance.below(u64::from(self.workload.options.keys)) as KeyId
    }

    async fn step(&mut self, running: Running) {
        let key = self.key();
        let contextual = self.workload.options.mode == TableMode::Siblings;
        let has_token = self.tokens.contains_key(&key);
        if self.chance.chance(self.workload.options.scans) {
            self.scan(running).await;
        } else if self.chance.chance(self.workload.options.batches) {
            self.batch(running).await;
        } else if self.chance.chance(0.4) || (contextual && !has_token) {
            self.read(running, key).await;
            if self.chance.chance(self.workload.options.double_reads)
                && let Some(another) = self.node()
            {
                self.read(another, key).await;
            }
        } else {
            self.write(running, key).await;
        }
    }

    /// One statement on a node, as part of a burst.
    pub async fn once(mut self, running: Running) -> Vec<Violation> {
        let key = self.key();
        match self.chance.chance(0.8) {
            true => self.read(running, key).await,
            false => self.write(running, key).await,
        }
        self.complaints
    }

    /// Changes the schema on a node of its choice; an error is an answer as good as any.
    pub async fn change_schema(mut self, number: u64) {
        for text in statement::schema_change(number) {
            let Some(running) = self.node() else { return };
            let reply = self.execute(running, &text).await;
            if reply.is_some_and(|reply| reply.code().is_none()) {
                self.cluster.world.note("schema statement executed", &[number]);
            }
        }
    }

    pub(super) fn now(&self) -> Nanos {
        self.cluster.world.now()
    }

    /// One of the nodes that run.
    pub(super) fn node(&mut self) -> Option<Running> {
        let number = self.chance.below(u64::from(self.cluster.len())) as u32;
        self.cluster.running(number)
    }

    /// Executes a statement on a node; `None` if no answer came.
    pub(super) async fn execute(&self, running: Running, text: &str) -> Option<Reply> {
        let (answer, answered) = oneshot::channel();
        let (world, text) = (self.cluster.world.clone(), text.to_owned());
        let Running { node, host, process } = running;
        tracing::debug!(node = node.config.node.name, text, "asks");
        let asked = text.clone();
        let statement = async move {
            let reply = node.session().execute(&text).await;
            // What a dying process says in its last poll never leaves the machine.
            if world.is_running(host, process) {
                _ = answer.send(reply);
            }
        };
        self.cluster.world.spawn(host, "client session", Box::pin(statement));
        let patience = self.cluster.world.sleep(PATIENCE);
        let reply = match select(answered, patience).await {
            Either::Left((reply, _)) => reply.ok(),
            Either::Right(_) => None,
        };
        tracing::debug!(asked, ?reply, "is answered");
        reply
    }

    pub(super) fn remember(&mut self, key: KeyId, text: String, seen: Seen) {
        let tokens = self.tokens.entry(key).or_default();
        if tokens.len() == TOKENS_MAX {
            // Keeps the first one: a very old context is worth having.
            tokens.remove(1);
        }
        tokens.push(Token { text, seen });
    }

    async fn read(&mut self, running: Running, key: KeyId) {
        let options = &self.workload.options;
        let level = pick_level(&mut self.chance, &options.read_levels);
        let with_context = options.mode == TableMode::Siblings;
        let timeout_ms = self.chance.pick(&TIMEOUTS_MS);
        let after = self.tokens.get(&key).and_then(|tokens| tokens.last()).cloned();
        let after = after.filter(|_| self.chance.chance(0.15));
        let after_text = after.as_ref().map(|token| token.text.as_str());
        let using = Using { after: after_text, ..Using::plain(level, timeout_ms) };
        let invoked = self.now();
        let text = statement::select(key, with_context, &using);
        let reply = self.execute(running, &text).await;
        let completed = self.now();
        let result = reply.as_ref().map_or(Ok(None), |reply| statement::read_result(reply, with_context));
        match result {
            Ok(Some((values, token))) => {
                if let Some(text) = token {
                    let shown = values.iter().filter_map(|v| crate::oracle::write_of(v)).collect();
                    self.remember(key, text, Seen { shown, at: completed });
                }
                if values.len() > 1 {
                    self.cluster.world.note("read saw siblings", &[]);
                }
                let after = after.map(|token| token.seen);
                let read = Read { key, level, invoked, completed, values, after, is_scan: false };
                self.workload.with_history(|history| history.reads.push(read));
            }
            Ok(None) => {
                self.count_failure(reply.as_ref());
                self.workload.with_history(|history| history.reads_failed += 1);
            }
            Err(message) => self.complaints.push(Violation { rule: Rule::NodeHealth, message }),
        }
    }

    /// Reads the whole table. Every key that was in use before is read by it.
    async fn scan(&mut self, running: Running) {
        let level = pick_level(&mut self.chance, &self.workload.options.read_levels);
        let timeout_ms = self.chance.pick(&TIMEOUTS_MS);
        let using = Using::plain(level, timeout_ms);
        let keys = self.workload.keys();
        let invoked = self.now();
        let reply = self.execute(running, &statement::scan(&using)).await;
        let completed = self.now();
        match reply.as_ref().map_or(Ok(None), statement::scan_result) {
            Ok(Some(mut shown)) => {
                self.cluster.world.note("scan answered", &[]);
                let read = |key: KeyId, values: Vec<String>| {
                    let read = Read { key, level, invoked, completed, values, after: None, is_scan: true };
                    self.workload.with_history(|history| history.reads.push(read));
                };
                for key in keys {
                    read(key, shown.remove(&key).unwrap_or_default());
                }
                for (key, values) in shown {
                    read(key, values);
                }
            }
            Ok(None) => self.count_failure(reply.as_ref()),
            Err(message) => self.complaints.push(Violation { rule: Rule::NodeHealth, message }),
        }
    }

    pub(super) fn count_failure(&self, reply: Option<&Reply>) {
        let what = match reply.and_then(Reply::code) {
            None => "client: no answer",
            Some(code) => code.name(),
        };
        self.cluster.world.note(what, &[]);
    }
}
