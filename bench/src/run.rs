//! The parent: one child process per engine, workload and repeat, engines in turn.

use crate::plan::{Base, Kind, WORKLOADS, Workload};
use crate::store::{Engine, Settings};
use crate::work::{Outcome, Spec};
use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What the command line asks for.
pub struct Plan {
    pub engines: Vec<Engine>,
    /// Workloads; all if empty.
    pub only: Vec<String>,
    pub values: Vec<usize>,
    pub keys: u64,
    /// Keys of the data set that is larger than memory.
    pub cold_keys: u64,
    pub repeats: u32,
    pub seconds: f64,
    pub threads: Option<usize>,
    pub dir: PathBuf,
    pub json: PathBuf,
    pub cache_bytes: u64,
    pub memtable_bytes: u64,
    /// Memory that a child may use on the data set larger than memory, page cache included.
    pub memory_max: u64,
    /// Folder for profiles by `perf record`.
    pub perf: Option<PathBuf>,
}

/// A line of the JSON file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    pub workload: String,
    pub value: usize,
    pub engine: Engine,
    pub repeat: u32,
    pub keys: u64,
    pub threads: usize,
    /// Why there is no outcome.
    pub error: Option<String>,
    pub outcome: Option<Outcome>,
}

/// A child that takes longer than this has hung.
const CHILD_MAX: Duration = Duration::from_secs(600);
/// Cache of blocks on the data set larger than memory.
const COLD_CACHE: u64 = 32 << 20;
/// Memtables of the workload that leaves a long log.
const CRASH_MEMTABLE: u64 = 1 << 30;

/// Runs the plan; appends a line per child to the JSON file, and returns all lines.
pub fn run(plan: &Plan) -> Result<Vec<Line>> {
    std::fs::create_dir_all(&plan.dir)?;
    if let Some(perf) = &plan.perf {
        std::fs::create_dir_all(perf)?;
    }
    let mut json = std::fs::OpenOptions::new().create(true).append(true).open(&plan.json)?;
    let cgroup = Cgroup::create(plan.memory_max);
    let mut lines = Vec::new();
    for repeat in 0..plan.repeats {
        let mut filled = BTreeSet::new();
        for workload in WORKLOADS.iter().filter(|w| plan.wants(w)) {
            for turn in 0..plan.engines.len() {
                // Each repeat begins with another engine.
                let engine = plan.engines[(turn + repeat as usize) % plan.engines.len()];
                if !workload.takes(engine) {
                    continue;
                }
                let set = (workload.base == Base::Cold, workload.value, engine.files());
                if workload.base != Base::Fresh && workload.kind != Kind::FillRandom && filled.insert(set) {
                    let fill = WORKLOADS.iter().find(|w| {
                        w.base == workload.base && w.kind == Kind::FillRandom && w.value == workload.value
                    });
                    let fill = fill.context("nothing fills this data set")?;
                    lines.push(plan.measure(fill, engine.files(), repeat, cgroup.as_ref(), &mut json)?);
                }
                if workload.kind == Kind::FillRandom && workload.base != Base::Fresh {
                    filled.insert(set);
                }
                lines.push(plan.measure(workload, engine, repeat, cgroup.as_ref(), &mut json)?);
            }
        }
        for (cold, value, engine) in filled {
            let base = if cold { Base::Cold } else { Base::Filled };
            let _ = std::fs::remove_dir_all(plan.folder(base, value, engine));
        }
    }
    Ok(lines)
}

impl Plan {
    fn wants(&self, workload: &Workload) -> bool {
        let named = if self.only.is_empty() { true } else { self.only.iter().any(|id| id == workload.id) };
        named && self.values.contains(&workload.value)
    }

    fn folder(&self, base: Base, value: usize, engine: Engine) -> PathBuf {
        self.dir.join(format!("{}-{value}-{base:?}", engine.files().name()).to_lowercase())
    }

