//! Writes of a client: alone, again under a request id, several in a batch.

use super::client::{Client, Token};
use super::statement::{self, Using};
use super::{KeyClass, TIMEOUTS_MS, class_of};
use crate::cluster::Running;
use crate::executor::{MILLISECOND, Nanos, SECOND, WALL_START_MICROS};
use crate::options::pick_level;
use crate::oracle::{Basis, KeyId, Outcome, Seen, Write, WriteId};
use dunlin_cql::Reply;
use dunlin_types::Consistency;
use std::collections::BTreeSet;

/// Times that a write with a request id is asked for.
const TRIES_MAX: u32 = 3;
/// In a gentle run whatever was sent has arrived after this time.
const LANDED_AFTER: Nanos = 4 * SECOND;
/// Writes of a batch.
const BATCH_MAX: u64 = 4;

/// A write that is in the history and about to be asked for.
struct Prepared {
    id: WriteId,
    key: KeyId,
    text: String,
    token: Option<Token>,
    repeatable: bool,
}

impl Client {
    pub(super) async fn write(&mut self, running: Running, key: KeyId) {
        let level = pick_level(&mut self.chance, &self.workload.options.write_levels);
        let repeatable = self.chance.chance(self.workload.options.repeated);
        let prepared = self.prepare(key, level, repeatable);
        let reply = self.execute_until_known(running, &prepared).await;
        let outcome = reply.outcome;
        self.workload.with_history(|history| history.complete(prepared.id, outcome));
        match (outcome, &reply.last) {
            (Outcome::Acknowledged(at), Some(answer)) => {
                if let Some(text) = answer.field("context") {
                    // What was given, and the write itself; for an upsert: the write, and what it superseded.
                    let none = Seen { shown: Vec::new(), at };
                    let mut seen = prepared.token.map_or(none, |token| token.seen);
                    seen.shown.push(prepared.id);
                    self.remember(prepared.key, text.to_owned(), seen);
                }
            }
            (_, answer) => self.count_failure(answer.as_ref()),
        }
    }

    /// Several writes of different keys in one statement.
    pub(super) async fn batch(&mut self, running: Running) {
        let writes = 2 + self.chance.below(BATCH_MAX - 1);
        let keys: BTreeSet<KeyId> = (0..writes).map(|_| self.key()).collect();
        let level = pick_level(&mut self.chance, &self.workload.options.write_levels);
        let prepared: Vec<Prepared> = keys.into_iter().map(|key| self.prepare(key, level, false)).collect();
        let texts: Vec<String> = prepared.iter().map(|write| write.text.clone()).collect();
        let reply = self.execute(running, &statement::batch(&texts)).await;
        let now = self.now();
        let outcome = reply.as_ref().map_or(Outcome::Unknown, |reply| statement::write_outcome(reply, now));
        self.workload.with_history(|history| {
            prepared.iter().for_each(|write| history.complete(write.id, outcome));
        });
        match outcome {
            Outcome::Acknowledged(_) => self.cluster.world.note("batch acknowledged", &[writes]),
            _ => self.count_failure(reply.as_ref()),
        }
    }

    fn prepare(&mut self, key: KeyId, level: Consistency, repeatable: bool) -> Prepared {
        let options = self.workload.options.clone();
        let class = class_of(key, options.mode);
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
        let may_expire = matches!(class, KeyClass::ContextualDeleted | KeyClass::Mixed);
        let ttl_s = (may_expire && !is_delete && self.chance.chance(options.expiring))
            .then(|| self.chance.between(1, 8));
        let timeout_ms = self.chance.pick(&TIMEOUTS_MS);
        let padding = self.chance.below(options.padding_max + 1);
        let write = Write {
            key,
            is_delete,
            basis,
            level,
            is_buffered: buffered,
            may_be_double: false,
            ttl: ttl_s.map(|seconds| seconds * SECOND),
            invoked: self.now(),
            outcome: Outcome::Unknown,
        };
        let id = self.workload.with_history(|history| history.invoke(write));
        let request = repeatable.then(|| statement::request_id(id));
        let using = Using {
            context: token.as_ref().map(|token| token.text.as_str()),
            timestamp,
            buffered,
            ttl_s,
            request: request.as_deref(),
            ..Using::plain(level, timeout_ms)
        };
        let text = if is_delete {
            statement::delete(key, &using)
        } else {
            statement::insert(key, &statement::padded(id, padding), &using)
        };
        Prepared { id, key, text, token, repeatable }
    }

    /// Executes a write; one with a request id again, on other nodes, until it is known how it ended.
    async fn execute_until_known(&mut self, running: Running, write: &Prepared) -> Known {
        let tries = if write.repeatable { TRIES_MAX } else { 1 };
        let mut node = Some(running);
        let mut text = write.text.clone();
        let mut known = Known { outcome: Outcome::NotApplied, last: None };
        for tried in 1..=tries {
            if let Some(running) = node.take() {
                let reply = self.execute(running, &text).await;
                let now = self.now();
                let outcome = reply.as_ref().map_or(Outcome::Unknown, |r| statement::write_outcome(r, now));
                known.last = reply;
                match outcome {
                    Outcome::Acknowledged(_) => known.outcome = outcome,
                    // Refused this time; the time before may have been applied.
                    Outcome::NotApplied => {}
                    Outcome::Unknown => known.outcome = outcome,
                }
                if outcome != Outcome::Unknown {
                    return known;
                }
            }
            if tried < tries {
                self.cluster.world.note("write asked for again", &[]);
                let unsure = !self.workload.options.gentle;
                self.workload.with_history(|history| history.writes[write.id].may_be_double = unsure);
                let patient = self.workload.options.gentle;
                let pause = self.chance.between(MILLISECOND, SECOND) + if patient { LANDED_AFTER } else { 0 };
                self.cluster.world.sleep(pause).await;
                if patient {
                    text = statement::patient(&text);
                }
                node = self.node();
            }
        }
        known
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
}

/// How a write ended, after all times that it was asked for.
struct Known {
    outcome: Outcome,
    last: Option<Reply>,
}
