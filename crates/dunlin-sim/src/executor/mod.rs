//! The executor: one thread, virtual nanoseconds, tasks that belong to machines.
//!
//! A discrete-event simulation: ready tasks run in random order at one instant; when none is left, the
//! world moves to the next event on its schedule (a timer, a message, the end of a pause). A machine can be
//! paused, slowed, have its clocks bent, and lose its process with all its tasks between any two polls.
//!
//! Invariant: the world's lock is never held while foreign code runs (polls, drops, wakers, callbacks).

mod host;
mod task;
mod timer;
mod trace;

pub use host::WALL_START_MICROS;
pub use timer::Sleep;
pub use trace::Trace;

use crate::random::{Purpose, Stream, hash};
use dunlin_types::runtime::{BoxFuture, PlantedBug};
use host::Host;
use parking_lot::Mutex;
use std::cell::Cell;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use task::{Removed, TaskId, Tasks, Woken};
use timer::{TimerId, Timers};
use tokio::sync::Notify;

/// Virtual time since the start of the run, or a span of it, in nanoseconds.
pub type Nanos = u64;
/// A microsecond.
pub const MICROSECOND: Nanos = 1_000;
/// A millisecond.
pub const MILLISECOND: Nanos = 1_000_000;
/// A second.
pub const SECOND: Nanos = 1_000_000_000;

/// A machine of the world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct HostId(pub u32);

/// The machine of the test's own tasks: nothing bad happens to it.
pub const DRIVER: HostId = HostId(0);

/// How often a point that is active in a run takes its rare branch.
const BUGGIFY_CHANCE: f64 = 0.05;
/// Of a hundred points, how many are active in a run.
const BUGGIFY_ACTIVE_PERCENT: u64 = 30;

thread_local! {
    static PLACE: Cell<(Nanos, u32)> = const { Cell::new((0, 0)) };
}

/// Virtual time and machine of what runs on this thread, for log lines.
pub fn place() -> (Nanos, HostId) {
    let (now, host) = PLACE.get();
    (now, HostId(host))
}

/// One simulated world.
pub struct World {
    core: Mutex<Core>,
    woken: Woken,
    deaths: Mutex<VecDeque<Death>>,
    died: Notify,
    seed: u64,
    planted: Option<PlantedBug>,
}

/// A process that ended by its own doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Where.
    pub host: HostId,
    /// Why.
    pub reason: String,
}

struct Core {
    now: Nanos,
    schedule: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    tasks: Tasks,
    timers: Timers,
    hosts: Vec<Host>,
    order: Stream,
    chances: Vec<Stream>,
    buggify: Stream,
    buggify_on: bool,
    trace: Trace,
    polls: u64,
}

enum Event {
    Timer(TimerId),
    Release(HostId),
    Call(Box<dyn FnOnce() + Send>),
}

struct Scheduled {
    at: Nanos,
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Why [`World::run`] came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// The condition holds.
    Done,
    /// The time is up.
    TimeUp,
    /// Nothing is left that could ever happen.
    Dead,
    /// Tasks keep each other awake without time passing.
    Spinning,
}

/// Polls at one instant beyond which tasks count as spinning.
const POLLS_AT_ONCE_MAX: u64 = 300_000;

impl World {
    /// A world with nothing but the driver's machine.
    pub fn new(seed: u64, planted: Option<PlantedBug>) -> Arc<World> {
        let core = Core {
            now: 0,
            schedule: BinaryHeap::new(),
            scheduled: 0,
            tasks: Tasks::default(),
            timers: Timers::default(),
            hosts: Vec::new(),
            order: Stream::new(seed, Purpose::Schedule),
            chances: Vec::new(),
            buggify: Stream::new(seed, Purpose::Buggify),
            buggify_on: false,
            trace: Trace::default(),
            polls: 0,
        };
        let world = Arc::new(World {
            core: Mutex::new(core),
            woken: Woken::default(),
            deaths: Mutex::default(),
            died: Notify::new(),
            seed,
            planted,
        });
        let driver = world.add_host();
        assert_eq!(driver, DRIVER);
        world.start_process(driver);
        world
    }

    /// Adds a machine; no process runs on it yet.
    pub fn add_host(&self) -> HostId {
        let mut core = self.core.lock();
        let id = core.hosts.len() as u32;
        core.hosts.push(Host::default());
        core.chances.push(Stream::new(self.seed, Purpose::Node(id)));
        HostId(id)
    }

