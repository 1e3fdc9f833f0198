//! Log lines of a run on standard error, with virtual time and machine.

use crate::executor::{HostId, place};
use std::fmt;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

struct VirtualTime;

impl FormatTime for VirtualTime {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let (now, HostId(host)) = place();
        let seconds = now as f64 / 1e9;
        if host == 0 { write!(w, "{seconds:>12.6} --") } else { write!(w, "{seconds:>12.6} n{host}") }
    }
}

/// Shows log lines that pass the filter.
pub fn show(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    crate::complaints::set_shown();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(VirtualTime)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init()
        .map_err(|error| anyhow::anyhow!("{error}"))
}
