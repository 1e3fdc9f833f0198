//! The doors through which a node touches the world, and nothing else does.
//!
//! Production stands on tokio and the OS; the simulator on virtual time and a seed. Code above the
//! doors may use `tokio::sync` and biased `select!`, which run on any executor, but no timer, task,
//! clock, thread or randomness of its own.

use crate::time::{Micros, Mono};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A future that can be kept in a struct and moved between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What time it is.
pub trait Clock: Send + Sync {
    /// Monotonic time of this node.
    fn mono(&self) -> Mono;
    /// Wall time of this node: may be wrong, may jump either way. No safety may rest on it.
    fn wall(&self) -> Micros;
}

/// Chance.
pub trait Rng: Send + Sync {
    /// 64 random bits.
    fn random(&self) -> u64;

    /// Uniform in `0..bound`; 0 when the bound is 0.
    fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.random()) * u128::from(bound)) >> 64) as u64
    }
}

/// Control over a spawned task. Dropping it leaves the task running.
pub trait TaskControl: Send + Sync {
    /// Drops the task's future at its next await point.
    fn abort(&self);
    /// Whether the future has ended or was dropped.
    fn is_finished(&self) -> bool;
}

/// A handle on a spawned task.
pub type TaskHandle = Box<dyn TaskControl>;

/// Tasks, timers, and the simulator's hooks.
pub trait Runtime: Clock + Rng {
    /// Ends after `duration` of the node's monotonic time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Runs a future beside the caller; `name` is what operators see.
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> TaskHandle;

    /// Ends the process at once: the node must not act again (a panic, a failed sync that has to stop it).
    fn die(&self, reason: &str);

    /// Marks that something worth counting happened. Feeds the simulator's trace hash and coverage.
    fn event(&self, _kind: &'static str, _a: u64, _b: u64) {}

    /// In simulation sometimes true: take a rare but legal branch here.
    fn buggify(&self, _point: &'static str) -> bool {
        false
    }

    /// In simulation true for the one bug planted in a run, to prove that the checkers see it.
    fn planted(&self, _bug: PlantedBug) -> bool {
        false
    }
}

/// A shared runtime.
pub type SharedRuntime = Arc<dyn Runtime>;

/// `Some(output)` if the future ends within `duration`, else `None` and the future is dropped.
pub async fn timeout<F: Future + Send>(
    runtime: &dyn Runtime,
    duration: Duration,
    future: F,
) -> Option<F::Output> {
    let future = std::pin::pin!(future);
    match futures::future::select(future, runtime.sleep(duration)).await {
        futures::future::Either::Left((output, _)) => Some(output),
        futures::future::Either::Right(((), _)) => None,
    }
}

/// Bugs that can be planted in a simulated cluster. Every one must be caught by a checker; production
/// runtimes answer `false` to all of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum PlantedBug {
    /// A replica acknowledges before the commit log is synced.
    AckBeforeSync,
    /// A siblings table keeps only the newest of concurrent values.
    SiblingsCollapse,
    /// Hints are acknowledged and thrown away, and Merkle repair does nothing.
    HealingOff,
    /// A write is acknowledged one replica short of its level.
    WriteQuorumShort,
    /// A read asks one replica whatever its level.
    ReadOneOnly,
    /// A replica stores what it is sent over what it has.
    ReplicaOverwrites,
    /// The context of a write is ignored: it supersedes nothing.
    ContextIgnored,
    /// A read does not wait for its repairs.
    RepairNotAwaited,
    /// A server repeats a write that it had sent already.
    WriteDuplicated,
    /// The context a write returns covers siblings that its client never saw.
    ContextTooWide,
    /// Recovery does not check the commit log's checksums.
    LogUnchecked,
    /// A restarted node reuses the dots of its lost writes.
    DotsReused,
    /// A read may see what is not yet synced.
    VisibleBeforeSync,
    /// A joining node counts as whole before it has its data.
    JoinEarly,
    /// Read repair's merge drops what the first replica lacks.
    RepairDropsValue,
    /// `USING AFTER` is not heeded.
    AfterIgnored,
    /// `USING TIMESTAMP` is not heeded.
    TimestampIgnored,
    /// A write that ended in doubt is reported as certainly not applied.
    RefusalUntrue,
    /// A node whose data was restored or damaged answers reads at once.
    LostVotes,
    /// A node that stops leaves a task running.
    TaskLeaked,
    /// Deletions are forgotten once they are old enough, whoever has yet to hear of them.
    PurgedEarly,
    /// Hints count as delivered without being sent.
    HintsForgotten,
    /// An exchange sends everything of a leaf that differs.
    RepairSendsAll,
}
