//! Many runs, each on a thread of its own, so that no thread-local state passes from one to the next.

use crate::oracle::{Rule, Violation};
use crate::run::{Plan, Report, run};
use parking_lot::Mutex;
use std::thread;

/// Room for deep polls in unoptimised builds.
const STACK_BYTES: usize = 16 << 20;

/// Runs a plan on a fresh thread. A panic in a node is a violation as bad as any.
pub fn run_apart(plan: Plan) -> Report {
    let builder = thread::Builder::new().name(format!("seed {}", plan.options.seed)).stack_size(STACK_BYTES);
    let handle = builder.spawn(move || run(&plan)).expect("a thread can be started");
    handle.join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let message = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let message = format!("panic: {}", message.unwrap_or_default());
        Report { violations: vec![Violation { rule: Rule::Panic, message }], ..Report::default() }
    })
}

/// Runs plans on `workers` threads at a time and hands each report over as it comes, until `each` says no.
pub fn run_all(
    seeds: impl Iterator<Item = u64> + Send,
    workers: usize,
    plan: impl Fn(u64) -> Plan + Sync,
    each: impl FnMut(u64, Report) -> bool + Send,
) {
    let seeds = Mutex::new(seeds);
    let each = Mutex::new((each, true));
    thread::scope(|scope| {
        for _ in 0..workers.max(1) {
            scope.spawn(|| {
                loop {
                    if !each.lock().1 {
                        return;
                    }
                    let Some(seed) = seeds.lock().next() else { return };
                    let report = run_apart(plan(seed));
                    let mut each = each.lock();
                    if each.1 {
                        each.1 = (each.0)(seed, report);
                    }
                }
            });
        }
    });
}
