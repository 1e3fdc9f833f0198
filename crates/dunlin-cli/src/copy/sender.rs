//! One connection of a COPY FROM: many rows in flight, those of one key one after the other.

#![allow(clippy::disallowed_methods, reason = "an edge: it waits in real time")]

use super::PATIENCE;
use super::link::Link;
use super::rows::{Row, Siblings, What};
use super::tally::Tally;
use anyhow::bail;
use dunlin_client::{ClientError, Connection, Failure, Reply};
use dunlin_types::ErrorCode;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

/// Rows in flight.
const WINDOW: usize = 2048;
/// Rows of one batch, and bytes of their statements: small rows cost the node mostly what a statement costs.
const BATCH_ROWS: usize = 64;
const BATCH_BYTES: usize = 64 << 10;
/// Longest statement that goes into a batch.
const SMALL_BYTES: usize = 4 << 10;
/// First pause after a refusal; doubled each time.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Sends rows until there are no more.
pub struct Sender<'t> {
    number: usize,
    link: Link,
    rows: mpsc::UnboundedReceiver<Row>,
    tally: &'t Tally,
    /// Rows that are not sent, in the file's order as far as they are of one key.
    waiting: VecDeque<Row>,
    /// Keys of rows that came to those and may be there still.
    queued: BTreeSet<u64>,
    /// Rows that are sent and not answered, those of one statement together.
    sent: VecDeque<Vec<Row>>,
    /// Their keys.
    busy: BTreeSet<u64>,
    /// Refusals without a success between them.
    refusals: u32,
}

/// Why a row is not in, and may get in a little later.
struct Trouble {
    why: String,
    /// The pause that the node asked for.
    after: Option<Duration>,
}

