//! One client.

use super::statement::{self, Using};
use super::{KeyClass, PATIENCE, RECONNECT, TIMEOUTS_MS, Workload, class_of};
use crate::cluster::{Cluster, Running};
use crate::executor::{Nanos, WALL_START_MICROS};
use crate::options::pick_level;
use crate::oracle::{Basis, KeyId, Outcome, Read, Rule, Seen, TableMode, Violation, Write};
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
struct Token {
    text: String,
    seen: Seen,
}

/// A client of the workload.
pub struct Client {
    cluster: Arc<Cluster>,
    workload: Arc<Workload>,
    chance: Stream,
    tokens: BTreeMap<KeyId, Vec<Token>>,
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
        for text in statement::schema(options.replication_factor, conflicts) {
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
            let first = self.workload.first_key(self.now());
            let key = first + self.chance.below(u64::from(self.workload.options.keys)) as KeyId;
            self.workload.enter();
            let contextual = self.workload.options.mode == TableMode::Siblings;
            let has_token = self.tokens.contains_key(&key);
            if self.chance.chance(self.workload.options.scans) {
                self.scan(running).await;
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
            self.workload.leave();
        }
    }

    fn now(&self) -> Nanos {
        self.cluster.world.now()
    }

    /// One of the nodes that run.
    fn node(&mut self) -> Option<Running> {
        let number = self.chance.below(u64::from(self.cluster.len())) as u32;
        self.cluster.running(number)
    }

    /// Executes a statement on a node; `None` if no answer came.
    async fn execute(&self, running: Running, text: &str) -> Option<Reply> {
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

    fn remember(&mut self, key: KeyId, text: String, seen: Seen) {
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
        let using = Using {
            level,
            timeout_ms,
            context: None,
            after: after.as_ref().map(|token| token.text.as_str()),
            timestamp: None,
            buffered: false,
        };
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
        let using = Using { level, timeout_ms, context: None, after: None, timestamp: None, buffered: false };
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

    async fn write(&mut self, running: Running, key: KeyId) {
        let options = self.workload.options.clone();
        let class = class_of(key, options.mode);
        let level = pick_level(&mut self.chance, &options.write_levels);
        let is_delete = class != KeyClass::Contextual && self.chance.chance(0.15);
        let token = self.token_for(key, class);
        let timestamp = (class == KeyClass::Timestamped).then(|| self.timestamp());
        let basis = match (&token, timestamp, class) {
            (Some(token), _, _) => Basis::Context(token.seen.clone()),
            (None, Some(at), _) => Basis::Timestamp(at),
            (None, None, KeyClass::Clocked) => Basis::Clock,
            (None, None, _) => Basis::Upsert,
        };
        let buffered = self.chance.chance(options.buffered) && matches!(basis, Basis::Context(_));
        let timeout_ms = self.chance.pick(&TIMEOUTS_MS);
        let using = Using {
            level,
            timeout_ms,
            context: token.as_ref().map(|token| token.text.as_str()),
            after: None,
            timestamp,
            buffered,
        };
        let padding = self.chance.below(options.padding_max + 1);
        let invoked = self.now();
        let outcome = Outcome::Unknown;
        let write = Write { key, is_delete, basis, level, is_buffered: buffered, invoked, outcome };
        let id = self.workload.with_history(|history| history.invoke(write));
        let text = if is_delete {
            statement::delete(key, &using)
        } else {
            statement::insert(key, &statement::padded(id, padding), &using)
        };
        let reply = self.execute(running, &text).await;
        let now = self.now();
        let Some(reply) = reply else { return self.count_failure(None) };
        let outcome = statement::write_outcome(&reply, now);
        self.workload.with_history(|history| history.complete(id, outcome));
        match outcome {
            Outcome::Acknowledged(_) => {
                if let Some(text) = reply.field("context") {
                    // What was given, and the write itself; for an upsert: the write, and what it superseded.
                    let mut seen = token.map_or(Seen { shown: Vec::new(), at: now }, |token| token.seen);
                    seen.shown.push(id);
                    self.remember(key, text.to_owned(), seen);
                }
            }
            _ => self.count_failure(Some(&reply)),
        }
    }

    /// The context to write with: mostly the newest, sometimes an older one.
    fn token_for(&mut self, key: KeyId, class: KeyClass) -> Option<Token> {
        let blind = match class {
            KeyClass::Contextual | KeyClass::ContextualDeleted => false,
            KeyClass::Mixed => self.chance.chance(0.4),
            KeyClass::Timestamped | KeyClass::Clocked => true,
        };
        let tokens = self.tokens.get(&key).filter(|_| !blind)?;
        let at = if self.chance.chance(0.75) {
            tokens.len() - 1
        } else {
            self.chance.below(tokens.len() as u64) as usize
        };
        tokens.get(at).cloned()
    }

    /// Near the true time, but not in the order of the statements.
    fn timestamp(&mut self) -> u64 {
        let near = WALL_START_MICROS + self.now() / 1000 + self.chance.below(4_000_000);
        self.workload.timestamp(near - 2_000_000)
    }

    fn count_failure(&self, reply: Option<&Reply>) {
        let what = match reply.and_then(Reply::code) {
            None => "client: no answer",
            Some(code) => code.name(),
        };
        self.cluster.world.note(what, &[]);
    }
}
