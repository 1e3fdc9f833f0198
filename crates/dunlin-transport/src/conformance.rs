//! The suite that every implementation of the `Transport` seam has to pass (being written).
