//! The power goes at every operation of scripted workloads, and again while the engine recovers.

use crate::support::{Driver, tiny};
use dunlin_storage::fs::memory::Fault;
use dunlin_storage::{EngineError, Lane};

/// Writes, commits, flushes and compactions until the disk stops. Errors after that are expected.
pub fn workload(driver: &mut Driver) -> Result<(), EngineError> {
    for round in 0..22 {
        for _ in 0..12 {
            driver.write()?;
        }
        if round % 3 != 1 {
            driver.engine().commit()?;
        }
        while driver.engine().maintenance(Lane::Any)?.worked {}
        match round % 8 {
            3 => driver.engine().flush(None)?,
            5 => driver.engine().compact(None)?,
            7 => driver.engine().flush(Some(crate::support::TABLES[0]))?,
            _ => {}
        }
    }
    driver.engine().compact(None)?;
    while driver.engine().maintenance(Lane::Any)?.worked {}
    Ok(())
}

/// Runs the workload until operation `stop`, crashes, recovers (crashing `again` operations into it), checks.
/// Returns false if the workload ended before.
fn crash_at(seed: u64, stop: u64, power: bool) -> bool {
    let mut driver = Driver::new(seed, tiny());
    driver.fs.fail_at(stop, Fault::Stop);
    let ended = match driver.start() {
        Ok(()) => workload(&mut driver).is_ok(),
        Err(_) => false,
    };
    if ended {
        return false;
    }
    assert!(driver.fs.is_stopped(), "only the stop makes errors");
    let what = format!("seed {seed}, stop at {stop}");
    driver.stop(power.then_some(seed ^ stop));
    // Recovery may be cut short too, at any of its operations.
    driver.fs.fail_at(driver.fs.operations() + 1 + stop % 12, Fault::Stop);
    if driver.start().is_err() || driver.fs.is_stopped() {
        driver.engine = None;
        driver.stop(power.then_some(seed ^ stop ^ 0xffff));
        driver.start().unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    driver.fs.clear_faults();
    driver.check_recovered(&what);
    driver.write().expect("write");
    driver.engine().commit().expect("commit");
    driver.settle_durable();
    driver.stop(Some(stop));
    driver.start().unwrap_or_else(|e| panic!("{what}, once more: {e}"));
    driver.check_recovered(&what);
    true
}

fn everywhere(seed: u64, power: bool) {
    let mut stop = 1;
    while crash_at(seed, stop, power) {
        stop += 1;
    }
    assert!(stop > 150, "only {stop} operations: the workload does too little");
}

#[test]
fn power_goes_at_every_operation() {
    (0..5).for_each(|seed| everywhere(seed, true));
}

#[test]
fn process_ends_at_every_operation() {
    everywhere(7, false);
}
