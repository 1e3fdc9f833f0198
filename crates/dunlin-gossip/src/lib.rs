//! Membership state machine: digests and deltas, generations, phi accrual, peer choice.
