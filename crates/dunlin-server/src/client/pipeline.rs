//! Statements of one connection under way: different keys at once, answers in order.

use dunlin_cql::Reply;
use dunlin_types::runtime::BoxFuture;
use dunlin_types::{Key, TableId};
use futures::stream::{FuturesUnordered, Stream};
use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A key that a statement touches.
pub(super) type Touched = (TableId, Key);

type Running = BoxFuture<'static, (u64, Option<Touched>, Reply)>;

/// The statements under way, oldest first.
#[derive(Default)]
pub(super) struct Pipeline {
    slots: VecDeque<Option<Reply>>,
    /// Number of the oldest slot.
    first: u64,
    running: FuturesUnordered<Running>,
    keys: BTreeSet<Touched>,
    /// Of answers that wait for those before them.
    held_bytes: usize,
}

impl Pipeline {
    /// Whether nothing is under way or waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Statements taken and not yet sent.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// About how many bytes answers hold that wait for those before them.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Statements being worked on.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Whether an earlier statement that is not done touches the same key.
    pub fn conflicts(&self, touched: &Option<Touched>) -> bool {
        touched.as_ref().is_some_and(|key| self.keys.contains(key))
    }

    /// A statement whose answer is known.
    pub fn push_done(&mut self, reply: Reply) {
        self.held_bytes += reply.weight();
        self.slots.push_back(Some(reply));
    }

    /// A statement to be worked on beside the others.
    pub fn push_running(
        &mut self,
        touched: Option<Touched>,
        reply: impl Future<Output = Reply> + Send + 'static,
    ) {
        let number = self.first + self.slots.len() as u64;
        self.slots.push_back(None);
        if let Some(key) = &touched {
            self.keys.insert(key.clone());
        }
        self.running.push(Box::pin(async move { (number, touched, reply.await) }));
    }

    /// Lets the statements go on. Ready when at least one got done; pending if none did or none runs.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut done = false;
        while let Poll::Ready(Some((number, touched, reply))) = Pin::new(&mut self.running).poll_next(context)
        {
            if let Some(key) = touched {
                self.keys.remove(&key);
            }
            self.held_bytes += reply.weight();
            let place = usize::try_from(number - self.first).ok().and_then(|place| self.slots.get_mut(place));
            *place.expect("a slot stays until its reply is taken") = Some(reply);
            done = true;
        }
        if done { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The next answer in order, if it is known.
    pub fn take_reply(&mut self) -> Option<Reply> {
        let reply = self.slots.front_mut()?.take()?;
        self.held_bytes -= reply.weight();
        self.slots.pop_front();
        self.first += 1;
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::channel::oneshot;
    use std::task::Waker;

    fn reply(n: usize) -> Reply {
        Reply::ok_with("n", n.to_string())
    }

    #[test]
    fn answers_come_in_order_whatever_is_done_first() {
        let mut pipeline = Pipeline::default();
        let key = |n: u8| Some((TableId(1), Key::new(vec![n]).unwrap()));
        let mut senders = Vec::new();
        for n in 0..3 {
            let (sender, receiver) = oneshot::channel::<()>();
            senders.push(sender);
            pipeline.push_running(key(n as u8), async move {
                receiver.await.unwrap();
                reply(n)
            });
        }
        pipeline.push_done(reply(3));
        let mut context = Context::from_waker(Waker::noop());
        assert!(pipeline.poll(&mut context).is_pending());
        assert!(pipeline.conflicts(&key(2)));
        senders.pop().unwrap().send(()).unwrap();
        assert!(pipeline.poll(&mut context).is_ready());
        assert!(!pipeline.conflicts(&key(2)));
        assert!(pipeline.conflicts(&key(0)));
        assert_eq!(pipeline.take_reply(), None);
        assert!(pipeline.held_bytes() > 0, "two answers wait");
        for sender in senders {
            sender.send(()).unwrap();
        }
        assert!(pipeline.poll(&mut context).is_ready());
        let order: Vec<_> = std::iter::from_fn(|| pipeline.take_reply()).collect();
        assert_eq!(order, (0..4).map(reply).collect::<Vec<_>>());
        assert!(pipeline.is_empty());
        assert_eq!(pipeline.held_bytes(), 0);
    }
}
