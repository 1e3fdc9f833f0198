//! Who is worked on next, and who is told to come later, before anything was done for him.
//!
//! So many statements are worked on at once ([`super::limit`]). Others wait, briefly, in a queue a connection,
//! served in turn: one connection that pipelines a thousand statements takes no more than its share. A
//! statement that could not be taken up soon is refused at once. When the queue is full, the newest of the
//! longest queue makes room for a connection that waits for less.

use super::limit::{Limit, LimitSettings};
use dunlin_types::Mono;
use dunlin_types::runtime::SharedRuntime;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Bounds of admission.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionSettings {
    /// Statements worked on at once.
    pub limit: LimitSettings,
    /// Statements that wait, of all connections.
    pub queue: usize,
    /// Longest wait.
    pub wait: Duration,
}

/// The statement was not taken up: come again after so long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// When it may be taken.
    pub retry_after: Duration,
}

/// Numbers for operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AdmissionStats {
    /// Statements being worked on.
    pub at_work: usize,
    /// Most of them, as of now.
    pub limit: usize,
    /// Statements that wait.
    pub waiting: usize,
    /// Statements refused since the start.
    pub refused: u64,
}

/// Shortest and longest time a refused client is told to wait.
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(2);

type Granted = Result<Place, Refused>;

/// See the module's comment.
pub struct Admission {
    runtime: SharedRuntime,
    settings: AdmissionSettings,
    state: Mutex<State>,
}

struct State {
    limit: Limit,
    at_work: usize,
    /// Those who wait, by connection.
    queues: BTreeMap<u64, VecDeque<oneshot::Sender<Granted>>>,
    /// Connections in the order they are served; each has a queue.
    turns: VecDeque<u64>,
    waiting: usize,
    refused: u64,
    /// Smoothed time between two statements that end while others wait, nanoseconds.
    pace: u64,
    last_end: Option<Mono>,
}

/// A place among the statements at work; given back when it is dropped.
pub struct Place {
    admission: Option<Arc<Admission>>,
}

impl Admission {
    /// Nobody is here yet.
    pub fn new(runtime: SharedRuntime, settings: AdmissionSettings) -> Arc<Admission> {
        let state = State {
            limit: Limit::new(settings.limit),
            at_work: 0,
            queues: BTreeMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
            refused: 0,
            pace: 0,
            last_end: None,
        };
        Arc::new(Admission { runtime, settings, state: Mutex::new(state) })
    }

    /// Waits for a place, at most `patience` and as long as the settings allow. Safe to drop.
    pub async fn enter(self: &Arc<Self>, connection: u64, patience: Duration) -> Result<Place, Refused> {
        let wait = self.settings.wait.min(patience);
        let granted = {
            let mut state = self.state.lock();
            if state.at_work < state.limit.current() && state.waiting == 0 {
                state.at_work += 1;
                return Ok(Place { admission: Some(Arc::clone(self)) });
            }
            let expected = state.expected_wait();
            let full = state.waiting >= self.settings.queue || expected > wait;
            if full && !state.make_room(connection, self.retry_after(expected)) {
                state.refused += 1;
                return Err(self.retry_after(expected));
            }
            state.push(connection)
        };
        tokio::select! {
            biased;
            granted = granted => granted.unwrap_or_else(|_| Err(self.retry_after(wait))),
            () = self.runtime.sleep(wait) => {
                let mut state = self.state.lock();
                state.refused += 1;
                Err(self.retry_after(state.expected_wait()))
            }
        }
    }

    /// Whether a statement of that connection would be refused now: then it need not even be parsed.
    pub fn sheds(&self, connection: u64) -> Option<Refused> {
        let expected = {
            let mut state = self.state.lock();
            let expected = state.expected_wait();
            let full = state.waiting >= self.settings.queue || expected > self.settings.wait;
            let places = state.at_work < state.limit.current();
            if places || !full || state.longest_above(connection).is_some() {
                return None;
            }
            state.refused += 1;
            expected
        };
        Some(self.retry_after(expected))
    }

