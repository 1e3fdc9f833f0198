//! Progress bars: on standard error, and only where that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over a known number of bytes.
pub fn bytes(total: u64, what: &'static str) -> ProgressBar {
    styled(
        ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(5)),
        what,
        "{msg} [{bar:40}] {bytes}/{total_bytes} {eta} left",
    )
}

/// A counter without a known end.
pub fn rows(what: &'static str) -> ProgressBar {
    styled(
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5)),
        what,
        "{msg} {human_pos} rows, {per_sec}",
    )
}

fn styled(bar: ProgressBar, what: &'static str, template: &str) -> ProgressBar {
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what);
    bar
}
