//! The `Parallel` seam: work that may be spread over threads while the caller waits.
//!
//! The engine itself starts no threads. Its owner gives it [`Threads`]; simulation and tests use
//! [`Sequential`], where everything happens in the caller's thread and in one order.

use std::fmt::Debug;

/// Runs a task once for each of its workers.
pub trait Parallel: Debug + Send + Sync {
    /// How many workers there are; at least 1. Work is split by this number.
    fn workers(&self) -> usize;

    /// Calls `task` with every number below [`Parallel::workers`], and returns when all calls have. A panic in
    /// a call is a panic of the caller.
    fn run(&self, task: &(dyn Fn(usize) + Sync));
}

/// One worker: the caller.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sequential;

impl Parallel for Sequential {
    fn workers(&self) -> usize {
        1
    }

    fn run(&self, task: &(dyn Fn(usize) + Sync)) {
        task(0);
    }
}

/// Most threads that [`Threads::available`] uses: more do not help what the engine spreads.
const THREADS_MAX: usize = 8;

/// Workers that are threads for as long as a call of [`Parallel::run`] takes; the caller is the first.
#[derive(Debug, Clone, Copy)]
pub struct Threads {
    workers: usize,
}

impl Threads {
    /// So many workers; at least 1.
    pub fn new(workers: usize) -> Threads {
        Threads { workers: workers.max(1) }
    }

    /// As many as the system runs at once, up to 8.
    pub fn available() -> Threads {
        Threads::new(std::thread::available_parallelism().map_or(1, |n| n.get().min(THREADS_MAX)))
    }
}

impl Parallel for Threads {
    fn workers(&self) -> usize {
        self.workers
    }

    fn run(&self, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for worker in 1..self.workers {
                let name = format!("dunlin-worker-{worker}");
                let started =
                    std::thread::Builder::new().name(name).spawn_scoped(scope, move || task(worker));
                if started.is_err() {
                    // The system has no thread left: slower, but done all the same.
                    task(worker);
                }
            }
            task(0);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Parallel, Sequential, Threads};
    use parking_lot::Mutex;

    #[test]
    fn every_worker_runs_once() {
        let check = |parallel: &dyn Parallel, expected: &[usize]| {
            let seen = Mutex::new(Vec::new());
            parallel.run(&|worker| seen.lock().push(worker));
            let mut seen = seen.into_inner();
            seen.sort_unstable();
            assert_eq!(seen, expected);
            assert_eq!(parallel.workers(), expected.len());
        };
        check(&Sequential, &[0]);
        check(&Threads::new(0), &[0]);
        check(&Threads::new(5), &[0, 1, 2, 3, 4]);
    }
}