    /// The run's seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The bug planted in the run.
    pub fn planted(&self) -> Option<PlantedBug> {
        self.planted
    }

    /// Virtual time.
    pub fn now(&self) -> Nanos {
        self.core.lock().now
    }

    /// Polls so far: the work done.
    pub fn polls(&self) -> u64 {
        self.core.lock().polls
    }

    /// The trace so far.
    pub fn trace(&self) -> Trace {
        self.core.lock().trace.clone()
    }

    /// Mixes a happening into the trace and counts it.
    pub fn note(&self, what: &'static str, words: &[u64]) {
        let mut core = self.core.lock();
        let now = core.now;
        core.trace.count(what);
        core.trace.mix_text(what);
        core.trace.mix(&[now]);
        core.trace.mix(words);
    }

    /// Keeps the numbers that come with a happening until [`World::take_recorded`].
    pub fn record(&self, what: &'static str, a: u64, b: u64) {
        self.core.lock().trace.record(what, a, b);
    }

    /// Takes what was kept.
    pub fn take_recorded(&self) -> Vec<(&'static str, u64, u64)> {
        self.core.lock().trace.take_recorded()
    }

    /// Runs a callback at an instant; at once if it has passed.
    pub fn at(&self, time: Nanos, callback: impl FnOnce() + Send + 'static) {
        self.core.lock().plan(time, Event::Call(Box::new(callback)));
    }

    /// Runs a callback after a time.
    pub fn after(&self, delay: Nanos, callback: impl FnOnce() + Send + 'static) {
        let mut core = self.core.lock();
        let at = core.now.saturating_add(delay);
        core.plan(at, Event::Call(Box::new(callback)));
    }

    /// Waits on the world's own clock.
    pub fn sleep(self: &Arc<Self>, duration: Nanos) -> Sleep {
        self.sleep_on(DRIVER, duration)
    }

    /// Waits on a machine's clock.
    pub fn sleep_on(self: &Arc<Self>, host: HostId, duration: Nanos) -> Sleep {
        Sleep::new(self.clone(), host, duration)
    }

    fn start_timer(&self, host: HostId, duration: Nanos, waker: Waker) -> (TimerId, Nanos) {
        let mut core = self.core.lock();
        let due = core.now.saturating_add(core.hosts[host.0 as usize].world_duration(duration));
        let id = core.timers.insert(waker);
        core.plan(due, Event::Timer(id));
        (id, due)
    }

    fn set_timer_waker(&self, id: TimerId, waker: &Waker) {
        self.core.lock().timers.set_waker(id, waker);
    }

    fn remove_timer(&self, id: TimerId) {
        let waker = self.core.lock().timers.remove(id);
        drop(waker);
    }

    /// Starts a process on a machine; its number. Tasks may run there from now on.
    pub fn start_process(&self, host: HostId) -> u32 {
        let mut core = self.core.lock();
        let host = &mut core.hosts[host.0 as usize];
        assert!(!host.up, "one process a machine");
        host.up = true;
        host.condemned = None;
        host.process
    }

    /// Ends the process of a machine: every task of it is dropped where it stands. False if none runs.
    pub fn end_process(&self, host: HostId) -> bool {
        let mut core = self.core.lock();
        let machine = &mut core.hosts[host.0 as usize];
        if !machine.up {
            return false;
        }
        machine.up = false;
        machine.process += 1;
        machine.held_until = 0;
        machine.waiting.clear();
        let now = core.now;
        core.trace.mix(&[0xdead, u64::from(host.0), now]);
        let futures = core.tasks.remove_host(host);
        drop(core);
        drop(futures);
        true
    }

    /// Whether that process of the machine runs and is not about to end.
    pub fn is_running(&self, host: HostId, process: u32) -> bool {
        let core = self.core.lock();
        let host = &core.hosts[host.0 as usize];
        host.up && host.process == process && host.condemned.is_none()
    }

    /// Whether any process runs on the machine.
    pub fn is_up(&self, host: HostId) -> bool {
        self.core.lock().hosts[host.0 as usize].up
    }

