//! What is measured: clients, each with a connection of its own.

#![allow(clippy::disallowed_methods, reason = "a load generator measures real time and runs tasks on tokio")]

use super::plan::Plan;
use super::shown;
use crate::args::Mix;
use dunlin_client::{Connection, Failure};
use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// What one mix came to.
pub struct Outcome {
    pub mix: Mix,
    pub seconds: f64,
    pub reads: Histogram<u64>,
    pub writes: Histogram<u64>,
    /// Both, from when they were sent.
    pub served: Histogram<u64>,
    pub errors: BTreeMap<String, u64>,
}

impl Outcome {
    /// Operations done.
    pub fn total(&self) -> u64 {
        self.reads.len() + self.writes.len()
    }

    /// Whether something was done and nothing failed. A rate above what the cluster can do is refused in part: that is what
    /// it is asked for.
    pub fn is_good(&self, refusals_are_meant: bool) -> bool {
        let meant = |code: &String| refusals_are_meant && code == "OVERLOADED";
        self.total() > 0 && self.errors.keys().all(meant)
    }
}

/// Clients at work. Dropped, they stop.
struct Clients(Vec<JoinHandle<Seen>>);

impl Drop for Clients {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Runs one mix.
pub async fn measure(plan: &Arc<Plan>, mix: Mix) -> anyhow::Result<Outcome> {
    let mut connections = Vec::new();
    for client in 0..usize::try_from(plan.args.clients)? {
        connections.push(plan.connect(client).await?);
    }
    let began = Instant::now();
    let until = began + plan.args.seconds;
    let mut tasks = Clients(Vec::new());
    for (client, connection) in connections.into_iter().enumerate() {
        let random =
            StdRng::seed_from_u64(plan.args.seed ^ (client as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let worker = Worker::new(plan.clone(), mix, connection, random, until);
        tasks.0.push(match plan.args.rate {
            None => tokio::spawn(worker.closed_loop()),
            Some(rate) => {
                let interval = Duration::from_secs_f64(f64::from(plan.args.clients) / f64::from(rate));
                let first = began + interval.mul_f64(client as f64 / f64::from(plan.args.clients));
                tokio::spawn(worker.open_loop(first, interval))
            }
        });
    }
    let mut outcome = Outcome {
        mix,
        seconds: 0.0,
        reads: histogram(),
        writes: histogram(),
        served: histogram(),
        errors: BTreeMap::new(),
    };
    let gathered = async {
        for task in &mut tasks.0 {
            let seen = task.await?;
            outcome.reads.add(&seen.reads)?;
            outcome.writes.add(&seen.writes)?;
            outcome.served.add(&seen.served)?;
            for (code, count) in seen.errors {
                *outcome.errors.entry(code).or_default() += count;
            }
        }
        anyhow::Ok(())
    };
    let text = || {
        let gone = began.elapsed().as_secs_f64() / plan.args.seconds.as_secs_f64();
        (format!("measuring {} for {:.0} s", mix.name(), plan.args.seconds.as_secs_f64()), Some(gone))
    };
    shown(plan.args.format, text, gathered).await?;
    outcome.seconds = began.elapsed().as_secs_f64();
    Ok(outcome)
}

fn histogram() -> Histogram<u64> {
    // Nanoseconds, up to five minutes.
    Histogram::new_with_max(300_000_000_000, 3).expect("the bounds are valid")
}

/// What one client saw.
struct Seen {
    reads: Histogram<u64>,
    writes: Histogram<u64>,
    /// Both, from when they were sent.
    served: Histogram<u64>,
    errors: BTreeMap<String, u64>,
}

/// A statement on its way.
struct Flying {
    read: bool,
    /// From when its time counts.
    since: Instant,
    sent: Instant,
}

/// One client.
struct Worker {
    plan: Arc<Plan>,
    mix: Mix,
    connection: Connection,
    random: StdRng,
    until: Instant,
    /// Statements without an answer.
    flying: VecDeque<Flying>,
    seen: Seen,
}

impl Worker {
    fn new(plan: Arc<Plan>, mix: Mix, connection: Connection, random: StdRng, until: Instant) -> Worker {
        let seen =
            Seen { reads: histogram(), writes: histogram(), served: histogram(), errors: BTreeMap::new() };
        Worker { plan, mix, connection, random, until, flying: VecDeque::new(), seen }
    }

    /// Sends as many as may be in flight, and the next when one is answered.
    async fn closed_loop(mut self) -> Seen {
        loop {
            let now = Instant::now();
            while now < self.until && self.flying.len() < self.plan.args.pipeline as usize {
                self.queue(Instant::now());
            }
            let ended = match self.connection.flush().await {
                Ok(()) if self.flying.is_empty() => return self.seen,
                Ok(()) => self.receive().await,
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = ended {
                return self.broken(error);
            }
        }
    }

    /// Sends when a statement is due, whether or not those before it were answered; behind when as many are in
    /// flight as may be.
    async fn open_loop(mut self, first: Instant, interval: Duration) -> Seen {
        let mut due = first;
        loop {
            let full = self.flying.len() >= self.plan.args.pipeline as usize;
            let sends = due < self.until;
            if !sends && self.flying.is_empty() {
                return self.seen;
            }
            let ended = tokio::select! {
                biased;
                () = tokio::time::sleep_until(due.into()), if sends && !full => {
                    self.queue(due);
                    due += interval;
                    self.connection.flush().await.map_err(|error| error.to_string())
                }
                received = receive(&mut self.connection, &mut self.flying, &mut self.seen),
                    if !self.flying.is_empty() => received,
            };
            if let Err(error) = ended {
                return self.broken(error);
            }
        }
    }

    fn queue(&mut self, since: Instant) {
        let n = self.random.random_range(0..self.plan.args.keys);
        let read = self.random.random_bool(self.mix.reads());
        let plan = &self.plan;
        self.connection.queue(&match (read, self.mix) {
            (true, Mix::E) => plan.scan_statement(self.random.random()),
            (true, _) => plan.get_statement(n),
            (false, _) => plan.put_statement(n),
        });
        self.flying.push_back(Flying { read, since, sent: Instant::now() });
    }

    async fn receive(&mut self) -> Result<(), String> {
        receive(&mut self.connection, &mut self.flying, &mut self.seen).await
    }

    fn broken(mut self, error: String) -> Seen {
        *self.seen.errors.entry(error).or_default() += 1;
        self.seen
    }
}

/// Takes the next answer. Safe to drop: nothing is taken from `flying` before the answer is whole.
async fn receive(
    connection: &mut Connection,
    flying: &mut VecDeque<Flying>,
    seen: &mut Seen,
) -> Result<(), String> {
    let answer = connection.receive().await.map_err(|error| error.to_string())?;
    let Some(Flying { read, since, sent }) = flying.pop_front() else {
        return Err("an answer to nothing".to_owned());
    };
    match answer {
        Ok(_) => {
            seen.served.saturating_record(nanos(sent));
            if read { &mut seen.reads } else { &mut seen.writes }.saturating_record(nanos(since));
        }
        Err(Failure { code, .. }) => *seen.errors.entry(code).or_default() += 1,
    }
    Ok(())
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
