//! What can be set about gossip.

use dunlin_types::ClusterId;
use std::net::SocketAddr;
use std::time::Duration;

/// Settings of one node's gossip. All nodes of a cluster should agree on the times.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's name; nodes of another name are refused.
    pub cluster_name: String,
    /// The cluster this node belongs to; `None` until it has found or founded one.
    pub cluster: Option<ClusterId>,
    /// Where peers reach this node; never chosen as a peer.
    pub address: SocketAddr,
    /// Addresses to begin with, and to fall back on so that splits heal.
    pub seeds: Vec<SocketAddr>,
    /// Time between two ticks.
    pub interval: Duration,
    /// Live peers of one round.
    pub fanout: usize,
    /// Phi at which a peer is convicted. 8 means one false alarm in 10^8 under the model.
    pub phi_threshold: f64,
    /// Silence beyond the usual that is never held against a peer: scheduling, garbage, a busy disk.
    pub acceptable_pause: Duration,
    /// Floor of the standard deviation, so that a very regular peer is not convicted by a hiccup.
    pub deviation_min: Duration,
    /// Ceiling of it, so that a very irregular peer is convicted at all.
    pub deviation_max: Duration,
    /// Heartbeat intervals that the detector remembers of each peer.
    pub window: usize,
    /// Lateness of the own tick, in intervals, from which on the silence is this node's own.
    pub own_pause_intervals: u32,
    /// Bytes of values in one message, about.
    pub delta_bytes_max: usize,
}

impl Config {
    /// The defaults: an exchange with up to three peers every 200 ms; a silent peer is convicted after
    /// about four seconds.
    pub fn new(cluster_name: impl Into<String>, address: SocketAddr, seeds: Vec<SocketAddr>) -> Config {
        Config {
            cluster_name: cluster_name.into(),
            cluster: None,
            address,
            seeds,
            interval: Duration::from_millis(200),
            fanout: 3,
            phi_threshold: 8.0,
            acceptable_pause: Duration::from_secs(2),
            deviation_min: Duration::from_millis(300),
            deviation_max: Duration::from_millis(500),
            window: 100,
            own_pause_intervals: 3,
            delta_bytes_max: 64 << 10,
        }
    }
}
