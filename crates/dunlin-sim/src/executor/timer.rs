//! Timers: a slab of wakers, and the future that waits for one.

use super::{HostId, Nanos, World};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Names one use of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TimerId {
    slot: u32,
    generation: u32,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    waker: Option<Waker>,
}

/// All timers of a world. When they are due stands in the world's schedule.
#[derive(Default)]
pub(super) struct Timers {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Timers {
    pub fn insert(&mut self, waker: Waker) -> TimerId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        self.slots[slot as usize].waker = Some(waker);
        TimerId { slot, generation: self.slots[slot as usize].generation }
    }

    pub fn set_waker(&mut self, id: TimerId, waker: &Waker) {
        if let Some(slot) = self.slots.get_mut(id.slot as usize).filter(|s| s.generation == id.generation) {
            match &mut slot.waker {
                Some(old) if old.will_wake(waker) => {}
                other => *other = Some(waker.clone()),
            }
        }
    }

    /// The waker of a timer that is due, unless it was cancelled.
    pub fn fire(&mut self, id: TimerId) -> Option<Waker> {
        self.slots.get_mut(id.slot as usize).filter(|s| s.generation == id.generation)?.waker.take()
    }

    pub fn remove(&mut self, id: TimerId) -> Option<Waker> {
        let slot = self.slots.get_mut(id.slot as usize).filter(|s| s.generation == id.generation)?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        slot.waker.take()
    }
}

/// Ends after a time on a machine's own clock. Dropping it cancels the timer.
pub struct Sleep {
    world: Arc<World>,
    host: HostId,
    duration: Nanos,
    started: Option<(TimerId, Nanos)>,
}

impl Sleep {
    pub(super) fn new(world: Arc<World>, host: HostId, duration: Nanos) -> Sleep {
        Sleep { world, host, duration, started: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.started {
            None => {
                let started = self.world.start_timer(self.host, self.duration, cx.waker().clone());
                self.started = Some(started);
                Poll::Pending
            }
            Some((id, due)) => {
                if self.world.now() >= due {
                    self.started = None;
                    self.world.remove_timer(id);
                    return Poll::Ready(());
                }
                self.world.set_timer_waker(id, cx.waker());
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((id, _)) = self.started {
            self.world.remove_timer(id);
        }
    }
}
