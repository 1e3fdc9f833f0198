//! Log lines to standard error, written by a thread of their own.
//!
//! A reader that is slow, gone, or on a full disk costs lines, never the node: who logs neither waits nor fails. Lost
//! lines are counted ([`lines_lost`]), and said in the log as soon as it can be written again.

use crate::config::{LogFormat, LogSection};
use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written.
const LINES_MAX: usize = 8192;
/// Their bytes.
const BYTES_MAX: usize = 8 << 20;

/// The log of this process, once it has one.
static LOG: OnceLock<Lines> = OnceLock::new();

/// Takes the process's log lines from now on.
pub(super) fn start(section: &LogSection) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(&section.level).with_context(|| format!("log.level = {:?}", section.level))?;
    let lines = Lines::start(io::stderr()).context("cannot start the log's thread")?;
    let lines = LOG.get_or_init(|| lines);
    let layer = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines.clone());
    let done = match section.format {
        LogFormat::Text => layer.with_ansi(false).log_internal_errors(false).try_init(),
        LogFormat::Json => layer.json().flatten_event(true).log_internal_errors(false).try_init(),
    };
    done.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// Log lines of this process that were not written.
pub(crate) fn lines_lost() -> u64 {
    LOG.get().map_or(0, |lines| lines.counts.lost.load(Ordering::Relaxed))
}

/// Returns when what was logged before is written, or after so long.
pub(super) fn flush(patience: Duration) {
    if let Some(lines) = LOG.get() {
        lines.flush(patience);
    }
}

enum Item {
    Line(Vec<u8>),
    /// Answered when everything before it is done with.
    Flush(Sender<()>),
}

#[derive(Default)]
struct Counts {
    lost: AtomicU64,
    waiting_bytes: AtomicUsize,
}

/// A queue of lines in front of the thread that writes them.
#[derive(Clone)]
struct Lines {
    queue: Sender<Item>,
    counts: Arc<Counts>,
}

impl Lines {
    fn start(sink: impl Write + Send + 'static) -> io::Result<Lines> {
        let (queue, items) = bounded(LINES_MAX);
        let lines = Lines { queue, counts: Arc::default() };
        let counts = lines.counts.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || write_all(&items, &counts, sink))?;
        Ok(lines)
    }

    /// Never waits.
    fn put(&self, line: &[u8]) {
        let waiting = self.counts.waiting_bytes.fetch_add(line.len(), Ordering::Relaxed);
        if waiting + line.len() > BYTES_MAX || self.queue.try_send(Item::Line(line.to_vec())).is_err() {
            self.counts.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self, patience: Duration) {
        let (done, wait) = bounded(1);
        if self.queue.send_timeout(Item::Flush(done), patience).is_ok() {
            // Not in time: what is left is lost with the process.
            let _ = wait.recv_timeout(patience);
        }
    }
}

fn write_all(items: &Receiver<Item>, counts: &Counts, mut sink: impl Write) {
    let mut told = 0;
    for item in items {
        match item {
            Item::Flush(done) => drop(done.send(())),
            Item::Line(line) => {
                counts.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
                if sink.write_all(&line).is_err() {
                    counts.lost.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let lost = counts.lost.load(Ordering::Relaxed);
                if lost > told {
                    // Goes through the queue as every line does.
                    tracing::warn!(lines = lost - told, "log lines before this one could not be written");
                    told = lost;
                }
            }
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> &'a Lines {
        self
    }
}

/// Each call is one line: that is how the subscriber writes.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    /// Fails so many writes, then takes them.
    struct Sink {
        failures: usize,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.failures > 0 {
                self.failures -= 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.taken.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let taken: Arc<Mutex<Vec<u8>>> = Arc::default();
        let lines = Lines::start(Sink { failures: 2, taken: taken.clone() }).unwrap();
        for line in ["a\n", "b\n", "c\n", "d\n"] {
            lines.put(line.as_bytes());
        }
        lines.flush(PATIENCE);
        assert_eq!(*taken.lock(), b"c\nd\n");
        assert_eq!(lines.counts.lost.load(Ordering::Relaxed), 2);
        assert_eq!(lines.counts.waiting_bytes.load(Ordering::Relaxed), 0);
    }

    /// Nobody reads, as from a pipe whose reader stands still.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Until the test ends.
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_that_stands_still() {
        let (release, stuck) = bounded(0);
        let lines = Lines::start(Stuck(stuck)).unwrap();
        for _ in 0..LINES_MAX + 10 {
            lines.put(b"x\n");
        }
        // One line is with the sink, or about to be.
        assert!((9..=10).contains(&lines.counts.lost.load(Ordering::Relaxed)));
        lines.put(&vec![b'x'; BYTES_MAX]);
        assert!((10..=11).contains(&lines.counts.lost.load(Ordering::Relaxed)));
        lines.flush(Duration::from_millis(1));
        drop(release);
        lines.flush(PATIENCE);
        assert_eq!(lines.counts.waiting_bytes.load(Ordering::Relaxed), 0);
    }
}
