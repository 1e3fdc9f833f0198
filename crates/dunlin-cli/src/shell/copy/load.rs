//! COPY FROM: one reader of the file, several senders. Rows of one key go to one sender, so that a key which is
//! there twice is written in the file's order and not as concurrent values.

use super::Columns;
use super::statement::Copy;
use crate::shell::progress;
use crate::shell::session::Session;
use anyhow::{Context, bail};
use dunlin_client::{Connection, Connector, Failure};
use dunlin_cql::Literal;
use dunlin_cql::value::value_literal_from_text;
use dunlin_terminal::complain;
use dunlin_types::schema::ValueType;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Connections at work.
const SENDERS: usize = 4;
/// Rows that a sender takes at a time, all in flight together.
const BATCH_ROWS: usize = 128;
/// How long a row is tried before the load is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rejected rows that are shown.
const SHOWN_MAX: u64 = 5;

struct Row {
    number: u64,
    statement: String,
}

struct Shared {
    hosts: Vec<String>,
    settings: Vec<String>,
    connector: Connector,
}

/// Loads the file. (rows loaded, rows rejected).
pub async fn from_file(session: &Session, copy: &Copy, columns: &Columns) -> anyhow::Result<(u64, u64)> {
    let file = std::fs::File::open(&copy.file).with_context(|| format!("cannot open {}", copy.file))?;
    let bar = progress::bytes(file.metadata()?.len(), "loading");
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(copy.header)
        .delimiter(copy.delimiter)
        .flexible(true)
        .from_reader(bar.wrap_read(std::io::BufReader::new(file)));

    let shared = Arc::new(Shared {
        hosts: session.hosts().to_vec(),
        settings: session.settings().map(str::to_owned).collect(),
        connector: session.connector().clone(),
    });
    let mut senders = Vec::new();
    let mut queues = Vec::new();
    for index in 0..SENDERS {
        let (queue, rows) = mpsc::channel::<Vec<Row>>(2);
        queues.push(queue);
        senders.push(tokio::spawn(send(shared.clone(), index, rows)));
    }

    let mut batches: [Vec<Row>; SENDERS] = std::array::from_fn(|_| Vec::with_capacity(BATCH_ROWS));
    let mut rejected = 0;
    let mut number = 0;
    for record in reader.records() {
        let record = record.with_context(|| copy.file.clone())?;
        number += 1;
        let statement = match statement(columns, &record) {
            Ok(statement) => statement,
            Err(what) => {
                rejected += 1;
                show(rejected, number, &what);
                continue;
            }
        };
        let sender = sender_of(&record[0]);
        batches[sender].push(Row { number, statement });
        if batches[sender].len() == BATCH_ROWS {
            let full = std::mem::replace(&mut batches[sender], Vec::with_capacity(BATCH_ROWS));
            if queues[sender].send(full).await.is_err() {
                break;
            }
        }
    }
    for (queue, rest) in queues.iter().zip(batches) {
        if !rest.is_empty() {
            // A sender that has given up reports it below.
            let _ = queue.send(rest).await;
        }
    }
    drop(queues);
    let mut loaded = 0;
    for sender in senders {
        let (ok, refused) = sender.await.context("a sender ended badly")??;
        loaded += ok;
        rejected += refused;
    }
    bar.finish_and_clear();
    Ok((loaded, rejected))
}

/// The same for equal keys.
fn sender_of(key: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish() as usize % SENDERS
}

fn show(nth: u64, row: u64, what: &str) {
    if nth <= SHOWN_MAX {
        complain!("row {row} rejected: {what}");
    } else if nth == SHOWN_MAX + 1 {
        complain!("further rejected rows are only counted");
    }
}

fn statement(columns: &Columns, record: &csv::StringRecord) -> Result<String, String> {
    if record.len() != 2 {
        return Err(format!("{} columns where the table has 2", record.len()));
    }
    Ok(format!(
        "INSERT INTO {} (\"{}\", \"{}\") VALUES ({}, {});",
        columns.table,
        columns.key.replace('"', "\"\""),
        columns.value.replace('"', "\"\""),
        literal(&columns.key_type, &record[0])?,
        literal(&columns.value_type, &record[1])?
    ))
}

fn literal(type_name: &str, cell: &str) -> Result<Literal, String> {
    use ValueType::{Bigint, Blob, Boolean, Double, Text, Uuid};
    let known =
        [Text, Blob, Bigint, Double, Boolean, Uuid].into_iter().find(|known| known.name() == type_name);
    value_literal_from_text(known.unwrap_or(Text), cell).map_err(|error| error.to_string())
}

/// Sends batches until the queue is closed. (rows acknowledged, rows rejected); an error when it gave up.
async fn send(
    shared: Arc<Shared>,
    index: usize,
    mut rows: mpsc::Receiver<Vec<Row>>,
) -> anyhow::Result<(u64, u64)> {
    let mut connection: Option<Connection> = None;
    let mut host = index;
    let (mut loaded, mut rejected) = (0, 0);
    while let Some(mut batch) = rows.recv().await {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(20);
        while !batch.is_empty() {
            let mut trouble = String::new();
            if connection.is_none() {
                match open(&shared, host).await {
                    Ok(opened) => connection = Some(opened),
                    Err(error) => trouble = format!("{error:#}"),
                }
            }
            if let Some(open) = &mut connection {
                let sent = batch.len();
                match exchange(open, &mut batch).await {
                    Ok(refused) => {
                        loaded += (sent - batch.len() - refused.len()) as u64;
                        for (row, failure) in refused {
                            rejected += 1;
                            show(rejected, row, &failure.to_string());
                        }
                    }
                    Err(error) => {
                        // What was in flight is sent again on another connection.
                        trouble = format!("{error:#}");
                        connection = None;
                        host += 1;
                    }
                }
            }
            if !batch.is_empty() {
                if Instant::now() > deadline {
                    bail!("gave up at row {} after {} s: {trouble}", batch[0].number, PATIENCE.as_secs());
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }
    Ok((loaded, rejected))
}

async fn open(shared: &Shared, host: usize) -> anyhow::Result<Connection> {
    let host = &shared.hosts[host % shared.hosts.len()];
    let mut connection = shared.connector.connect(host).await?;
    for statement in &shared.settings {
        connection.execute(statement).await?;
    }
    Ok(connection)
}

/// Sends a batch and takes every reply. Acknowledged and refused rows leave the batch; what failed for a passing
/// reason stays in it.
async fn exchange(connection: &mut Connection, batch: &mut Vec<Row>) -> anyhow::Result<Vec<(u64, Failure)>> {
    for row in batch.iter() {
        connection.queue(&row.statement);
    }
    connection.flush().await?;
    let mut again = Vec::new();
    let mut refused = Vec::new();
    let mut replies = Vec::with_capacity(batch.len());
    for _ in 0..batch.len() {
        replies.push(connection.receive().await?);
    }
    for (row, reply) in batch.drain(..).zip(replies) {
        match reply {
            Ok(_) => {}
            Err(failure) if failure.is_temporary() => again.push(row),
            Err(failure) => refused.push((row.number, failure)),
        }
    }
    *batch = again;
    Ok(refused)
}
