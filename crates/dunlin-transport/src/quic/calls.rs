//! Calls in flight to one peer, by id, with their deadlines. Pure.

use super::frame::lane_index;
use crate::seam::Lane;
use tokio::time::Instant;

/// Calls in flight per peer and lane.
pub(super) const CALLS_MAX: usize = 4096;

/// Bytes in flight per peer and lane beyond which a lane takes no more calls; one message may
/// reach over it.
fn bytes_max(lane: Lane) -> usize {
    match lane {
        Lane::Gossip => 4 << 20,
        Lane::Request => 16 << 20,
        Lane::Bulk => 8 << 20,
    }
}

/// One call that waits for its answer.
pub(super) struct Call<T> {
    pub lane: Lane,
    pub bytes: usize,
    pub deadline: Instant,
    pub answer: T,
}

struct Slot<T> {
    generation: u32,
    call: Option<Call<T>>,
}

#[derive(Clone, Copy, Default)]
struct Load {
    calls: usize,
    bytes: usize,
}

/// A slab of calls. Invariant: an id names one call for ever; its slot's generation grows when the
/// call leaves, so that a late answer finds nothing.
pub(super) struct Calls<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    load: [Load; 3],
    /// No deadline in the slab is earlier.
    earliest: Option<Instant>,
}

impl<T> Calls<T> {
    pub fn new() -> Self {
        Calls { slots: Vec::new(), free: Vec::new(), load: [Load::default(); 3], earliest: None }
    }

    /// Whether the lane has room for one more call.
    pub fn has_room(&self, lane: Lane) -> bool {
        let load = self.load[lane_index(lane)];
        load.calls < CALLS_MAX && load.bytes < bytes_max(lane)
    }

    /// Adds a call; its id.
    pub fn insert(&mut self, call: Call<T>) -> u64 {
        let load = &mut self.load[lane_index(call.lane)];
        load.calls += 1;
        load.bytes += call.bytes;
        self.earliest = Some(self.earliest.map_or(call.deadline, |earliest| earliest.min(call.deadline)));
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(Slot { generation: 0, call: None });
                (self.slots.len() - 1) as u32
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.call = Some(call);
        u64::from(slot.generation) << 32 | u64::from(index)
    }

    /// Takes the call of that id out, if it is still there.
    pub fn take(&mut self, id: u64) -> Option<Call<T>> {
        let index = id as u32;
        let slot = self.slots.get_mut(index as usize)?;
        if slot.generation != (id >> 32) as u32 {
            return None;
        }
        let call = slot.call.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        let load = &mut self.load[lane_index(call.lane)];
        load.calls -= 1;
        load.bytes -= call.bytes;
        Some(call)
    }

    /// Takes out every call whose deadline has passed.
    pub fn take_expired(&mut self, now: Instant) -> Vec<Call<T>> {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return Vec::new();
        }
        let expired = self.take_where(|call| call.deadline <= now);
        self.earliest =
            self.slots.iter().filter_map(|slot| slot.call.as_ref()).map(|call| call.deadline).min();
        expired
    }

    /// Takes out every call.
    pub fn take_all(&mut self) -> Vec<Call<T>> {
        self.earliest = None;
        self.take_where(|_| true)
    }

    fn take_where(&mut self, wanted: impl Fn(&Call<T>) -> bool) -> Vec<Call<T>> {
        let ids: Vec<u64> = (0..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.call.as_ref().is_some_and(&wanted))
            .map(|(index, slot): (u64, _)| u64::from(slot.generation) << 32 | index)
            .collect();
        ids.into_iter().filter_map(|id| self.take(id)).collect()
    }

    /// Calls in flight on all lanes.
    pub fn len(&self) -> usize {
        self.load.iter().map(|load| load.calls).sum()
    }

    /// Bytes in flight on all lanes.
    pub fn bytes(&self) -> usize {
        self.load.iter().map(|load| load.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn call(now: Instant, ms: u64, answer: u32) -> Call<u32> {
        Call { lane: Lane::Request, bytes: 100, deadline: now + Duration::from_millis(ms), answer }
    }

    #[test]
    fn a_late_answer_finds_nothing() {
        let now = Instant::now();
        let mut calls = Calls::new();
        let first = calls.insert(call(now, 10, 1));
        assert_eq!(calls.take(first).map(|c| c.answer), Some(1));
        let second = calls.insert(call(now, 10, 2));
        assert_ne!(first, second);
        assert!(calls.take(first).is_none());
        assert!(calls.take(99).is_none());
        assert_eq!(calls.take(second).map(|c| c.answer), Some(2));
        assert_eq!((calls.len(), calls.bytes()), (0, 0));
    }

    #[test]
    fn deadlines_expire_once() {
        let now = Instant::now();
        let mut calls = Calls::new();
        for ms in [30, 10, 20] {
            calls.insert(call(now, ms, ms as u32));
        }
        let expired = |calls: &mut Calls<u32>, ms| {
            let mut all: Vec<u32> =
                calls.take_expired(now + Duration::from_millis(ms)).into_iter().map(|c| c.answer).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(expired(&mut calls, 9), []);
        assert_eq!(expired(&mut calls, 20), [10, 20]);
        assert_eq!(expired(&mut calls, 29), []);
        assert_eq!(expired(&mut calls, 30), [30]);
        assert_eq!(expired(&mut calls, 1000), []);
    }

    #[test]
    fn lanes_are_bounded_by_count_and_bytes() {
        let now = Instant::now();
        let mut calls = Calls::new();
        for _ in 0..CALLS_MAX {
            assert!(calls.has_room(Lane::Request));
            calls.insert(call(now, 1, 0));
        }
        assert!(!calls.has_room(Lane::Request));
        assert!(calls.has_room(Lane::Gossip));
        calls.insert(Call { bytes: 64 << 20, lane: Lane::Bulk, ..call(now, 1, 0) });
        assert!(!calls.has_room(Lane::Bulk));
        assert_eq!(calls.take_all().len(), CALLS_MAX + 1);
        assert!(calls.has_room(Lane::Request) && calls.has_room(Lane::Bulk));
    }
}
