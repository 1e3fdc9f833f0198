//! Whole clusters in one thread under a seed.
