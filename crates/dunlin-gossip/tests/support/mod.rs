//! A cluster of state machines with instant messages and one clock.
#![allow(dead_code, clippy::unwrap_used)] // Each test binary uses a part.

use dunlin_gossip::{Ack, Config, Event, Gossip, Syn, SynAck};
use dunlin_types::runtime::Rng;
use dunlin_types::{Generation, HostId, Mono};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub struct Seeded(AtomicU64);

impl Seeded {
    pub fn new(seed: u64) -> Seeded {
        Seeded(AtomicU64::new(seed))
    }
}

impl Rng for Seeded {
    fn random(&self) -> u64 {
        let x = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

pub fn host(i: usize) -> HostId {
    HostId::from_words(i as u64 + 1, 0)
}

pub fn address(i: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (i >> 8) as u8, i as u8], 7000))
}

pub fn config(i: usize) -> Config {
    Config::new("test", address(i), vec![address(0), address(1)])
}

pub fn gossip(i: usize, generation: u64, now: Mono) -> Gossip {
    Gossip::new(config(i), host(i), Generation(generation), now)
}

pub struct Cluster {
    pub nodes: Vec<Gossip>,
    pub running: Vec<bool>,
    /// Nodes of different sides do not hear one another.
    pub side: Vec<u32>,
    pub now: Mono,
    pub rng: Seeded,
    pub events: Vec<Vec<Event>>,
}

impl Cluster {
    pub fn new(count: usize, seed: u64) -> Cluster {
        let now = Mono(1_000_000_000);
        Cluster {
            nodes: (0..count).map(|i| gossip(i, 10, now)).collect(),
            running: vec![true; count],
            side: vec![0; count],
            now,
            rng: Seeded::new(seed),
            events: vec![Vec::new(); count],
        }
    }

    pub fn exchange(&mut self, a: usize, b: usize) {
        let now = self.now;
        if !self.running[a] || !self.running[b] || self.side[a] != self.side[b] || a == b {
            return;
        }
        let syn: Syn = self.nodes[a].syn();
        let syn_ack: SynAck = self.nodes[b].handle_syn(syn, now).unwrap();
        let ack: Ack = self.nodes[a].handle_syn_ack(syn_ack, now).unwrap();
        self.nodes[b].handle_ack(ack, now).unwrap();
        for i in [a, b] {
            let events = self.nodes[i].take_events();
            self.events[i].extend(events);
        }
    }

    /// Every running node ticks once, `interval` after the last round.
    pub fn round_after(&mut self, interval: Duration) {
        self.now = self.now.after(interval);
        for i in 0..self.nodes.len() {
            if !self.running[i] {
                continue;
            }
            let peers = self.nodes[i].tick(self.now, &self.rng);
            let events = self.nodes[i].take_events();
            self.events[i].extend(events);
            for peer in peers {
                let j = (0..self.nodes.len()).find(|&j| address(j) == peer).unwrap();
                self.exchange(i, j);
            }
        }
    }

    pub fn round(&mut self) {
        self.round_after(Duration::from_millis(200));
    }

    pub fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            self.round();
        }
    }

    /// Rounds until `done`, at most `max`.
    pub fn until(&mut self, max: usize, done: impl Fn(&Cluster) -> bool) -> usize {
        (0..max)
            .find(|_| {
                done(self) || {
                    self.round();
                    false
                }
            })
            .unwrap_or_else(|| panic!("not within {max} rounds"))
    }

    pub fn live(&self, i: usize) -> BTreeSet<usize> {
        let live = self.nodes[i].live();
        (0..self.nodes.len()).filter(|&j| live.contains(&host(j))).collect()
    }

    pub fn all_see(&self, expected: &[usize]) -> bool {
        let expected: BTreeSet<usize> = expected.iter().copied().collect();
        expected.iter().all(|&i| self.live(i) == expected)
    }

    pub fn downs(&self, i: usize) -> usize {
        self.events[i].iter().filter(|e| matches!(e, Event::Down(_))).count()
    }
}
