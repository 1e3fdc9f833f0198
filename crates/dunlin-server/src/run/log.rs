//! Log lines to standard error.

use crate::config::{LogFormat, LogSection};
use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Takes the process's log lines from now on.
pub(super) fn start(section: &LogSection) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(&section.level).with_context(|| format!("log.level = {:?}", section.level))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let done = match section.format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    done.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}
