//! Counters that many threads raise without passing a cache line around.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const STRIPES: usize = 32;

#[derive(Default)]
#[repr(align(64))]
struct Stripe(AtomicU64);

/// A sum of one part per thread: a read on the fast path must not cost a locked instruction just to be
/// counted. Up to 32 threads it is exact; beyond, threads that share a part may lose a count now and then.
#[derive(Default)]
pub(crate) struct Counter([Stripe; STRIPES]);

impl Counter {
    /// Adds one; returns the thread's part.
    #[inline]
    pub(crate) fn add(&self) -> u64 {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) });
        let stripe = STRIPE.with(|stripe| {
            if stripe.get() == usize::MAX {
                stripe.set(THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES);
            }
            stripe.get()
        });
        let part = &self.0[stripe % STRIPES].0;
        let count = part.load(Ordering::Relaxed) + 1;
        part.store(count, Ordering::Relaxed);
        count
    }

    /// The sum.
    pub(crate) fn get(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum()
    }
}