    /// Ends a process as soon as the running poll is over; [`World::death`] tells of it.
    pub fn condemn(&self, host: HostId, reason: &str) {
        let mut core = self.core.lock();
        let machine = &mut core.hosts[host.0 as usize];
        if machine.up && machine.condemned.is_none() {
            machine.condemned = Some(reason.to_owned());
        }
    }

    /// Waits for a process to end by its own doing.
    pub async fn death(&self) -> Death {
        loop {
            if let Some(death) = self.deaths.lock().pop_front() {
                return death;
            }
            self.died.notified().await;
        }
    }

    /// Lets no task of the machine run for a while; its clocks go on.
    pub fn pause(&self, host: HostId, duration: Nanos) {
        let mut core = self.core.lock();
        let until = core.now.saturating_add(duration);
        core.hosts[host.0 as usize].hold(until);
        core.trace.mix(&[0x5709, u64::from(host.0), until]);
    }

    /// Keeps a machine busy: what its process just did took this long.
    pub fn charge(&self, host: HostId, cost: Nanos) {
        let mut core = self.core.lock();
        let until = core.now.max(core.hosts[host.0 as usize].held_until).saturating_add(cost);
        core.hosts[host.0 as usize].hold(until);
    }

    /// Lets each poll on the machine take this long; 0 is the normal speed.
    pub fn set_poll_cost(&self, host: HostId, cost: Nanos) {
        self.core.lock().hosts[host.0 as usize].poll_cost = cost;
    }

    /// Lets the machine's clocks run faster by parts per million.
    pub fn set_drift(&self, host: HostId, drift_ppm: i64) {
        let mut core = self.core.lock();
        let now = core.now;
        core.hosts[host.0 as usize].set_drift(now, drift_ppm);
    }

    /// Sets the error of the machine's wall clock.
    pub fn set_wall_offset(&self, host: HostId, micros: i64) {
        self.core.lock().hosts[host.0 as usize].wall_offset_micros = micros;
    }

    /// Monotonic time of a machine.
    pub fn mono(&self, host: HostId) -> Nanos {
        let core = self.core.lock();
        core.hosts[host.0 as usize].mono(core.now)
    }

    /// Wall time of a machine, microseconds since the epoch.
    pub fn wall_micros(&self, host: HostId) -> u64 {
        let core = self.core.lock();
        core.hosts[host.0 as usize].wall_micros(core.now)
    }

    /// 64 random bits of the machine's stream.
    pub fn random(&self, host: HostId) -> u64 {
        self.core.lock().chances[host.0 as usize].random()
    }

    /// Turns rare branches on or off.
    pub fn set_buggify(&self, on: bool) {
        self.core.lock().buggify_on = on;
    }

    /// Whether to take the rare branch at that point.
    pub fn buggify(&self, point: &'static str) -> bool {
        let mut core = self.core.lock();
        if !core.buggify_on || hash(self.seed, point) % 100 >= BUGGIFY_ACTIVE_PERCENT {
            return false;
        }
        let taken = core.buggify.chance(BUGGIFY_CHANCE);
        if taken {
            core.trace.count_branch(point);
        }
        taken
    }

    /// Runs a future as a task of a machine.
    pub fn spawn(&self, host: HostId, name: &'static str, future: BoxFuture<'static, ()>) -> SpawnedTask {
        let id = self.core.lock().tasks.insert(host, name, future, &self.woken);
        self.woken.lock().push(id);
        SpawnedTask(id)
    }

    /// Runs a future as a task of the driver.
    pub fn drive(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn(DRIVER, name, Box::pin(future));
    }

    /// Drops a task's future; if it is the running one, when its poll is over.
    pub fn abort(&self, task: SpawnedTask) {
        let future = self.core.lock().tasks.remove(task.0);
        drop(future);
    }

    /// Whether the task has ended or was dropped.
    pub fn is_finished(&self, task: SpawnedTask) -> bool {
        self.core.lock().tasks.host(task.0).is_none()
    }