    /// Runs a child, and writes its line. A wrong answer is kept as an error: the rest of the run goes on.
    fn measure(
        &self,
        workload: &Workload,
        engine: Engine,
        repeat: u32,
        cgroup: Option<&Cgroup>,
        json: &mut std::fs::File,
    ) -> Result<Line> {
        let result = self.outcome(workload, engine, repeat, cgroup);
        let (outcome, error) = match result {
            Ok(outcome) => (Some(outcome), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let line = Line {
            workload: workload.id.to_owned(),
            value: workload.value,
            engine,
            repeat,
            keys: self.keys_of(workload),
            threads: self.threads.unwrap_or(workload.threads),
            error,
            outcome,
        };
        writeln!(json, "{}", serde_json::to_string(&line)?)?;
        eprintln!("{}", crate::report::progress(&line));
        Ok(line)
    }

    fn keys_of(&self, workload: &Workload) -> u64 {
        match (workload.base, workload.value) {
            (Base::Cold, _) => self.cold_keys,
            (_, 1024..) => self.keys / 2,
            _ => self.keys,
        }
    }

    fn outcome(
        &self,
        workload: &Workload,
        engine: Engine,
        repeat: u32,
        cgroup: Option<&Cgroup>,
    ) -> Result<Outcome> {
        let dir = self.folder(workload.base, workload.value, engine);
        let makes = workload.base == Base::Fresh || workload.kind == Kind::FillRandom;
        if makes {
            let _ = std::fs::remove_dir_all(&dir);
        }
        let cold = workload.base == Base::Cold && !makes;
        ensure!(!cold || cgroup.is_some(), "no control group for memory could be made (are you root?)");
        let mut spec = Spec {
            engine,
            kind: workload.kind,
            dir: dir.clone(),
            settings: Settings {
                memtable_bytes: self.memtable_bytes,
                cache_bytes: if cold { COLD_CACHE } else { self.cache_bytes },
                durable: matches!(workload.kind, Kind::Durable | Kind::Async),
            },
            keys: self.keys_of(workload),
            value: workload.value,
            threads: self.threads.unwrap_or(workload.threads),
            seconds: self.seconds,
            count: self.perf.is_none(),
            cgroup: cgroup.filter(|_| cold).map(|c| c.0.clone()),
        };
        let mut prefix = Vec::new();
        if workload.is_disk_bound() && may_run_fifo() {
            prefix.extend(["chrt", "-f", "1"].map(str::to_owned));
        }
        if let Some(perf) = &self.perf {
            let file =
                perf.join(format!("{}-{}-{}-{repeat}.data", workload.id, workload.value, engine.name()));
            let file = file.to_string_lossy().into_owned();
            prefix.extend(["perf", "record", "-q", "-F", "999", "-e", "cpu-clock", "-o"].map(str::to_owned));
            prefix.extend([file, "--".to_owned()]);
        }
        if workload.kind == Kind::Recovery {
            spec.settings.memtable_bytes = CRASH_MEMTABLE;
            crash(&Spec { kind: Kind::Crash, ..spec.clone() })?;
        }
        let outcome = finish(start(&spec, &prefix)?);
        if workload.base == Base::Fresh {
            let _ = std::fs::remove_dir_all(&dir);
        }
        outcome
    }
}

fn start(spec: &Spec, prefix: &[String]) -> Result<Child> {
    let mut words = prefix.to_vec();
    words.push(std::env::current_exe()?.to_string_lossy().into_owned());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg("child").arg(serde_json::to_string(spec)?);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting a child")
}

/// Waits for the outcome, the last line of the child's output.
fn finish(mut child: Child) -> Result<Outcome> {
    let output = child.stdout.take().context("no output")?;
    let reader = std::thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).last());
    let end = std::time::Instant::now() + CHILD_MAX;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if std::time::Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            bail!("the child hung and was killed after {CHILD_MAX:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    ensure!(status.success(), "the child ended with {status}");
    let line = reader.join().ok().flatten().context("the child said nothing")?;
    Ok(serde_json::from_str(&line)?)
}

/// Lets a child fill the log, and kills it.
fn crash(spec: &Spec) -> Result<()> {
    let mut child = start(spec, &[])?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
    child.kill()?;
    let status = child.wait()?;
    ensure!(line.trim() == "ready", "the child that fills the log ended with {status}");
    Ok(())
}

fn may_run_fifo() -> bool {
    let status = Command::new("chrt").args(["-f", "1", "true"]).stderr(Stdio::null()).status();
    status.is_ok_and(|s| s.success())
}

/// A control group that bounds memory, page cache included; removed at the end.
struct Cgroup(PathBuf);

impl Cgroup {
    fn create(bytes: u64) -> Option<Cgroup> {
        let (root, file) = if Path::new("/sys/fs/cgroup/memory").is_dir() {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            ("/sys/fs/cgroup", "memory.max")
        };
        let dir = Path::new(root).join(format!("enginebench-{}", std::process::id()));
        std::fs::create_dir(&dir).ok()?;
        let cgroup = Cgroup(dir);
        std::fs::write(cgroup.0.join(file), bytes.to_string()).ok()?;
        Some(cgroup)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}
