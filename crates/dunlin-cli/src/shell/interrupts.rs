//! Ctrl-C, as something to wait for.

use futures::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// From its making on, Ctrl-C no longer ends the process: whoever waits for [`Interrupts::next`] decides.
pub struct Interrupts(Signal);

impl Interrupts {
    /// Takes the signal over.
    pub fn new() -> anyhow::Result<Interrupts> {
        Ok(Interrupts(signal(SignalKind::interrupt())?))
    }

    /// Ends at the next Ctrl-C, or at once if one came that nobody waited for. Safe to drop.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }

    /// Forgets what came so far: it was meant for the prompt.
    pub async fn forget(&mut self) {
        loop {
            // The signal's driver runs when everything else waits.
            tokio::task::yield_now().await;
            if self.0.recv().now_or_never().is_none() {
                return;
            }
        }
    }
}