    /// Tasks of a machine by name.
    pub fn task_names(&self, host: HostId) -> BTreeMap<&'static str, u64> {
        self.core.lock().tasks.names(host)
    }

    /// Runs until `done` (asked whenever nothing more can happen at an instant) or until `until`.
    pub fn run(&self, until: Nanos, mut done: impl FnMut() -> bool) -> Stopped {
        let mut ready: Vec<TaskId> = Vec::new();
        loop {
            if !self.run_ready(&mut ready) {
                return Stopped::Spinning;
            }
            if done() {
                return Stopped::Done;
            }
            let event = {
                let mut core = self.core.lock();
                match core.schedule.peek() {
                    None => return Stopped::Dead,
                    Some(Reverse(next)) if next.at > until => {
                        core.now = until;
                        return Stopped::TimeUp;
                    }
                    Some(_) => {}
                }
                let Some(Reverse(next)) = core.schedule.pop() else { return Stopped::Dead };
                core.now = next.at;
                next.event
            };
            self.happen(event, &mut ready);
        }
    }

    fn happen(&self, event: Event, ready: &mut Vec<TaskId>) {
        match event {
            Event::Timer(id) => {
                let waker = self.core.lock().timers.fire(id);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Event::Release(host) => {
                let mut core = self.core.lock();
                let host = &mut core.hosts[host.0 as usize];
                host.release_planned = false;
                ready.append(&mut host.waiting);
            }
            Event::Call(callback) => callback(),
        }
    }

    /// Polls ready tasks, in random order, until none is left at this instant. False if that does not end.
    fn run_ready(&self, ready: &mut Vec<TaskId>) -> bool {
        for round in 0.. {
            if round > POLLS_AT_ONCE_MAX {
                break;
            }
            let woken = std::mem::take(&mut *self.woken.lock());
            let mut core = self.core.lock();
            ready.extend(woken.into_iter().filter(|id| core.tasks.queue(*id)));
            if ready.is_empty() {
                return true;
            }
            let at = core.order.below(ready.len() as u64) as usize;
            let id = ready.swap_remove(at);
            let Some(host) = core.tasks.host(id) else { continue };
            if core.is_held(host, id) {
                continue;
            }
            let Some((future, waker, name)) = core.tasks.take(id) else { continue };
            core.polls += 1;
            let now = core.now;
            core.trace.mix(&[now, id.word(), u64::from(host.0)]);
            drop(core);
            PLACE.set((now, host.0));
            tracing::trace!(task = name, "poll");
            let removed = self.poll(id, future, &waker);
            drop(removed);
            self.bury(host);
            if round + 10 > POLLS_AT_ONCE_MAX {
                tracing::error!(task = name, "spinning");
            }
        }
        false
    }

    fn poll(&self, id: TaskId, mut future: BoxFuture<'static, ()>, waker: &Waker) -> (Removed, Removed) {
        let done = future.as_mut().poll(&mut Context::from_waker(waker)).is_ready();
        let mut core = self.core.lock();
        if done { (core.tasks.remove(id), Some(future)) } else { (core.tasks.put_back(id, future), None) }
    }

    /// Ends the process that condemned itself in the poll that is just over.
    fn bury(&self, host: HostId) {
        let reason = self.core.lock().hosts[host.0 as usize].condemned.take();
        let Some(reason) = reason else { return };
        self.end_process(host);
        self.deaths.lock().push_back(Death { host, reason });
        self.died.notify_one();
    }

    /// Drops everything that is left, so that nothing keeps the world alive in a circle.
    pub fn close(&self) {
        loop {
            let (tasks, schedule) = {
                let mut core = self.core.lock();
                for host in &mut core.hosts {
                    host.up = false;
                    host.process += 1;
                }
                (core.tasks.remove_all(), std::mem::take(&mut core.schedule))
            };
            if tasks.is_empty() && schedule.is_empty() {
                return;
            }
        }
    }
}

/// Names a spawned task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpawnedTask(TaskId);

impl Core {
    fn plan(&mut self, at: Nanos, event: Event) {
        self.scheduled += 1;
        let scheduled = Scheduled { at: at.max(self.now), number: self.scheduled, event };
        self.schedule.push(Reverse(scheduled));
    }

    /// Whether the task has to wait, because its machine stands still or is busy.
    fn is_held(&mut self, host: HostId, id: TaskId) -> bool {
        let now = self.now;
        let machine = &mut self.hosts[host.0 as usize];
        if machine.held_until > now {
            machine.waiting.push(id);
            let until = machine.held_until;
            if !std::mem::replace(&mut machine.release_planned, true) {
                self.plan(until, Event::Release(host));
            }
            return true;
        }
        if machine.poll_cost > 0 {
            machine.held_until = now + machine.poll_cost;
        }
        false
    }
}

#[cfg(test)]
mod tests;
