//! What the nodes of a run log as warnings and errors, and which of it the run's faults explain.

use crate::executor::{HostId, Nanos, SECOND, place};
use crate::oracle::{Rule, Violation};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Parts of messages, and the faults of which one must have struck in the run. None named: part of any run's
/// life, a network that delays and rare branches being enough.
const EXPLAINED: [(&str, &[&str]); EXPLAINED_COUNT] = [
    ("a change of the schema is not yet everywhere", &[]),
    ("a message about the cluster was refused", &[]),
    ("copying data failed; trying again", &[]),
    ("this node is no member", &["leave", "remove", "wipe"]),
    ("cannot join: a member with this node name exists", &["wipe"]),
    ("cannot be written", DISK),
    ("the clean stop could not be noted", DISK),
    ("the last writes could not be made durable", DISK),
    ("the commit log failed", DISK),
    ("the commit log is closed", DISK),
    ("hints could not be written", DISK),
    ("a delivered hint segment could not be removed", DISK),
    ("hints could not be read back", DISK),
    ("an unfinished", DISK),
    ("files of a dropped table were not removed", DISK),
    ("leftover files were not removed", DISK),
    ("a compacted SSTable was not removed", DISK),
    ("a compaction is put off", DISK),
    ("it could not be noted that lost data is back", DISK),
    ("cannot found a cluster", DISK),
    ("the times of comparisons were not saved", DISK),
    ("this node's data was restored", &["restore", "flip-log"]),
    ("damage in the commit log", &["flip-log"]),
    ("an SSTable is damaged", &["flip-table"]),
    ("the footer cannot be read", &["flip-table"]),
    ("data was lost, and no other node has a copy", LOSS),
];
const EXPLAINED_COUNT: usize = 26;

/// Faults after which a copy may be doubtful: old ones of ranges that come back to a node are, too.
const LOSS: &[&str] = &["restore", "flip-log", "flip-table", "join", "leave", "remove", "wipe"];
/// Faults after which a file operation may fail.
const DISK: &[&str] = &["failed-sync", "full-disk", "power-at-operation"];
/// Messages kept apart in one run.
const KINDS_MAX: usize = 100;
/// After healing, warnings go on for so long: what was refused before is tried again.
const QUIET_AFTER: Nanos = 60 * SECOND;

/// Log lines go to a person, and not here.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// From now on log lines go to a person.
pub fn set_shown() {
    SHOWN.store(true, Ordering::Relaxed);
}

/// Warnings and errors of a run: where and when first, and how often.
#[derive(Clone, Default)]
pub struct Complaints(Arc<Mutex<BTreeMap<String, Heard>>>);

#[derive(Clone, Copy)]
struct Heard {
    at: Nanos,
    host: HostId,
    times: u64,
    last: Nanos,
}

impl Complaints {
    /// Runs `f`, listening to what is logged on this thread meanwhile. Where log lines are shown to a person,
    /// nothing is heard.
    pub fn listen<R>(&self, f: impl FnOnce() -> R) -> R {
        if SHOWN.load(Ordering::Relaxed) {
            return f();
        }
        let layer = Listener(self.clone()).with_filter(LevelFilter::WARN);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), f)
    }

    /// What nothing explains. `struck`: whether a fault of that kind did; `healed`: when faults ended, if they did.
    pub fn judge(&self, struck: impl Fn(&str) -> bool, healed: Option<Nanos>) -> Vec<Violation> {
        let heard = self.0.lock();
        let explained = |message: &str, heard: &Heard| {
            let rule = EXPLAINED.iter().find(|(part, _)| message.contains(part));
            let in_time = healed.is_none_or(|healed| heard.last <= healed + QUIET_AFTER);
            rule.is_some_and(|(_, faults)| {
                faults.is_empty() || (in_time && faults.iter().any(|fault| struck(fault)))
            })
        };
        heard
            .iter()
            .filter(|(message, heard)| !explained(message, heard))
            .map(|(message, Heard { at, host, times, .. })| Violation {
                rule: Rule::Complained,
                message: format!(
                    "n{} logs {message:?} at {:.6}, {times} times in all",
                    host.0,
                    *at as f64 / 1e9
                ),
            })
            .collect()
    }

    fn hear(&self, message: String) {
        let (now, host) = place();
        let mut heard = self.0.lock();
        if heard.len() < KINDS_MAX || heard.contains_key(&message) {
            let entry = heard.entry(message).or_insert(Heard { at: now, host, times: 0, last: now });
            entry.times += 1;
            entry.last = now;
        }
    }
}

struct Listener(Complaints);

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() > Level::WARN {
            return;
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.hear(message.0);
    }
}

/// The words of an event, without its fields.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(struck: &[&str], healed: Option<Nanos>) -> Vec<Rule> {
        let complaints = Complaints::default();
        complaints.listen(|| {
            tracing::info!("all is well");
            tracing::warn!(path = "a", "hints could not be written");
        });
        let found = complaints.judge(|fault| struck.contains(&fault), healed);
        found.into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn every_run_is_heard() {
        assert_eq!(judged(&[], None), [Rule::Complained]);
        assert_eq!(judged(&[], None), [Rule::Complained]);
    }

    #[test]
    fn a_warning_needs_a_fault_that_explains_it() {
        assert_eq!(judged(&["full-disk"], None), []);
        assert_eq!(judged(&["split"], None), [Rule::Complained]);
        let complaints = Complaints::default();
        complaints.listen(|| tracing::error!("something new"));
        assert_eq!(complaints.judge(|_| true, None).len(), 1);
    }
}
