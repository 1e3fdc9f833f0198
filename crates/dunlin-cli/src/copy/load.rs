//! COPY FROM: one reader of the file, several senders. Rows of one key go to one sender, so that a key which is
//! there twice is written in the file's order and not as concurrent values.

#![allow(clippy::disallowed_methods, reason = "an edge: it reads the file that it is given, in real time")]

use super::link::{Cluster, Link};
use super::mapping::Mapping;
use super::records::Records;
use super::rows::{Row, Rows};
use super::sender::Sender;
use super::statement::Copy;
use super::tally::Tally;
use anyhow::{Context, bail};
use dunlin_client::{Columns, TableName};
use dunlin_terminal::Progress;
use futures::future::try_join_all;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncRead;
use tokio::sync::{Semaphore, mpsc};

/// Connections at work.
const SENDERS: usize = 4;
/// Bytes of rows that are read and not yet in, over all connections.
const MEMORY_BYTES: u32 = 12 << 20;
/// What the smallest row counts as: bounds the rows too.
const ROW_BYTES_MIN: u32 = 1 << 10;

/// Where rows come from.
pub struct Source<'s, R> {
    /// What errors call it.
    pub name: &'s str,
    /// The records.
    pub records: &'s mut Records<R>,
    /// All bytes, if that is known.
    pub bytes: Option<u64>,
    /// A person types them, and is not to be written over.
    pub is_typed: bool,
}

/// Loads all rows. The tally tells how far it came, also when this is dropped.
pub async fn load<R: AsyncRead + Unpin>(
    cluster: Rc<Cluster>,
    table: TableName,
    columns: Columns,
    copy: &Copy,
    source: Source<'_, R>,
    tally: &Tally,
) -> anyhow::Result<()> {
    let Source { name, records, bytes, is_typed } = source;
    let mapping = mapping(copy, &columns, records, tally).await.with_context(|| name.to_owned())?;
    let rows = Rows::new(table, columns, mapping, tally.keeps_rows());
    let mut queues = Vec::new();
    let mut senders = Vec::new();
    for number in 0..SENDERS {
        let (queue, taken) = mpsc::unbounded_channel();
        queues.push(queue);
        senders.push(Sender::new(number, Link::new(cluster.clone(), number), taken, tally).run());
    }
    let position = Cell::new(0);
    let work = async {
        let reading = read(records, rows, queues, tally, &position);
        let reading = async { reading.await.with_context(|| name.to_owned()) };
        futures::try_join!(reading, try_join_all(senders)).map(|_| ())
    };
    tokio::select! {
        biased;
        done = work => done,
        never = show(tally, &position, bytes, is_typed) => match never {},
    }
}

/// What the file's columns are, from its header or the statement.
async fn mapping<R: AsyncRead + Unpin>(
    copy: &Copy,
    columns: &Columns,
    records: &mut Records<R>,
    tally: &Tally,
) -> anyhow::Result<Mapping> {
    if !copy.header {
        return Mapping::of_statement(columns, &copy.columns).map_err(anyhow::Error::msg);
    }
    let Some(header) = records.next().await? else { bail!("it is empty, and has no header") };
    let found = header.cells.and_then(|cells| Mapping::of_header(columns, &cells, &copy.columns));
    // It is a line as any other to those who go on by the number of a line.
    tally.begin(header.line);
    tally.done(header.line, 0);
    found.map_err(|why| anyhow::anyhow!("header: {why}"))
}

async fn read<R: AsyncRead + Unpin>(
    records: &mut Records<R>,
    mut rows: Rows,
    queues: Vec<mpsc::UnboundedSender<Row>>,
    tally: &Tally,
    position: &Cell<u64>,
) -> anyhow::Result<()> {
    let memory = Arc::new(Semaphore::new(MEMORY_BYTES as usize));
    let hand_on = async |mut row: Row| {
        let bytes = u32::try_from(row.bytes()).unwrap_or(u32::MAX).clamp(ROW_BYTES_MIN, MEMORY_BYTES);
        row.memory = memory.clone().acquire_many_owned(bytes).await.ok();
        // A sender that has given up says so itself.
        let _ = queues[row.key as usize % SENDERS].send(row);
    };
    while let Some(record) = records.next().await? {
        position.set(records.position());
        let row = match &record.cells {
            Ok(cells) => rows.take(&record, cells),
            Err(why) => Err(why.clone()),
        };
        match row {
            Ok(row) => {
                tally.begin(record.line);
                drop(record);
                if let Some(row) = row {
                    hand_on(row).await;
                }
            }
            Err(why) => tally.reject(record.line, &why, &record.raw)?,
        }
    }
    if let Some(row) = rows.finish() {
        hand_on(row).await;
    }
    Ok(())
}

/// Shows how far it is, for ever.
async fn show(
    tally: &Tally,
    position: &Cell<u64>,
    bytes: Option<u64>,
    is_typed: bool,
) -> std::convert::Infallible {
    let mut progress = if is_typed { Progress::silent() } else { Progress::start() };
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let rows = tally.rows.get();
        let rate = rows as f64 / began.elapsed().as_secs_f64().max(0.001);
        let rejected = match tally.rejected() {
            0 => String::new(),
            n => format!(", {n} rejected"),
        };
        let text = format!("{rows} rows loaded, {rate:.0}/s{rejected}{}", tally.waits());
        let share = bytes.filter(|all| *all > 0).map(|all| position.get() as f64 / all as f64);
        progress.show(&text, share);
    }
}
