//! What a COPY has done so far, and what it waits for.

#![allow(
    clippy::disallowed_methods,
    reason = "an edge: it writes the file of rejects, and waits in real time"
)]

use anyhow::Context as _;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Rejected rows that are shown where no file takes them.
const SHOWN_MAX: usize = 5;

/// Counts of one COPY; shared by all who work on it.
#[derive(Default)]
pub struct Tally {
    /// Rows done.
    pub rows: Cell<u64>,
    /// First lines of the rows that were read and are not done.
    undone: RefCell<BTreeSet<u64>>,
    /// Lines read.
    lines: Cell<u64>,
    /// What each connection waits for, and since when.
    waits: RefCell<BTreeMap<usize, (Instant, String)>>,
    rejects: RefCell<Rejects>,
}

#[derive(Default)]
struct Rejects {
    count: u64,
    shown: Vec<String>,
    file: Option<(PathBuf, BufWriter<File>)>,
}

impl Tally {
    /// Rejected rows go into a file, which is emptied first.
    pub fn with_rejects(path: Option<&Path>) -> anyhow::Result<Tally> {
        let tally = Tally::default();
        if let Some(path) = path {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            let mut file = BufWriter::new(file);
            file.write_all(b"line,reason,row\n")?;
            tally.rejects.borrow_mut().file = Some((path.to_owned(), file));
        }
        Ok(tally)
    }

    /// Whether rejected rows are kept whole.
    pub fn keeps_rows(&self) -> bool {
        self.rejects.borrow().file.is_some()
    }

    /// A row was read; it is neither done nor rejected.
    pub fn begin(&self, line: u64) {
        self.undone.borrow_mut().insert(line);
        self.lines.set(self.lines.get().max(line));
    }

    /// A row is in.
    pub fn done(&self, line: u64, rows: u64) {
        self.undone.borrow_mut().remove(&line);
        self.rows.set(self.rows.get() + rows);
    }

    /// A row that was read is not taken.
    pub fn reject(&self, line: u64, why: &str, raw: &Bytes) -> anyhow::Result<()> {
        self.undone.borrow_mut().remove(&line);
        self.lines.set(self.lines.get().max(line));
        let mut rejects = self.rejects.borrow_mut();
        rejects.count += 1;
        if rejects.shown.len() < SHOWN_MAX {
            rejects.shown.push(format!("line {line}: {why}"));
        }
        let Some((path, file)) = &mut rejects.file else { return Ok(()) };
        let mut row = format!("{line},").into_bytes();
        let dialect = super::dialect::Dialect::default();
        dialect.write_cell(&mut row, why.as_bytes());
        row.push(b',');
        dialect.write_cell(&mut row, raw);
        row.push(b'\n');
        file.write_all(&row).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Rows that were not taken.
    pub fn rejected(&self) -> u64 {
        self.rejects.borrow().count
    }

    /// Rows that were sent, or are about to be, and of which nothing is known.
    pub fn undone(&self) -> usize {
        self.undone.borrow().len()
    }

    /// Every row before this line is in, or was rejected.
    pub fn done_before(&self) -> u64 {
        self.undone.borrow().first().copied().unwrap_or(self.lines.get() + 1)
    }

    /// A connection waits for this.
    pub fn wait(&self, connection: usize, why: String) {
        let mut waits = self.waits.borrow_mut();
        let entry = waits.entry(connection).or_insert_with(|| (Instant::now(), String::new()));
        entry.1 = why;
    }

    /// How long a connection has waited.
    pub fn waited(&self, connection: usize) -> Duration {
        self.waits.borrow().get(&connection).map_or(Duration::ZERO, |(since, _)| since.elapsed())
    }

    /// A connection goes on.
    pub fn go_on(&self, connection: usize) {
        self.waits.borrow_mut().remove(&connection);
    }

    /// What is waited for longest, for a person; empty if nothing is.
    pub fn waits(&self) -> String {
        let waits = self.waits.borrow();
        let longest = waits.values().min_by_key(|(since, _)| *since);
        match longest {
            Some((since, why)) if since.elapsed() >= Duration::from_secs(1) => {
                format!("; waits since {} s: {why}", since.elapsed().as_secs())
            }
            _ => String::new(),
        }
    }

    /// Lines for a person about what was rejected; the file of rejects is complete.
    pub fn tell_rejects(&self) -> anyhow::Result<Vec<String>> {
        let mut rejects = self.rejects.borrow_mut();
        let count = rejects.count;
        if let Some((path, file)) = &mut rejects.file {
            file.flush().with_context(|| format!("cannot write {}", path.display()))?;
        }
        let mut lines = rejects.shown.clone();
        let more = count - lines.len() as u64;
        match &rejects.file {
            Some((path, _)) if count > 0 => lines.push(format!("all {count} are in {}", path.display())),
            None if more > 0 => lines.push(format!("and {more} more; WITH rejects = 'file' keeps them all")),
            _ => {}
        }
        Ok(lines)
    }
}
