//! Who waits for which place of the commit log.

use dunlin_replication::store::{Durability, StoreError};
use dunlin_storage::LogPosition;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::oneshot;

/// Most writes and reads that wait at a time; more are refused.
const WAITING_MAX: usize = 65_536;

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Goal {
    /// Handed to the operating system.
    Written,
    /// Safe from a crash.
    Durable,
}

impl From<Durability> for Goal {
    fn from(durability: Durability) -> Goal {
        match durability {
            Durability::Synced => Goal::Durable,
            Durability::Buffered => Goal::Written,
        }
    }
}

type Answer = Result<(), StoreError>;

struct Waiter {
    position: LogPosition,
    /// Makes the order total.
    number: u64,
    answer: oneshot::Sender<Answer>,
}

impl PartialEq for Waiter {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Waiter {}
impl PartialOrd for Waiter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiter {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.position, self.number).cmp(&(other.position, other.number))
    }
}

#[derive(Default)]
struct Queues {
    durable: BinaryHeap<Reverse<Waiter>>,
    written: BinaryHeap<Reverse<Waiter>>,
    number: u64,
}

/// Those who wait, lowest position first.
#[derive(Default)]
pub(super) struct Waiters {
    queues: Mutex<Queues>,
    count: AtomicUsize,
    /// The highest positions that somebody waited for, of each goal.
    wanted_durable: AtomicU64,
    wanted_written: AtomicU64,
}

impl Waiters {
    /// Adds one; `None` if there are too many.
    pub(super) fn add(&self, position: LogPosition, goal: Goal) -> Option<oneshot::Receiver<Answer>> {
        if self.count.load(Ordering::Relaxed) >= WAITING_MAX {
            return None;
        }
        let (answer, receiver) = oneshot::channel();
        let mut queues = self.queues.lock();
        queues.number += 1;
        let waiter = Reverse(Waiter { position, number: queues.number, answer });
        match goal {
            Goal::Durable => {
                queues.durable.push(waiter);
                self.wanted_durable.fetch_max(position.0, Ordering::Release);
            }
            Goal::Written => {
                queues.written.push(waiter);
                self.wanted_written.fetch_max(position.0, Ordering::Release);
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Some(receiver)
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The strongest goal that somebody waits for beyond what is reached; `None` if nobody does.
    pub(super) fn most_wanted(&self, durable: LogPosition, written: LogPosition) -> Option<Goal> {
        if self.wanted_durable.load(Ordering::Acquire) > durable.0 {
            Some(Goal::Durable)
        } else if self.wanted_written.load(Ordering::Acquire) > written.max(durable).0 {
            Some(Goal::Written)
        } else {
            None
        }
    }

    /// Whether [`Waiters::complete`] would wake anybody.
    pub(super) fn reached(&self, durable: LogPosition, written: LogPosition) -> bool {
        let queues = self.queues.lock();
        let first = |queue: &BinaryHeap<Reverse<Waiter>>| queue.peek().map(|Reverse(w)| w.position);
        first(&queues.durable).is_some_and(|at| at <= durable)
            || first(&queues.written).is_some_and(|at| at <= written.max(durable))
    }

    /// Wakes those whose position was reached, in order; how many.
    pub(super) fn complete(&self, durable: LogPosition, written: LogPosition) -> usize {
        let mut done = Vec::new();
        {
            let mut queues = self.queues.lock();
            let queues = &mut *queues;
            for (queue, reached) in
                [(&mut queues.durable, durable), (&mut queues.written, written.max(durable))]
            {
                while queue.peek().is_some_and(|Reverse(waiter)| waiter.position <= reached) {
                    done.extend(queue.pop().map(|Reverse(waiter)| waiter.answer));
                }
            }
        }
        let count = done.len();
        self.answer(done, &Ok(()));
        count
    }

    /// Fails everybody.
    pub(super) fn fail(&self, error: &StoreError) {
        let mut done = Vec::new();
        {
            let mut queues = self.queues.lock();
            let queues = &mut *queues;
            for queue in [&mut queues.durable, &mut queues.written] {
                while let Some(Reverse(waiter)) = queue.pop() {
                    done.push(waiter.answer);
                }
            }
        }
        self.answer(done, &Err(error.clone()));
    }

    fn answer(&self, done: Vec<oneshot::Sender<Answer>>, answer: &Answer) {
        self.count.fetch_sub(done.len(), Ordering::Relaxed);
        for waiter in done {
            // Whoever waited may be gone.
            let _ = waiter.send(answer.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_below_the_position_are_woken() {
        let waiters = Waiters::default();
        let mut late = waiters.add(LogPosition(9), Goal::Durable).unwrap();
        let mut early = waiters.add(LogPosition(3), Goal::Durable).unwrap();
        let mut buffered = waiters.add(LogPosition(7), Goal::Written).unwrap();
        assert_eq!(waiters.most_wanted(LogPosition(8), LogPosition(8)), Some(Goal::Durable));
        assert_eq!(waiters.most_wanted(LogPosition(9), LogPosition(9)), None);
        assert!(!waiters.reached(LogPosition(2), LogPosition(6)));
        assert!(
            waiters.reached(LogPosition(3), LogPosition(3))
                && waiters.reached(LogPosition(2), LogPosition(7))
        );
        waiters.complete(LogPosition(5), LogPosition(7));
        assert_eq!(early.try_recv(), Ok(Ok(())));
        assert_eq!(buffered.try_recv(), Ok(Ok(())));
        assert!(late.try_recv().is_err());
        waiters.fail(&StoreError::Overloaded);
        assert_eq!(late.try_recv(), Ok(Err(StoreError::Overloaded)));
        assert_eq!(waiters.count(), 0);
    }
}