impl<'t> Sender<'t> {
    /// Takes rows from a queue.
    pub fn new(
        number: usize,
        link: Link,
        rows: mpsc::UnboundedReceiver<Row>,
        tally: &'t Tally,
    ) -> Sender<'t> {
        Sender {
            number,
            link,
            rows,
            tally,
            waiting: VecDeque::new(),
            queued: BTreeSet::new(),
            sent: VecDeque::new(),
            busy: BTreeSet::new(),
            refusals: 0,
        }
    }

    /// Ends when the queue is closed and every row in or rejected. An error: it gave up.
    pub async fn run(mut self) -> anyhow::Result<()> {
        while self.gather().await {
            match self.exchange().await? {
                None => {}
                Some(trouble) => self.pause(trouble).await?,
            }
        }
        Ok(())
    }

    /// Takes the rows that there are; waits for one where nothing else is to be done. False: there are no more.
    async fn gather(&mut self) -> bool {
        if self.waiting.is_empty() && self.sent.is_empty() {
            match self.rows.recv().await {
                Some(row) => self.queue(row),
                None => return false,
            }
        }
        while self.waiting.len() + self.in_flight() < 2 * WINDOW {
            match self.rows.try_recv() {
                Ok(row) => self.queue(row),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        true
    }

    /// Puts a row behind the others; or in the place of one of its key that was not sent yet, which it replaces anyway.
    fn queue(&mut self, mut row: Row) {
        if self.waiting.is_empty() {
            self.queued.clear();
        }
        let is_write = |row: &Row| matches!(row.what, What::Write(_));
        if !self.queued.insert(row.key) && is_write(&row) {
            let last = self.waiting.iter_mut().rev().find(|other| other.key == row.key);
            if let Some(earlier) = last.filter(|earlier| is_write(earlier) && !earlier.was_sent) {
                std::mem::swap(earlier, &mut row);
                earlier.before = Some(Box::new(row));
                return;
            }
        }
        self.waiting.push_back(row);
    }

    /// Sends what may be sent and takes answers until there is room for more. Gives what stands in the way, if anything
    /// does; an error ends the load.
    async fn exchange(&mut self) -> anyhow::Result<Option<Trouble>> {
        if let Err(error) = self.link.connected().await {
            return self.broken(error).map(Some);
        }
        if self.sent.is_empty()
            && self.waiting.front().is_some_and(|row| matches!(row.what, What::Siblings(_)))
        {
            return self.siblings().await;
        }
        let connection = connection_of(&mut self.link);
        if !waits_for_company(&self.waiting, 0, &self.sent)
            && fill(&mut self.waiting, &mut self.sent, &mut self.busy, connection)
            && let Err(error) = connection.flush().await
        {
            return self.broken(error).map(Some);
        }
        let mut trouble = None;
        // With trouble, all answers are awaited: what is tried again must not overtake anything.
        while !self.sent.is_empty() && (trouble.is_some() || self.in_flight() > WINDOW / 2 || self.is_stuck())
        {
            match receive(connection_of(&mut self.link), self.tally, self.number).await {
                Ok(outcome) => trouble = self.answered(outcome)?.or(trouble),
                Err(error) => return self.broken(error).map(Some),
            }
        }
        Ok(trouble)
    }

    /// Nothing can be sent before an answer comes.
    fn is_stuck(&self) -> bool {
        self.rows.is_empty()
            || waits_for_company(&self.waiting, self.rows.len(), &self.sent)
            || self.waiting.len() + self.in_flight() >= 2 * WINDOW
            || self.waiting.front().is_some_and(|row| matches!(row.what, What::Siblings(_)))
    }

    fn answered(&mut self, outcome: Result<Reply, Failure>) -> anyhow::Result<Option<Trouble>> {
        let Some(rows) = self.sent.pop_front() else { return Ok(None) };
        for row in &rows {
            self.busy.remove(&row.key);
        }
        match outcome {
            Ok(_) => {
                self.succeeded();
                rows.into_iter().for_each(|row| self.done(row));
            }
            Err(failure) if is_passing(&failure) => {
                // Later rows of the same keys are behind them.
                rows.into_iter().rev().for_each(|row| self.waiting.push_front(row));
                return Ok(Some(passing(&failure)));
            }
            // Which row it was is known when each has a statement of its own.
            Err(_) if rows.len() > 1 => {
                for mut row in rows.into_iter().rev() {
                    row.is_alone = true;
                    self.waiting.push_front(row);
                }
            }
            Err(failure) => {
                self.succeeded();
                for row in rows {
                    self.tally.reject(row.line, &failure.to_string(), &row.raw)?;
                    if let Some(before) = row.before {
                        self.waiting.push_front(*before);
                    }
                }
            }
        }
        Ok(None)
    }

    /// A row is in, and with it those that it replaced.
    fn done(&self, row: Row) {
        let mut next = Some(Box::new(row));
        while let Some(row) = next {
            self.tally.done(row.line, 1);
            next = row.before;
        }
    }

    fn in_flight(&self) -> usize {
        // No row is sent twice, so keys count them.
        self.busy.len()
    }

    /// Writes the siblings at the front.
    async fn siblings(&mut self) -> anyhow::Result<Option<Trouble>> {
        let Some(mut row) = self.waiting.pop_front() else { return Ok(None) };
        let What::Siblings(siblings) = &mut row.what else { return Ok(None) };
        let ended = write_siblings(connection_of(&mut self.link), self.tally, self.number, siblings).await;
        let failure = match ended {
            Ok(()) => None,
            Err(ClientError::Failed(failure)) if is_passing(&failure) => {
                self.waiting.push_front(row);
                return Ok(Some(passing(&failure)));
            }
            Err(ClientError::Failed(failure)) => Some(failure.to_string()),
            Err(error) => {
                self.waiting.push_front(row);
                return self.broken(error).map(Some);
            }
        };
        for (i, sibling) in siblings.writes.iter().enumerate() {
            match &failure {
                Some(why) if i >= siblings.done => self.tally.reject(sibling.line, why, &sibling.raw)?,
                _ => self.tally.done(sibling.line, 1),
            }
        }
        self.succeeded();
        Ok(None)
    }

    fn succeeded(&mut self) {
        self.refusals = 0;
        self.tally.go_on(self.number);
    }

    /// What was sent on this connection is sent again on the next. An error: no other connection will do better.
    fn broken(&mut self, error: ClientError) -> anyhow::Result<Trouble> {
        for row in self.sent.drain(..).rev().flat_map(|rows| rows.into_iter().rev()) {
            self.waiting.push_front(row);
        }
        self.busy.clear();
        let is_hopeless = matches!(&error, ClientError::Failed(failure) if !is_passing(failure));
        if is_hopeless || matches!(error, ClientError::Statement(_)) {
            return Err(error.into());
        }
        self.link.leave();
        Ok(Trouble { why: error.to_string(), after: None })
    }

    /// Waits a little; gives up when that was so for too long.
    async fn pause(&mut self, trouble: Trouble) -> anyhow::Result<()> {
        let Trouble { why, after } = trouble;
        self.tally.wait(self.number, why.clone());
        if self.tally.waited(self.number) > PATIENCE {
            bail!("gave up after {} s in which no row got in: {why}", PATIENCE.as_secs());
        }
        let pause = PAUSE.saturating_mul(2u32.saturating_pow(self.refusals.min(10)));
        self.refusals += 1;
        tokio::time::sleep(after.unwrap_or(pause).min(PAUSE_MAX)).await;
        Ok(())
    }
}

/// Whether a few small rows do better to wait for others: while answers are awaited, more come.
fn waits_for_company(waiting: &VecDeque<Row>, more: usize, sent: &VecDeque<Vec<Row>>) -> bool {
    let is_large = |row: &Row| row.is_alone || row.bytes() > SMALL_BYTES;
    !sent.is_empty() && waiting.len() + more < BATCH_ROWS && !waiting.front().is_some_and(is_large)
}

/// Queues rows whose keys are not in flight, in their order; true if there are any. Siblings wait until nothing is.
fn fill(
    waiting: &mut VecDeque<Row>,
    sent: &mut VecDeque<Vec<Row>>,
    busy: &mut BTreeSet<u64>,
    connection: &mut Connection,
) -> bool {
    let mut later = VecDeque::new();
    // Of a key that waits, what comes behind waits too.
    let mut passed = BTreeSet::new();
    let mut batch = Batch::default();
    let before = sent.len();
    while busy.len() < WINDOW
        && let Some(mut row) = waiting.pop_front()
    {
        match &row.what {
            What::Siblings(_) => {
                waiting.push_front(row);
                break;
            }
            What::Write(statement) if !passed.contains(&row.key) && busy.insert(row.key) => {
                row.was_sent = true;
                if row.is_alone || statement.len() > SMALL_BYTES {
                    connection.queue(statement);
                    sent.push_back(vec![row]);
                } else if batch.add(row) {
                    sent.extend(std::mem::take(&mut batch).queue(connection));
                }
            }
            What::Write(_) => {
                passed.insert(row.key);
                later.push_back(row);
            }
        }
    }
    sent.extend(batch.queue(connection));
    while let Some(row) = later.pop_back() {
        waiting.push_front(row);
    }
    sent.len() > before
}

/// Small rows that share a statement.
#[derive(Default)]
struct Batch {
    rows: Vec<Row>,
    bytes: usize,
}

impl Batch {
    /// Takes a row; whether it is full by that.
    fn add(&mut self, row: Row) -> bool {
        self.bytes += row.bytes();
        self.rows.push(row);
        self.rows.len() == BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// Queues its statement, if there is one.
    fn queue(self, connection: &mut Connection) -> Option<Vec<Row>> {
        let writes = || {
            self.rows.iter().filter_map(|row| match &row.what {
                What::Write(statement) => Some(statement.as_str()),
                What::Siblings(_) => None,
            })
        };
        match self.rows.len() {
            0 => return None,
            1 => writes().for_each(|statement| connection.queue(statement)),
            _ => {
                let mut text = String::with_capacity(self.bytes + 4 * BATCH_ROWS);
                text.push_str("BEGIN BATCH\n");
                writes().for_each(|statement| {
                    text.push_str(statement);
                    text.push_str(";\n");
                });
                text.push_str("APPLY BATCH");
                connection.queue(&text);
            }
        }
        Some(self.rows)
    }
}

fn connection_of(link: &mut Link) -> &mut Connection {
    link.open().expect("it was connected before")
}

/// The next answer. While none comes, that is told.
async fn receive(
    connection: &mut Connection,
    tally: &Tally,
    number: usize,
) -> Result<Result<Reply, Failure>, ClientError> {
    let addr = connection.addr().to_owned();
    let mut answer = std::pin::pin!(connection.receive());
    loop {
        match tokio::time::timeout(Duration::from_secs(1), &mut answer).await {
            Ok(answer) => return answer,
            Err(_) => tally.wait(number, format!("no answer from {addr}")),
        }
    }
}

async fn write_siblings(
    connection: &mut Connection,
    tally: &Tally,
    number: usize,
    siblings: &mut Siblings,
) -> Result<(), ClientError> {
    let context = match &siblings.context {
        Some(context) => context.clone(),
        None => {
            connection.queue(&siblings.read);
            connection.flush().await?;
            let reply = receive(connection, tally, number).await??;
            let of_row = reply.rows.first().and_then(|row| row.first()?.as_deref()).map(str::to_owned);
            let context = of_row.or_else(|| reply.field("context").map(str::to_owned)).unwrap_or_default();
            siblings.context.insert(context).clone()
        }
    };
    while let Some(write) = siblings.writes.get(siblings.done).map(|sibling| &sibling.statement) {
        connection.queue(&format!("{write}'{context}'"));
        connection.flush().await?;
        receive(connection, tally, number).await??;
        siblings.done += 1;
    }
    Ok(())
}

/// Whether the row may get in later as it is.
fn is_passing(failure: &Failure) -> bool {
    failure.is_temporary() || failure.kind() == Some(ErrorCode::DiskFull)
}

fn passing(failure: &Failure) -> Trouble {
    let after = failure.field("retry_after_ms").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
    Trouble { why: failure.to_string(), after }
}
