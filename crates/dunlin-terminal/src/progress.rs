//! What long work says on its way, on standard error: a bar that is drawn anew on a terminal, a line now and then elsewhere.

#![allow(clippy::disallowed_methods, reason = "an edge: a person waits in real time")]

use crate::complain;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// Work this short says nothing where a line would stay.
const FIRST_AFTER: Duration = Duration::from_secs(3);
/// Between two lines.
const EVERY: Duration = Duration::from_secs(10);
/// The bar's steps.
const STEPS: u64 = 1000;

/// Progress of one piece of work. Dropped, it takes its bar away.
pub struct Progress {
    kind: Kind,
    since: Instant,
    lines: u32,
}

enum Kind {
    Bar { bar: ProgressBar, known: bool },
    Lines,
    Silent,
}

impl Progress {
    /// Shown as standard error allows.
    pub fn start() -> Progress {
        let kind = match std::io::stderr().is_terminal() {
            true => Kind::Bar { bar: bar(), known: false },
            false => Kind::Lines,
        };
        Progress { kind, since: Instant::now(), lines: 0 }
    }

    /// Not shown: where standard error is for programs.
    pub fn silent() -> Progress {
        Progress { kind: Kind::Silent, since: Instant::now(), lines: 0 }
    }

    /// Where the work is, and which share of it is done, if that is known. Cheap enough for every step.
    pub fn show(&mut self, text: &str, share: Option<f64>) {
        match &mut self.kind {
            Kind::Silent => {}
            Kind::Bar { bar, known } => {
                if *known != share.is_some() {
                    *known = share.is_some();
                    bar.set_style(style(*known));
                }
                bar.set_position(share.map_or(0, |share| (share.clamp(0.0, 1.0) * STEPS as f64) as u64));
                bar.set_message(crate::printable(text));
                bar.tick();
            }
            Kind::Lines => {
                let elapsed = self.since.elapsed();
                if elapsed >= FIRST_AFTER + EVERY * self.lines {
                    self.lines = 1 + u32::try_from((elapsed - FIRST_AFTER).as_secs() / EVERY.as_secs())
                        .unwrap_or(u32::MAX - 1);
                    complain!("{} ({} s)", crate::printable(text), elapsed.as_secs());
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Kind::Bar { bar, .. } = &self.kind {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr_with_hz(10))
        .with_style(style(false))
}

fn style(known: bool) -> ProgressStyle {
    let template = if known { "{spinner} {bar:30} {msg} {elapsed}" } else { "{spinner} {msg} {elapsed}" };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