    /// Spread, so that those refused together do not come back together.
    fn retry_after(&self, expected: Duration) -> Refused {
        let least = expected.clamp(RETRY_MIN, RETRY_MAX / 2);
        let more = self.runtime.below(u64::try_from(least.as_micros()).unwrap_or(u64::MAX));
        Refused { retry_after: least + Duration::from_micros(more) }
    }

    /// How it stands.
    pub fn stats(&self) -> AdmissionStats {
        let state = self.state.lock();
        AdmissionStats {
            at_work: state.at_work,
            limit: state.limit.current(),
            waiting: state.waiting,
            refused: state.refused,
        }
    }

    fn leave(self: Arc<Self>) {
        let now = self.runtime.mono();
        let mut state = self.state.lock();
        state.at_work -= 1;
        state.note_end(now);
        while state.at_work < state.limit.current()
            && let Some(next) = state.next()
        {
            let place = Place { admission: Some(Arc::clone(&self)) };
            match next.send(Ok(place)) {
                Ok(()) => state.at_work += 1,
                // Gone meanwhile. The place must not give itself back: the lock is held.
                Err(Ok(mut place)) => place.admission = None,
                Err(Err(_)) => {}
            }
        }
    }
}

impl State {
    fn push(&mut self, connection: u64) -> oneshot::Receiver<Granted> {
        let (sender, receiver) = oneshot::channel();
        let queue = self.queues.entry(connection).or_default();
        if queue.is_empty() {
            self.turns.push_back(connection);
        }
        queue.push_back(sender);
        self.waiting += 1;
        receiver
    }

    /// The first of the connection whose turn it is; those who gave up are left out.
    fn next(&mut self) -> Option<oneshot::Sender<Granted>> {
        loop {
            let connection = self.turns.pop_front()?;
            let queue = self.queues.get_mut(&connection)?;
            let first = queue.pop_front();
            if queue.is_empty() {
                self.queues.remove(&connection);
            } else {
                self.turns.push_back(connection);
            }
            self.waiting -= 1;
            if let Some(sender) = first.filter(|sender| !sender.is_closed()) {
                return Some(sender);
            }
        }
    }

    /// Refuses the newest statement of the connection that waits for most, if the other one waits for less.
    fn make_room(&mut self, connection: u64, refused: Refused) -> bool {
        let Some(id) = self.longest_above(connection) else { return false };
        if let Some(sender) = self.queues.get_mut(&id).and_then(VecDeque::pop_back) {
            self.waiting -= 1;
            self.refused += 1;
            let _ = sender.send(Err(refused));
        }
        true
    }

    /// The connection that waits for most, if that is for at least two more than this one does.
    fn longest_above(&self, connection: u64) -> Option<u64> {
        let mine = self.queues.get(&connection).map_or(0, VecDeque::len);
        let (length, id) = self.queues.iter().map(|(id, queue)| (queue.len(), *id)).max()?;
        (length > mine + 1).then_some(id)
    }

    fn note_end(&mut self, now: Mono) {
        // Only while others wait does the time between two ends tell how fast the node is.
        let busy = self.waiting > 0;
        if let (true, Some(last)) = (busy, self.last_end) {
            let gap = u64::try_from(now.since(last).as_nanos()).unwrap_or(u64::MAX);
            self.pace = if self.pace == 0 { gap } else { self.pace - self.pace / 32 + gap / 32 };
        }
        self.last_end = busy.then_some(now);
    }

    fn expected_wait(&self) -> Duration {
        Duration::from_nanos(self.pace.saturating_mul(self.waiting as u64))
    }
}

impl Place {
    /// The statement was answered, or ran out of time, after `took`; the wait for its place does not count.
    pub fn ended(&self, took: Duration) {
        if let Some(admission) = &self.admission {
            let now = admission.runtime.mono();
            let mut state = admission.state.lock();
            let saturated = state.at_work >= state.limit.current();
            state.limit.observe(now, took, saturated);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            admission.leave();
        }
    }
}
