//! Group commit outside a store that has none: the first who comes syncs for all who came before the sync.

use anyhow::{Result, anyhow};
use std::sync::{Condvar, Mutex, PoisonError};

#[derive(Default)]
struct State {
    asked: u64,
    synced: u64,
    leading: bool,
}

/// Leader and followers.
#[derive(Default)]
pub struct Group {
    state: Mutex<State>,
    changed: Condvar,
}

impl Group {
    /// Returns once a `sync` that began after this call did is done.
    pub fn commit(&self, sync: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut state = self.state.lock().map_err(|_| anyhow!("another writer failed"))?;
        state.asked += 1;
        let mine = state.asked;
        while state.leading && state.synced < mine {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.synced >= mine {
            return Ok(());
        }
        state.leading = true;
        let goal = state.asked;
        drop(state);
        let result = sync();
        let mut state = self.state.lock().map_err(|_| anyhow!("another writer failed"))?;
        state.leading = false;
        if result.is_ok() {
            state.synced = goal;
        }
        drop(state);
        self.changed.notify_all();
        result
    }
}
