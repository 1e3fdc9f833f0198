//! Tasks and their wakers.

use super::HostId;
use dunlin_types::runtime::BoxFuture;
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::{Wake, Waker};

/// Names one task for ever: the generation of its slot grows when the task leaves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct TaskId {
    pub slot: u32,
    pub generation: u32,
}

impl TaskId {
    /// For the trace.
    pub fn word(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }
}

/// Tasks that were woken since the executor looked last.
pub(super) type Woken = Arc<Mutex<Vec<TaskId>>>;

struct TaskWaker {
    id: TaskId,
    woken: Woken,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.lock().push(self.id);
    }
}

/// A future with its waker. The future is out while it is polled.
struct Task {
    host: HostId,
    name: &'static str,
    queued: bool,
    waker: Waker,
    future: Option<BoxFuture<'static, ()>>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    task: Option<Task>,
}

/// All tasks of a world.
#[derive(Default)]
pub(super) struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

/// A future that was taken out, to be dropped while the world is not locked.
pub(super) type Removed = Option<BoxFuture<'static, ()>>;

impl Tasks {
    pub fn insert(
        &mut self,
        host: HostId,
        name: &'static str,
        future: BoxFuture<'static, ()>,
        woken: &Woken,
    ) -> TaskId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let id = TaskId { slot, generation: self.slots[slot as usize].generation };
        let waker = Waker::from(Arc::new(TaskWaker { id, woken: woken.clone() }));
        self.slots[slot as usize].task =
            Some(Task { host, name, queued: false, waker, future: Some(future) });
        id
    }

    fn get(&mut self, id: TaskId) -> Option<&mut Task> {
        self.slots.get_mut(id.slot as usize).filter(|s| s.generation == id.generation)?.task.as_mut()
    }

    /// Marks a woken task as queued; false if it is already, or is gone.
    pub fn queue(&mut self, id: TaskId) -> bool {
        self.get(id).is_some_and(|task| !std::mem::replace(&mut task.queued, true))
    }

    /// The machine of a task that is still there.
    pub fn host(&mut self, id: TaskId) -> Option<HostId> {
        self.get(id).map(|task| task.host)
    }

    /// Takes the future out to poll it.
    pub fn take(&mut self, id: TaskId) -> Option<(BoxFuture<'static, ()>, Waker, &'static str)> {
        let task = self.get(id)?;
        task.queued = false;
        let future = task.future.take()?;
        Some((future, task.waker.clone(), task.name))
    }

    /// Puts a pending future back; gives it back if its task is gone meanwhile.
    pub fn put_back(&mut self, id: TaskId, future: BoxFuture<'static, ()>) -> Removed {
        match self.get(id) {
            Some(task) => {
                task.future = Some(future);
                None
            }
            None => Some(future),
        }
    }

    pub fn remove(&mut self, id: TaskId) -> Removed {
        let slot = self.slots.get_mut(id.slot as usize).filter(|s| s.generation == id.generation)?;
        let task = slot.task.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        task.future
    }

    /// Takes out every task of a machine.
    pub fn remove_host(&mut self, host: HostId) -> Vec<Removed> {
        let ids: Vec<TaskId> = (0..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.task.as_ref().is_some_and(|task| task.host == host))
            .map(|(index, slot)| TaskId { slot: index, generation: slot.generation })
            .collect();
        ids.into_iter().map(|id| self.remove(id)).collect()
    }

    /// Takes out everything.
    pub fn remove_all(&mut self) -> Vec<Removed> {
        self.free.clear();
        self.slots.drain(..).filter_map(|slot| slot.task).map(|task| task.future).collect()
    }

    /// How many tasks of a machine there are, by name.
    pub fn names(&self, host: HostId) -> std::collections::BTreeMap<&'static str, u64> {
        let mut names = std::collections::BTreeMap::new();
        for task in self.slots.iter().filter_map(|slot| slot.task.as_ref()) {
            if task.host == host {
                *names.entry(task.name).or_default() += 1;
            }
        }
        names
    }
}
