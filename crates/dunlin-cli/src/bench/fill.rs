//! Every key once, pipelined: written before reads are measured, and removed afterwards.

use super::plan::Plan;
use super::shown;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Connections, and statements in flight on each.
const LOADERS: u64 = 8;
const WINDOW: usize = 64;

/// Writes every key.
pub async fn write_all(plan: &Arc<Plan>) -> anyhow::Result<()> {
    each(plan, "written", |_| true, Plan::put_statement).await
}

/// Removes the keys that `picked` says.
pub async fn remove(plan: &Arc<Plan>, picked: impl Fn(u64) -> bool) -> anyhow::Result<()> {
    each(plan, "removed", picked, Plan::delete_statement).await
}

async fn each(
    plan: &Arc<Plan>,
    what: &str,
    picked: impl Fn(u64) -> bool,
    statement: fn(&Plan, u64) -> String,
) -> anyhow::Result<()> {
    let (done, keys) = (AtomicU64::new(0), plan.args.keys);
    let loaders = (0..LOADERS).map(|loader| {
        let mine = (loader..keys).step_by(usize::try_from(LOADERS).unwrap_or(1)).filter(|n| picked(*n));
        one(plan, loader, mine, statement, &done)
    });
    let text = || {
        let done = done.load(Ordering::Relaxed);
        let text = format!("{done} of {keys} keys {what} in {}", plan.table);
        (text, Some(done as f64 / keys as f64))
    };
    shown(plan.args.format, text, futures::future::try_join_all(loaders)).await.map(drop)
}

async fn one(
    plan: &Plan,
    loader: u64,
    keys: impl Iterator<Item = u64>,
    statement: fn(&Plan, u64) -> String,
    done: &AtomicU64,
) -> anyhow::Result<()> {
    let mut connection = plan.connect(usize::try_from(loader).unwrap_or(0)).await?;
    let mut keys = keys.peekable();
    while keys.peek().is_some() {
        for n in keys.by_ref().take(WINDOW) {
            connection.queue(&statement(plan, n));
        }
        connection.flush().await?;
        while connection.waiting() > 0 {
            connection.receive().await??;
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}
