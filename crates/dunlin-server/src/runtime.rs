//! The `Runtime` doors over tokio and the operating system: what a real node stands on.
// This file implements the seam that the bans on clocks, tasks and timers point to.
#![allow(clippy::disallowed_methods)]

use dunlin_types::runtime::{BoxFuture, Clock, Rng, Runtime, TaskControl, TaskHandle};
use dunlin_types::{Micros, Mono};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Random bytes drawn from the generator at a time.
const RANDOM_BYTES: usize = 1024;

/// Clock, chance, tasks and timers of a process. Tasks run on the tokio runtime that `spawn` is called on.
pub struct TokioRuntime {
    started: Instant,
    random: Mutex<Random>,
    tasks: Tasks,
}

/// Tasks by name, for operators.
type Tasks = Arc<Mutex<BTreeMap<&'static str, Arc<TaskCounts>>>>;

/// How many tasks of one name there are and were.
#[derive(Debug, Default)]
pub struct TaskCounts {
    /// Running now.
    pub running: AtomicU64,
    /// Started since the process began.
    pub started: AtomicU64,
}

/// BLAKE3 in counter mode under a key from the operating system.
struct Random {
    stream: blake3::OutputReader,
    bytes: [u8; RANDOM_BYTES],
    used: usize,
}

impl TokioRuntime {
    /// A runtime seeded by the operating system.
    pub fn new() -> TokioRuntime {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        seed[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        let stream = blake3::Hasher::new_keyed(&seed).finalize_xof();
        let random = Random { stream, bytes: [0; RANDOM_BYTES], used: RANDOM_BYTES };
        TokioRuntime { started: Instant::now(), random: Mutex::new(random), tasks: Tasks::default() }
    }

    /// Tasks running and started, by name.
    pub fn tasks(&self) -> Vec<(&'static str, u64, u64)> {
        let tasks = self.tasks.lock();
        let read = |c: &AtomicU64| c.load(Ordering::Relaxed);
        tasks.iter().map(|(name, counts)| (*name, read(&counts.running), read(&counts.started))).collect()
    }

    fn counts(&self, name: &'static str) -> Arc<TaskCounts> {
        Arc::clone(self.tasks.lock().entry(name).or_default())
    }
}

impl Default for TokioRuntime {
    fn default() -> Self {
        TokioRuntime::new()
    }
}

impl Clock for TokioRuntime {
    fn mono(&self) -> Mono {
        Mono(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn wall(&self) -> Micros {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

impl Rng for TokioRuntime {
    fn random(&self) -> u64 {
        let mut random = self.random.lock();
        if random.used >= RANDOM_BYTES {
            let Random { stream, bytes, used } = &mut *random;
            stream.fill(bytes);
            *used = 0;
        }
        let at = random.used;
        random.used += 8;
        let word = random.bytes[at..at + 8].try_into().expect("eight bytes were cut");
        u64::from_le_bytes(word)
    }
}

struct Running(Arc<TaskCounts>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

struct TokioTask(tokio::task::AbortHandle);

impl TaskControl for TokioTask {
    fn abort(&self) {
        self.0.abort();
    }

    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Runtime for TokioRuntime {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> TaskHandle {
        let counts = self.counts(name);
        counts.started.fetch_add(1, Ordering::Relaxed);
        counts.running.fetch_add(1, Ordering::Relaxed);
        let running = Running(counts);
        let task = tokio::spawn(async move {
            let _running = running;
            future.await;
        });
        Box::new(TokioTask(task.abort_handle()))
    }

    fn die(&self, reason: &str) {
        tracing::error!(reason, "the process ends at once");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_words_differ() {
        let runtime = TokioRuntime::new();
        let words: std::collections::BTreeSet<u64> = (0..1000).map(|_| runtime.random()).collect();
        assert_eq!(words.len(), 1000);
        assert_ne!(TokioRuntime::new().random(), TokioRuntime::new().random());
    }

    #[test]
    fn tasks_are_counted_and_aborted() {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio.block_on(async {
            let runtime = TokioRuntime::new();
            let task = runtime.spawn("waits", Box::pin(std::future::pending()));
            runtime.sleep(Duration::from_millis(1)).await;
            assert_eq!(runtime.tasks(), [("waits", 1, 1)]);
            task.abort();
            while !task.is_finished() {
                runtime.sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(runtime.tasks(), [("waits", 0, 1)]);
        });
    }
}
