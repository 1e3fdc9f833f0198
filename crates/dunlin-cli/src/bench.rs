//! `dunlin bench`: a load generator, closed or open loop, with latency histograms.

#![allow(clippy::disallowed_methods, reason = "a load generator measures real time and runs tasks on tokio")]

use crate::args::{BenchArgs, Durability, Format, Mix};
use anyhow::Context;
use dunlin_client::{Columns, Connection, Failure};
use dunlin_terminal::say;
use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What one mix came to.
struct Outcome {
    mix: Mix,
    seconds: f64,
    reads: Histogram<u64>,
    writes: Histogram<u64>,
    served: Histogram<u64>,
    errors: BTreeMap<String, u64>,
}

struct Plan {
    args: BenchArgs,
    hosts: Vec<String>,
    columns: Columns,
    value: String,
}

/// Measures each mix in turn. Exit status 1 if nothing succeeded or anything failed.
pub async fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let mut random = StdRng::seed_from_u64(args.seed);
    let value: String = (0..args.value_size).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect();
    let hosts = args.target.hosts();
    let columns = columns(&hosts[0], &args).await?;
    let plan = Arc::new(Plan { hosts, args, columns, value });
    if plan.args.mix.iter().any(|mix| mix.reads() > 0.0) {
        fill(&plan).await.context("writing the keys that are to be read")?;
    }
    let mut failed = false;
    let mut all = Vec::new();
    for &mix in &plan.args.mix {
        let outcome = measure(&plan, mix).await?;
        // A rate above what the cluster can do is refused in part: that is what it is asked for.
        let refusals_are_meant = plan.args.rate.is_some();
        failed |= outcome.errors.keys().any(|code| !(refusals_are_meant && code == "OVERLOADED"))
            || outcome.reads.len() + outcome.writes.len() == 0;
        match plan.args.format {
            Format::Text => print_text(&plan, &outcome)?,
            Format::Json => all.push(json(&outcome)),
        }
    }
    if plan.args.format == Format::Json {
        let summary = serde_json::json!({
            "clients": plan.args.clients, "rate": plan.args.rate, "pipeline": plan.args.pipeline, "value_bytes": plan.args.value_size, "keys": plan.args.keys,
            "consistency": plan.args.target.consistency.name(), "durability": durability(&plan.args), "hosts": plan.hosts, "mixes": all,
        });
        say!("{summary:#}")?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The table's columns, both of which have to be text.
async fn columns(host: &str, args: &BenchArgs) -> anyhow::Result<Columns> {
    let table = &args.target.table;
    let mut connection = args.target.connector().connect(host).await?;
    let columns = connection.columns(table).await?.with_context(|| format!("there is no table {table}"))?;
    anyhow::ensure!(
        columns.key_type == "text" && columns.value_type == "text",
        "the load is text, but {table} maps {} to {}",
        columns.key_type,
        columns.value_type
    );
    Ok(columns)
}

fn durability(args: &BenchArgs) -> &'static str {
    match args.durability {
        Durability::Synced => "synced",
        Durability::Buffered => "buffered",
    }
}

fn key(n: u64) -> String {
    format!("key{n:013}")
}

fn put_statement(plan: &Plan, n: u64) -> String {
    let args = &plan.args;
    let durability = match args.durability {
        Durability::Synced => "",
        Durability::Buffered => " USING DURABILITY buffered",
    };
    format!(
        "INSERT INTO {} ({}, {}) VALUES ('{}', '{}'){durability};",
        args.target.table,
        plan.columns.key_name(),
        plan.columns.value_name(),
        key(n),
        plan.value
    )
}

fn get_statement(plan: &Plan, n: u64) -> String {
    let (table, columns) = (&plan.args.target.table, &plan.columns);
    format!("SELECT {} FROM {table} WHERE {} = '{}';", columns.value_name(), columns.key_name(), key(n))
}

fn scan_statement(plan: &Plan, token: u64) -> String {
    format!(
        "SELECT * FROM {} WHERE TOKEN({}) > {token} LIMIT 50;",
        plan.args.target.table,
        plan.columns.key_name()
    )
}

async fn connect(plan: &Plan, client: usize) -> anyhow::Result<Connection> {
    let host = &plan.hosts[client % plan.hosts.len()];
    let mut connection = plan.args.target.connector().connect(host).await?;
    connection.execute(&format!("CONSISTENCY {}", plan.args.target.consistency)).await?;
    Ok(connection)
}

