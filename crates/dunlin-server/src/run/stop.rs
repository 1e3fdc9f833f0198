//! What tells a node to stop: SIGTERM, SIGINT, and where it was asked for the end of standard input.

use std::io::Read as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Waits for the word.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
    /// Closed when standard input ends; `None`: nobody looks at it.
    input: Option<watch::Receiver<()>>,
}

impl Stop {
    /// Listens from now on.
    pub(super) fn new(until_input_ends: bool) -> anyhow::Result<Stop> {
        let input = if until_input_ends { Some(watch_input()?) } else { None };
        Ok(Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            input,
        })
    }

    /// Returns when the node is to stop.
    pub(super) async fn told(&mut self) {
        let ended = async {
            match &mut self.input {
                Some(input) => while input.changed().await.is_ok() {},
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = ended => tracing::info!("standard input has ended: whoever started this node is gone"),
        }
    }

    /// The outcome of the work, unless the word comes first.
    pub(super) async fn unless_told<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.told() => None,
            done = work => Some(done),
        }
    }
}

/// Reads standard input to its end on a thread, which the process does not wait for.
fn watch_input() -> std::io::Result<watch::Receiver<()>> {
    let (open, input) = watch::channel(());
    std::thread::Builder::new().name("input".into()).spawn(move || {
        let mut rest = [0; 256];
        let mut stdin = std::io::stdin().lock();
        loop {
            match stdin.read(&mut rest) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        drop(open);
    })?;
    Ok(input)
}
