//! Group commit: who writes for whom (leader and followers).
//!
//! The first that wants a commit leads: it writes and syncs what all have appended so far. Those that come
//! meanwhile wait for the next batch. When the leader is done it wakes everybody of its batch with one call,
//! and one of the next batch to lead that. Two conditions take turns, so that nobody is woken for a batch that
//! is not his. Without company the caller leads at once and wakes nobody.

// Not parking_lot's condition: that one wakes a crowd one by one, each when the one before it lets the lock go.
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Leadership {
    #[default]
    Free,
    /// One of those who wait for a batch of this parity was woken to lead; anybody may be faster.
    Offered(usize),
    Held,
}

#[derive(Default)]
struct State {
    leadership: Leadership,
    /// By parity of the batch. Those who were woken and have not run yet count.
    waiting: [usize; 2],
}

#[derive(Default)]
pub(crate) struct Group {
    state: Mutex<State>,
    wake: [Condvar; 2],
}

/// The right and duty to commit the next batch. Ends when it is dropped.
pub(crate) struct Lead<'a> {
    group: &'a Group,
    /// Parity of the batch that is done; `None` wakes everybody.
    done: Option<usize>,
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `done`, or until the caller has to lead. `batch` is the number of the batch that holds what
    /// the caller appended.
    pub(crate) fn lead_or_wait(&self, batch: u64, done: impl Fn() -> bool) -> Option<Lead<'_>> {
        let parity = (batch % 2) as usize;
        let mut state = self.lock();
        loop {
            if done() {
                // The offer was perhaps for this thread: the next one gets it.
                if state.leadership == Leadership::Offered(parity) {
                    if state.waiting[parity] > 0 {
                        self.wake[parity].notify_one();
                    } else {
                        state.leadership = Leadership::Free;
                    }
                }
                return None;
            }
            if state.leadership != Leadership::Held {
                state.leadership = Leadership::Held;
                return Some(Lead { group: self, done: None });
            }
            state.waiting[parity] += 1;
            state = self.wake[parity].wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting[parity] -= 1;
        }
    }
}

impl Lead<'_> {
    /// The batch of that number is committed.
    pub(crate) fn finish(mut self, batch: u64) {
        self.done = Some((batch % 2) as usize);
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut state = self.group.lock();
        let waiting = state.waiting;
        state.leadership = match self.done {
            Some(parity) if waiting[1 - parity] > 0 => Leadership::Offered(1 - parity),
            _ => Leadership::Free,
        };
        let offered = state.leadership != Leadership::Free;
        drop(state);
        // Each of these calls asks the system, so they are left out where nobody waits.
        if let Some(parity) = self.done {
            if offered {
                self.group.wake[1 - parity].notify_one();
            }
            if waiting[parity] > 0 {
                self.group.wake[parity].notify_all();
            }
        } else {
            self.group.wake.iter().for_each(Condvar::notify_all);
        }
    }
}