/// Writes every key once, pipelined.
async fn fill(plan: &Arc<Plan>) -> anyhow::Result<()> {
    const LOADERS: u64 = 8;
    const WINDOW: usize = 64;
    let mut tasks = Vec::new();
    for loader in 0..LOADERS {
        let plan = plan.clone();
        tasks.push(tokio::spawn(async move {
            let mut connection = connect(&plan, usize::try_from(loader).unwrap_or(0)).await?;
            for n in (loader..plan.args.keys).step_by(usize::try_from(LOADERS).unwrap_or(1)) {
                connection.queue(&put_statement(&plan, n));
                if connection.waiting() >= WINDOW {
                    connection.flush().await?;
                    while connection.waiting() > 0 {
                        connection.receive().await??;
                    }
                }
            }
            connection.flush().await?;
            while connection.waiting() > 0 {
                connection.receive().await??;
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn measure(plan: &Arc<Plan>, mix: Mix) -> anyhow::Result<Outcome> {
    let mut connections = Vec::new();
    for client in 0..usize::try_from(plan.args.clients)? {
        connections.push(connect(plan, client).await?);
    }
    let began = Instant::now();
    let until = began + Duration::try_from_secs_f64(plan.args.seconds).context("--seconds")?;
    let mut tasks = Vec::new();
    for (client, connection) in connections.into_iter().enumerate() {
        let random =
            StdRng::seed_from_u64(plan.args.seed ^ (client as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let worker = Worker::new(plan.clone(), mix, connection, random, until);
        tasks.push(match plan.args.rate {
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
    for task in tasks {
        let seen = task.await?;
        outcome.reads.add(&seen.reads)?;
        outcome.writes.add(&seen.writes)?;
        outcome.served.add(&seen.served)?;
        for (code, count) in seen.errors {
            *outcome.errors.entry(code).or_default() += count;
        }
    }
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
            (true, Mix::E) => scan_statement(plan, self.random.random()),
            (true, _) => get_statement(plan, n),
            (false, _) => put_statement(plan, n),
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

const PERCENTILES: [(&str, f64); 4] = [("p50", 50.0), ("p95", 95.0), ("p99", 99.0), ("p999", 99.9)];

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

fn print_text(plan: &Plan, outcome: &Outcome) -> Result<(), dunlin_terminal::Unwritten> {
    let total = outcome.reads.len() + outcome.writes.len();
    say!(
        "{}: {:.0} operations/s at {} with {} clients, {} bytes, {} ({total} in {:.1} s)",
        outcome.mix.name(),
        total as f64 / outcome.seconds,
        plan.args.target.consistency,
        plan.args.clients,
        plan.args.value_size,
        durability(&plan.args),
        outcome.seconds
    )?;
    let served = plan.args.rate.map(|_| ("all, from when they were sent", &outcome.served));
    for (what, histogram) in
        [("reads", &outcome.reads), ("writes", &outcome.writes)].into_iter().chain(served)
    {
        if !histogram.is_empty() {
            let figures: Vec<String> = PERCENTILES
                .iter()
                .map(|(name, p)| format!("{name} {:.0} us", micros(histogram.value_at_percentile(*p))))
                .collect();
            say!("  {what}: {}, max {:.0} us", figures.join(", "), micros(histogram.max()))?;
        }
    }
    for (error, count) in &outcome.errors {
        say!("  errors: {count} x {error}")?;
    }
    Ok(())
}

fn json(outcome: &Outcome) -> serde_json::Value {
    let side = |histogram: &Histogram<u64>| {
        let mut object = serde_json::Map::new();
        object.insert("count".into(), histogram.len().into());
        for (name, p) in PERCENTILES {
            object.insert(format!("{name}_us"), micros(histogram.value_at_percentile(p)).into());
        }
        object.insert("max_us".into(), micros(histogram.max()).into());
        serde_json::Value::Object(object)
    };
    serde_json::json!({
        "mix": outcome.mix.name(),
        "seconds": outcome.seconds,
        "operations_per_second": (outcome.reads.len() + outcome.writes.len()) as f64 / outcome.seconds,
        "reads": side(&outcome.reads),
        "writes": side(&outcome.writes),
        "served": side(&outcome.served),
        "errors": outcome.errors,
    })
}
