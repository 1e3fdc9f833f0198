//! Measures the storage engine of Dunlin side by side with RocksDB, fjall and LMDB: the same workloads through
//! one trait, each in a process of its own, engines in turn. See `docs/benchmarks.md`.

mod data;
mod machine;
mod measure;
mod plan;
mod report;
mod run;
mod store;
mod work;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};
use store::Engine;

/// For all stores alike; RocksDB's C++ keeps the allocator of the system's library.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Measures the storage engine of Dunlin side by side with others.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "made once")]
enum Command {
    /// Measures, and prints the table.
    Run(RunArgs),
    /// Prints the table of an earlier run's JSON lines.
    Report {
        json: PathBuf,
        /// Writes the table into this page too, between its marks.
        #[arg(long)]
        page: Option<PathBuf>,
    },
    /// Lists the workloads.
    List,
    /// One workload on one engine; started by `run`.
    #[command(hide = true)]
    Child { spec: String },
}

#[derive(Args)]
struct RunArgs {
    /// 200,000 keys, one repeat, one second of reads: shows that nothing is broken.
    #[arg(long)]
    quick: bool,
    #[arg(long, value_delimiter = ',', default_values = ["dunlin-bare", "dunlin-replica", "rocksdb", "rocksdb-direct", "fjall", "lmdb"])]
    engines: Vec<Engine>,
    /// Workloads; all if none is named.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Lengths of values.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1024])]
    values: Vec<usize>,
    /// Keys of a data set. [default: 2,000,000, of 1 KiB half as many]
    #[arg(long)]
    keys: Option<u64>,
    #[arg(long)]
    repeats: Option<u32>,
    /// Length of timed reads and durable writes.
    #[arg(long)]
    seconds: Option<f64>,
    /// Instead of each workload's own number.
    #[arg(long)]
    threads: Option<usize>,
    /// Folder for data; emptied piece by piece.
    #[arg(long, default_value = "enginebench-data")]
    dir: PathBuf,
    /// File that JSON lines are appended to. [default: in the folder for data]
    #[arg(long)]
    json: Option<PathBuf>,
    /// MiB of block cache.
    #[arg(long, default_value_t = 1024)]
    cache: u64,
    /// MiB of a memtable.
    #[arg(long, default_value_t = 64)]
    memtable: u64,
    /// MiB of memory, page cache included, on the data set that is larger.
    #[arg(long, default_value_t = 256)]
    memory_max: u64,
    /// Writes the table into this page, between its marks.
    #[arg(long)]
    page: Option<PathBuf>,
    /// Folder for profiles of all children by `perf record`.
    #[arg(long)]
    perf: Option<PathBuf>,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Run(args) => measure(args),
        Command::Report { json, page } => {
            let text = std::fs::read_to_string(&json)?;
            let lines: Vec<run::Line> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
            let dir = json_dir(&json);
            publish(&lines, &dir, page)
        }
        Command::List => {
            for w in plan::WORKLOADS {
                println!("{:<12} {:>4} B, threads: {}", w.id, w.value, w.threads);
            }
            Ok(())
        }
        Command::Child { spec } => {
            let outcome = work::run(&serde_json::from_str(&spec)?)?;
            let mut out = std::io::stdout();
            writeln!(out, "{}", serde_json::to_string(&outcome)?)?;
            Ok(out.flush()?)
        }
    }
}

fn measure(args: RunArgs) -> Result<()> {
    if let Some(id) = args.only.iter().find(|id| !plan::WORKLOADS.iter().any(|w| w.id == id.as_str())) {
        bail!("no workload is called {id:?}; `list` names them");
    }
    let keys = args.keys.unwrap_or(if args.quick { 200_000 } else { 2_000_000 });
    let plan = run::Plan {
        engines: args.engines,
        only: args.only,
        values: args.values,
        keys,
        cold_keys: keys,
        repeats: args.repeats.unwrap_or(if args.quick { 1 } else { 3 }),
        seconds: args.seconds.unwrap_or(if args.quick { 1.0 } else { 3.0 }),
        threads: args.threads,
        json: args.json.unwrap_or_else(|| args.dir.join("results.jsonl")),
        dir: args.dir,
        cache_bytes: args.cache << 20,
        memtable_bytes: args.memtable << 20,
        memory_max: args.memory_max << 20,
        perf: args.perf,
    };
    let lines = run::run(&plan)?;
    publish(&lines, &plan.dir, args.page)?;
    let failed = lines.iter().filter(|l| l.error.is_some()).count();
    if failed > 0 {
        bail!("{failed} measurements failed");
    }
    Ok(())
}

fn json_dir(json: &Path) -> PathBuf {
    json.parent().map_or_else(PathBuf::new, Path::to_owned)
}

fn publish(lines: &[run::Line], dir: &Path, page: Option<PathBuf>) -> Result<()> {
    let table = format!("{}\n\n{}", machine::describe(dir), report::table(lines));
    println!("{table}");
    match page {
        Some(page) => report::write_page(&page, &table),
        None => Ok(()),
    }
}
