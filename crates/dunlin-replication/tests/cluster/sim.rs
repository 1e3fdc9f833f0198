//! A one-thread executor on virtual time, enough to run a few nodes.

use dunlin_types::runtime::{BoxFuture, Clock, PlantedBug, Rng, Runtime, TaskControl, TaskHandle};
use dunlin_types::{Micros, Mono};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

#[derive(Default)]
pub struct Sim {
    now: AtomicU64,
    state: Mutex<State>,
    random: AtomicU64,
    pub planted: Mutex<Option<PlantedBug>>,
}

#[derive(Default)]
struct State {
    tasks: Vec<BoxFuture<'static, ()>>,
    timers: BTreeMap<(u64, u64), Option<Waker>>,
    timer_last: u64,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Sim {
    pub fn now_ms(&self) -> u64 {
        self.now.load(Ordering::SeqCst) / 1_000_000
    }

    /// Runs everything until `main` ends; time jumps to the next timer when nothing else can go on.
    pub fn run<T>(&self, main: impl Future<Output = T>) -> T {
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&flag));
        let mut context = Context::from_waker(&waker);
        let mut main = std::pin::pin!(main);
        let mut tasks: Vec<BoxFuture<'static, ()>> = Vec::new();
        loop {
            flag.0.store(false, Ordering::SeqCst);
            if let Poll::Ready(output) = main.as_mut().poll(&mut context) {
                self.state.lock().unwrap().tasks.append(&mut tasks);
                return output;
            }
            tasks.append(&mut self.state.lock().unwrap().tasks);
            tasks.retain_mut(|task| task.as_mut().poll(&mut context).is_pending());
            let spawned = !self.state.lock().unwrap().tasks.is_empty();
            if !flag.0.load(Ordering::SeqCst) && !spawned {
                self.fire_next();
            }
        }
    }

    fn fire_next(&self) {
        let mut state = self.state.lock().unwrap();
        let ((at, _), waker) =
            state.timers.pop_first().expect("a task waits for something that no timer will bring");
        self.now.fetch_max(at, Ordering::SeqCst);
        waker.into_iter().for_each(Waker::wake);
    }
}

/// A node's runtime over the shared simulation.
pub struct NodeRuntime(pub Arc<Sim>);

impl Clock for NodeRuntime {
    fn mono(&self) -> Mono {
        Mono(self.0.now.load(Ordering::SeqCst))
    }
    fn wall(&self) -> Micros {
        Micros(1_700_000_000_000_000 + self.0.now.load(Ordering::SeqCst) / 1000)
    }
}

impl Rng for NodeRuntime {
    fn random(&self) -> u64 {
        let mut x = self.0.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^ (x >> 27)
    }
}

struct Forgotten;

impl TaskControl for Forgotten {
    fn abort(&self) {}
    fn is_finished(&self) -> bool {
        false
    }
}

impl Runtime for NodeRuntime {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let at = self.0.now.load(Ordering::SeqCst) + duration.as_nanos() as u64;
        Box::pin(Sleep { sim: Arc::clone(&self.0), at, key: None })
    }

    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) -> TaskHandle {
        self.0.state.lock().unwrap().tasks.push(future);
        Box::new(Forgotten)
    }

    fn die(&self, reason: &str) {
        panic!("{reason}");
    }

    fn planted(&self, bug: PlantedBug) -> bool {
        *self.0.planted.lock().unwrap() == Some(bug)
    }
}

struct Sleep {
    sim: Arc<Sim>,
    at: u64,
    key: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.sim.now.load(Ordering::SeqCst) >= self.at {
            return Poll::Ready(());
        }
        let sim = Arc::clone(&self.sim);
        let mut state = sim.state.lock().unwrap();
        state.timer_last += 1;
        let key = self.key.unwrap_or((self.at, state.timer_last));
        self.key = Some(key);
        state.timers.insert(key, Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.sim.state.lock().unwrap().timers.remove(&key);
        }
    }
}
