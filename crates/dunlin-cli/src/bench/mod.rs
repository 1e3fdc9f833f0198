//! `dunlin bench`: a load generator, closed or open loop, with latency histograms.
//!
//! [`place`] is the table that is worked in, and how it looks afterwards; [`plan`] are the statements; [`fill`] writes and
//! removes every key once; [`load`] is what is measured; [`report`] prints it.

#![allow(clippy::disallowed_methods, reason = "a load generator measures real time and runs tasks on tokio")]

mod fill;
mod load;
mod place;
mod plan;
mod report;

use crate::args::{BenchArgs, Format};
use anyhow::Context;
use dunlin_terminal::{Progress, complain, say};
use place::Place;
use plan::Plan;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Between two words about progress.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

/// Measures each mix in turn, and leaves the cluster as it was. Exit status 1 if nothing succeeded, anything failed, or it
/// was interrupted.
pub async fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let mut stop = Stop::new()?;
    let plan = Plan::new(args.clone())?;
    let place = Place::choose(&plan);
    let measured = tokio::select! {
        biased;
        () = stop.told() => None,
        measured = measure_all(plan, &place) => Some(measured),
    };
    if measured.is_none() {
        complain!("interrupted; once more leaves everything as it is");
    }
    let cleaned = tokio::select! {
        biased;
        () = stop.told() => Err(anyhow::anyhow!("interrupted")),
        cleaned = place.clean(&args) => cleaned,
    };
    if let Err(error) = &cleaned {
        complain!("{}: {}", place.left_over(), dunlin_terminal::explain(error));
    }
    Ok(match measured.transpose()? {
        Some(true) if cleaned.is_ok() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Whether all went well.
async fn measure_all(plan: Plan, place: &Place) -> anyhow::Result<bool> {
    let plan = place.prepare(plan).await?;
    if plan.args.mix.iter().any(|mix| mix.reads() > 0.0) {
        fill::write_all(&plan).await.context("writing the keys that are to be read")?;
    }
    let (mut good, mut all) = (true, Vec::new());
    for &mix in &plan.args.mix {
        let outcome = load::measure(&plan, mix).await?;
        good &= outcome.is_good(plan.args.rate.is_some());
        match plan.args.format {
            Format::Text => report::text(&plan, &outcome)?,
            Format::Json => all.push(report::json(&outcome)),
        }
    }
    if plan.args.format == Format::Json {
        say!("{:#}", report::summary(&plan, &all))?;
    }
    Ok(good)
}

/// Says on standard error how far some work is, until it is done. Programs that read JSON are spared that.
async fn shown<T>(
    format: Format,
    mut text: impl FnMut() -> (String, Option<f64>),
    work: impl Future<Output = T>,
) -> T {
    let mut progress = match format {
        Format::Text => Progress::start(),
        Format::Json => Progress::silent(),
    };
    tokio::pin!(work);
    loop {
        let (text, share) = text();
        progress.show(&text, share);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep(SHOWN_EVERY) => {}
        }
    }
}

/// Ctrl-C and SIGTERM.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Stop> {
        Ok(Stop { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn told(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
