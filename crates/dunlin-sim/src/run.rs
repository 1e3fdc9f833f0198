//! One run from its seed to its verdict.

use crate::cluster::{Asker, Cluster};
use crate::complaints::Complaints;
use crate::economy;
use crate::executor::{MILLISECOND, Nanos, SECOND, Stopped, World};
use crate::fault::{Fault, Planned, plan};
use crate::network::NetworkStatistics;
use crate::options::Options;
use crate::oracle::{Checked, Final, History, KeyId, Outcome, Rule, Terms, Violation, check};
use crate::workload::{Client, KEYSPACE, TABLE, Workload, stored_key, unpadded};
use dunlin_types::{Key, Micros, Record};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A cluster must have formed after so long.
const FORM_WITHIN: Nanos = 60 * SECOND;
/// Statements under way at the end of the workload are waited for so long.
const DRAIN_WITHIN: Nanos = 20 * SECOND;
/// The cluster must be whole, and its replicas equal, so long after healing.
const HEAL_WITHIN: Nanos = 180 * SECOND;
/// No run takes longer.
const RUN_MAX: Nanos = 2000 * SECOND;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The run's shape.
    pub options: Options,
    /// Its faults.
    pub faults: Vec<Planned>,
}

impl Plan {
    /// Of a seed.
    pub fn of_seed(seed: u64) -> Plan {
        Plan::of(Options::draw(seed, None))
    }

    /// Of given options.
    pub fn of(options: Options) -> Plan {
        let faults = plan(&options);
        Plan { options, faults }
    }
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Of the trace: equal for equal seeds.
    pub hash: u64,
    /// What was violated.
    pub violations: Vec<Violation>,
    /// Virtual time it took.
    pub simulated: Nanos,
    /// Polls of tasks.
    pub polls: u64,
    /// How often what happened.
    pub coverage: BTreeMap<&'static str, u64>,
    /// How often which rare branch was taken.
    pub branches: BTreeMap<&'static str, u64>,
    /// Messages.
    pub network: NetworkStatistics,
    /// Writes acknowledged, refused, unknown.
    pub writes: [u64; 3],
    /// Reads answered, failed.
    pub reads: [u64; 2],
    /// What the oracle looked at.
    pub checked: Checked,
    /// How long after healing the replicas were equal.
    pub healed_in: Nanos,
}

/// What the scenario found out on its way.
#[derive(Default)]
struct Findings {
    violations: Vec<Violation>,
    end: Option<Final>,
    healed_in: Nanos,
    over: bool,
}

impl Findings {
    fn note_end(&mut self, healed_in: Nanos, end: Final) {
        self.healed_in = healed_in;
        self.end = Some(end);
    }
}

/// Runs a plan on this thread.
pub fn run(plan: &Plan) -> Report {
    let world = World::new(plan.options.seed, plan.options.planted);
    let cluster = Cluster::new(world.clone(), plan.options.clone());
    let workload = Arc::new(Mutex::new(None));
    let findings = Arc::new(Mutex::new(Findings::default()));
    world.drive("undertaker", cluster.clone().undertaker());
    let scenario =
        Scenario { cluster: cluster.clone(), workload: workload.clone(), findings: findings.clone() };
    world.drive("scenario", scenario.play(plan.faults.clone()));
    let ended = findings.clone();
    let complaints = Complaints::default();
    let stopped = complaints.listen(|| world.run(RUN_MAX, || ended.lock().over));
    let mut report = Report {
        hash: world.trace().hash(),
        simulated: world.now(),
        polls: world.polls(),
        coverage: world.trace().coverage().clone(),
        branches: world.trace().branches().clone(),
        network: cluster.network.statistics(),
        ..Report::default()
    };
    let Findings { mut violations, end, healed_in, .. } = std::mem::take(&mut *findings.lock());
    if stopped != Stopped::Done {
        violations
            .push(Violation { rule: Rule::NotHealed, message: format!("the run did not end: {stopped:?}") });
    }
    violations.extend(cluster.take_complaints());
    let struck = |kind: &str| report.coverage.keys().any(|what| what.strip_prefix("fault ") == Some(kind));
    violations.extend(complaints.judge(struck, cluster.healed_at()));
    let workload: Option<Arc<Workload>> = workload.lock().take();
    let history = workload.map(|w| w.with_history(|history| history.clone())).unwrap_or_default();
    let terms = Terms {
        mode: plan.options.mode,
        replication_factor: plan.options.replication_factor as usize,
        disks_lost: cluster.disks_lost(),
        sloppy: plan.options.sloppy,
        clocks_bent: plan.faults.iter().any(|planned| planned.fault.bends_clocks()),
    };
    let (found, checked) = check(&history, terms, end.as_ref());
    violations.extend(found);
    cluster.close();
    report.healed_in = healed_in;
    report.checked = checked;
    report.violations = violations;
    report.count(&history);
    report
}

