use super::*;
use crate::runtime::SimRuntime;
use dunlin_types::runtime::{Clock, Rng, Runtime, timeout};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn world_with_host(seed: u64) -> (Arc<World>, HostId, Arc<SimRuntime>) {
    let world = World::new(seed, None);
    let host = world.add_host();
    let process = world.start_process(host);
    let runtime = SimRuntime::new(world.clone(), host, process);
    (world, host, runtime)
}

/// Tasks of several machines that sleep, wake each other and draw numbers.
fn toy(seed: u64) -> (u64, u64) {
    let world = World::new(seed, None);
    let sum = Arc::new(AtomicU64::new(0));
    let notify = Arc::new(Notify::new());
    for _ in 0..3 {
        let host = world.add_host();
        let process = world.start_process(host);
        let runtime = SimRuntime::new(world.clone(), host, process);
        for _ in 0..5 {
            let (runtime, sum, notify) = (runtime.clone(), sum.clone(), notify.clone());
            let task = async move {
                for _ in 0..20 {
                    runtime.sleep(Duration::from_micros(runtime.below(500))).await;
                    sum.fetch_add(runtime.mono().0 ^ runtime.random(), Ordering::Relaxed);
                    notify.notify_one();
                    timeout(&*runtime, Duration::from_micros(300), notify.notified()).await;
                }
            };
            world.spawn(host, "toy", Box::pin(task));
        }
        world.set_drift(host, 1000 * i64::from(host.0));
    }
    let stopped = world.run(SECOND, || false);
    assert_eq!(stopped, Stopped::Dead, "all tasks end");
    (world.trace().hash(), sum.load(Ordering::Relaxed))
}

#[test]
fn the_same_seed_runs_the_same() {
    for seed in 0..20 {
        assert_eq!(toy(seed), toy(seed), "seed {seed}");
    }
    assert_ne!(toy(1), toy(2));
}

#[test]
fn sleeps_follow_the_clock_of_the_machine() {
    let (world, host, runtime) = world_with_host(1);
    world.set_drift(host, 100_000);
    let task = runtime.clone();
    world.spawn(
        host,
        "sleeper",
        Box::pin(async move {
            let before = task.mono();
            task.sleep(Duration::from_secs(11)).await;
            assert_eq!(task.mono().since(before), Duration::from_secs(11));
        }),
    );
    assert_eq!(world.run(60 * SECOND, || false), Stopped::Dead);
    assert_eq!(world.now(), 10 * SECOND);
}

#[test]
fn ending_a_process_drops_its_tasks_and_closes_its_doors() {
    let (world, host, runtime) = world_with_host(1);
    let alive = Arc::new(());
    let held = alive.clone();
    let sleeping = runtime.sleep(Duration::from_secs(1));
    world.spawn(
        host,
        "held",
        Box::pin(async move {
            sleeping.await;
            drop(held);
        }),
    );
    world.run(MILLISECOND, || false);
    assert_eq!(Arc::strong_count(&alive), 2);
    assert!(world.end_process(host));
    assert_eq!(Arc::strong_count(&alive), 1);
    assert!(!world.end_process(host));
    assert!(runtime.spawn("late", Box::pin(async {})).is_finished());
    world.start_process(host);
    assert!(runtime.spawn("of the older process", Box::pin(async {})).is_finished());
}

#[test]
fn a_process_that_dies_ends_after_its_poll() {
    let (world, host, runtime) = world_with_host(1);
    let (dying, steps) = (runtime.clone(), Arc::new(AtomicU64::new(0)));
    let count = steps.clone();
    world.spawn(
        host,
        "dies",
        Box::pin(async move {
            dying.die("told to");
            count.fetch_add(1, Ordering::Relaxed);
            dying.sleep(Duration::from_millis(1)).await;
            count.fetch_add(1, Ordering::Relaxed);
        }),
    );
    let told = Arc::new(Mutex::new(None));
    let (heard, listener) = (told.clone(), world.clone());
    world.drive("undertaker", async move { *heard.lock() = Some(listener.death().await) });
    world.run(SECOND, || false);
    assert_eq!(steps.load(Ordering::Relaxed), 1);
    assert_eq!(*told.lock(), Some(Death { host, reason: "told to".into() }));
    assert!(!world.is_up(host));
}

#[test]
fn a_paused_machine_stands_still_and_then_finds_time_gone() {
    let (world, host, runtime) = world_with_host(1);
    let task = runtime.clone();
    let woke = Arc::new(AtomicU64::new(0));
    let out = woke.clone();
    world.spawn(
        host,
        "paused",
        Box::pin(async move {
            task.sleep(Duration::from_secs(1)).await;
            out.store(task.mono().0, Ordering::Relaxed);
        }),
    );
    world.pause(host, 5 * SECOND);
    world.run(20 * SECOND, || false);
    // The pause held even the first poll, so the second of sleep began after it.
    assert_eq!(woke.load(Ordering::Relaxed), 6 * SECOND);
}

#[test]
fn a_slow_machine_runs_one_poll_at_a_time() {
    let (world, host, runtime) = world_with_host(1);
    world.set_poll_cost(host, MILLISECOND);
    let done = Arc::new(AtomicU64::new(0));
    for _ in 0..10 {
        let (done, world) = (done.clone(), world.clone());
        runtime.spawn("step", Box::pin(async move { _ = done.fetch_max(world.now(), Ordering::Relaxed) }));
    }
    world.run(SECOND, || false);
    assert_eq!(done.load(Ordering::Relaxed), 9 * MILLISECOND);
}

#[test]
fn an_aborted_task_runs_no_more() {
    let (world, _, runtime) = world_with_host(1);
    let doors = runtime.clone();
    let handle = runtime.spawn(
        "aborted",
        Box::pin(async move {
            doors.sleep(Duration::from_secs(1)).await;
            panic!("it was aborted");
        }),
    );
    world.run(MILLISECOND, || false);
    assert!(!handle.is_finished());
    handle.abort();
    assert!(handle.is_finished());
    world.run(10 * SECOND, || false);
}

#[test]
fn closing_frees_what_tasks_hold() {
    let (world, host, runtime) = world_with_host(1);
    let held = Arc::new(());
    let (inner, doors) = (held.clone(), runtime.clone());
    world.spawn(
        host,
        "circle",
        Box::pin(async move {
            let _inner = inner;
            let _doors = doors;
            std::future::pending::<()>().await;
        }),
    );
    world.run(MILLISECOND, || false);
    world.close();
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn buggify_is_silent_until_turned_on() {
    let (world, _, runtime) = world_with_host(3);
    assert!((0..1000).all(|_| !runtime.buggify("point")));
    world.set_buggify(true);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    assert!(names.iter().any(|name| (0..1000).any(|_| runtime.buggify(name))));
}