impl Report {
    fn count(&mut self, history: &History) {
        for write in &history.writes {
            match write.outcome {
                Outcome::Acknowledged(_) => self.writes[0] += 1,
                Outcome::NotApplied => self.writes[1] += 1,
                Outcome::Unknown => self.writes[2] += 1,
            }
        }
        self.reads = [history.reads.len() as u64, history.reads_failed];
    }
}

struct Scenario {
    cluster: Arc<Cluster>,
    workload: Arc<Mutex<Option<Arc<Workload>>>>,
    findings: Arc<Mutex<Findings>>,
}

impl Scenario {
    async fn play(self, faults: Vec<Planned>) {
        if let Err(violation) = self.play_until_wrong(&faults).await {
            self.findings.lock().violations.push(violation);
        }
        self.findings.lock().over = true;
    }

    async fn play_until_wrong(&self, faults: &[Planned]) -> Result<(), Violation> {
        let (cluster, world) = (&self.cluster, &self.cluster.world);
        self.form().await?;
        let workload = Workload::new(cluster.options.clone(), world.now());
        *self.workload.lock() = Some(workload.clone());
        Client::new(cluster.clone(), workload.clone(), 0)
            .create_schema(FORM_WITHIN)
            .await
            .map_err(|message| Violation { rule: Rule::NotFormed, message })?;
        world.set_buggify(cluster.options.buggify);
        for number in 1..=cluster.options.clients {
            let client = Client::new(cluster.clone(), workload.clone(), number);
            let findings = self.findings.clone();
            world.drive("client", async move {
                let complaints = client.run().await;
                findings.lock().violations.extend(complaints);
            });
        }
        cluster.set_asker(self.asker(&workload));
        cluster.strike_all(faults);
        world.sleep(cluster.options.duration).await;
        workload.stop();
        cluster.heal();
        let deadline = world.now() + DRAIN_WITHIN;
        while workload.under_way() > 0 && world.now() < deadline {
            world.sleep(50 * MILLISECOND).await;
        }
        self.converge(&workload).await?;
        cluster.stop_all().await
    }

    /// Executes the statements that some faults consist of.
    fn asker(&self, workload: &Arc<Workload>) -> Asker {
        let (cluster, workload) = (Arc::downgrade(&self.cluster), workload.clone());
        let findings = self.findings.clone();
        Box::new(move |fault| {
            let Some(cluster) = cluster.upgrade() else { return };
            let client = || Client::new(cluster.clone(), workload.clone(), workload.next_client());
            match *fault {
                Fault::Schema { number } => {
                    cluster.world.drive("schema change", client().change_schema(number));
                }
                Fault::Burst { machine, statements } => {
                    let Some(running) = cluster.running(machine) else { return };
                    for _ in 0..statements {
                        let (client, running, findings) = (client(), running.clone(), findings.clone());
                        let workload = workload.clone();
                        cluster.world.drive("burst", async move {
                            workload.enter();
                            let complaints = client.once(running).await;
                            workload.leave();
                            findings.lock().violations.extend(complaints);
                        });
                    }
                }
                _ => {}
            }
        })
    }

    async fn form(&self) -> Result<(), Violation> {
        for number in 0..self.cluster.options.nodes {
            self.cluster.start_later(number, u64::from(number) * 100 * MILLISECOND);
        }
        // The last one has to be among those that are waited for.
        self.cluster.world.sleep(u64::from(self.cluster.options.nodes) * 100 * MILLISECOND).await;
        let formed = self.cluster.whole(FORM_WITHIN).await;
        formed.map(drop).map_err(|why| Violation { rule: Rule::NotFormed, message: why.message })
    }

    /// Waits for the replicas to be equal; no client reads meanwhile.
    async fn converge(&self, workload: &Workload) -> Result<(), Violation> {
        let healed = self.cluster.world.now();
        let ids: Vec<KeyId> = workload.keys().into_iter().collect();
        let keys: Vec<Key> = ids.iter().map(|id| stored_key(*id)).collect();
        let records = self.cluster.converged(HEAL_WITHIN, (KEYSPACE, TABLE), &keys).await.map_err(|why| {
            let hints_only = self.cluster.options.hints_only && why.rule == Rule::Divergence;
            let rule = if hints_only { Rule::HintUnaccounted } else { why.rule };
            Violation { rule, message: why.message }
        })?;
        let shown = |id: &KeyId| {
            let record = records.get(&stored_key(*id)).and_then(Option::as_ref);
            (*id, record.map(values_of).unwrap_or_default())
        };
        let healed_in = self.cluster.world.now() - healed;
        self.findings.lock().note_end(healed_in, ids.iter().map(shown).collect());
        match self.cluster.options.repair_interval_s {
            0 => Ok(()),
            _ => economy::check(&self.cluster, (KEYSPACE, TABLE), &records, HEAL_WITHIN).await,
        }
    }
}

fn values_of(record: &Record) -> Vec<String> {
    let values = record.visible(Micros(0)).into_iter();
    values
        .filter_map(|value| value.data.as_deref())
        .map(|data| unpadded(&String::from_utf8_lossy(data)))
        .collect()
}
