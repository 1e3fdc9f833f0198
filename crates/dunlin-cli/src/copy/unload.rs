//! COPY TO: the table's rows, page after page, into a file that is there whole or not at all.

#![allow(clippy::disallowed_methods, reason = "an edge: it writes the file that it is given, in real time")]

use super::PATIENCE;
use super::link::{Cluster, Link};
use super::mapping::{Field, Mapping};
use super::statement::Copy;
use super::tally::Tally;
use anyhow::{Context, bail};
use dunlin_client::{ClientError, Columns, Reply, TableName, Text};
use dunlin_terminal::{Output, Progress};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Writes all rows. The tally tells how far it came.
pub async fn unload(
    cluster: Rc<Cluster>,
    table: TableName,
    columns: Columns,
    copy: &Copy,
    tally: &Tally,
) -> anyhow::Result<()> {
    let mapping = Mapping::of_statement(&columns, &copy.columns).map_err(anyhow::Error::msg)?;
    let mut out = Target::open(copy.file.as_deref())?;
    let mut bytes = Vec::new();
    if copy.header {
        let names: Vec<String> = mapping.fields().map(|field| field.name(&columns)).collect();
        copy.dialect.write_row(&mut bytes, names.iter().map(String::as_str));
    }
    let items: Vec<String> = mapping.fields().map(|field| field.item(&columns)).collect();
    let select = format!("SELECT {} FROM {table}", items.join(", "));
    let is_whole = mapping.place(Field::Context).is_some();
    let mut last_key: Option<Text> = None;
    let mut link = Link::new(cluster, 0);
    let mut page: Option<String> = None;
    let began = Instant::now();
    let mut progress = Progress::start();
    loop {
        let using = page.as_ref().map(|token| format!(" USING PAGE '{token}'")).unwrap_or_default();
        let reply = ask(&mut link, &format!("{select}{using}"), tally, &mut progress).await?;
        for row in &reply.rows {
            let key = row.get(mapping.key()).cloned().flatten();
            if !is_whole && key.is_some() && key == last_key {
                bail!(siblings(key.as_deref().unwrap_or_default(), &table, &columns));
            }
            last_key = key;
            copy.dialect.write_row(&mut bytes, row.iter().map(|cell| cell.as_deref().unwrap_or_default()));
            if bytes.len() >= 1 << 20 {
                out.write(&bytes)?;
                bytes.clear();
            }
        }
        out.write(&bytes)?;
        bytes.clear();
        tally.rows.set(tally.rows.get() + reply.rows.len() as u64);
        let next = reply.field("page").map(str::to_owned);
        if next.is_some() && next == page {
            bail!("the node goes round in circles: a page names itself as the next one");
        }
        page = next;
        let rows = tally.rows.get();
        let rate = rows as f64 / began.elapsed().as_secs_f64().max(0.001);
        progress.show(&format!("{rows} rows written, {rate:.0}/s"), None);
        if page.is_none() {
            break;
        }
    }
    out.finish()
}

fn siblings(key: &str, table: &TableName, columns: &Columns) -> String {
    let (k, v) = (columns.key_name(), columns.value_name());
    format!(
        "the key {key:?} has several concurrent values, and rows of two columns cannot say that: no file was written. \
         COPY {table} ({k}, {v}, CONTEXT({v})) TO ... writes a third column by which COPY FROM brings them back; \
         or replace them by one value first"
    )
}

/// Asks one node after another until there is an answer.
async fn ask(
    link: &mut Link,
    statement: &str,
    tally: &Tally,
    progress: &mut Progress,
) -> anyhow::Result<Reply> {
    let mut pause = PAUSE;
    loop {
        let failed = match answer(link, statement).await {
            Ok(reply) => {
                tally.go_on(0);
                return Ok(reply);
            }
            Err(error) => error,
        };
        let again = match &failed {
            ClientError::Failed(failure) => failure.is_temporary(),
            ClientError::Connect { .. } | ClientError::Broken { .. } | ClientError::Handshake { .. } => true,
            _ => false,
        };
        tally.wait(0, failed.to_string());
        if !again || tally.waited(0) > PATIENCE {
            return Err(failed.into());
        }
        if !matches!(failed, ClientError::Failed(_)) {
            link.leave();
        }
        progress.show(&format!("{} rows written{}", tally.rows.get(), tally.waits()), None);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn answer(link: &mut Link, statement: &str) -> Result<Reply, ClientError> {
    link.connected().await?.execute(statement).await
}

/// Where rows go.
enum Target {
    Standard(Output),
    /// What is no regular file takes them as they come.
    Stream(BufWriter<File>),
    Beside(Beside),
}

/// A file under another name, which takes its own when it is whole.
struct Beside {
    file: BufWriter<File>,
    written: PathBuf,
    wanted: PathBuf,
    is_whole: bool,
}

impl Target {
    fn open(path: Option<&Path>) -> anyhow::Result<Target> {
        let Some(path) = path else { return Ok(Target::Standard(Output::new())) };
        let cannot = || format!("cannot write {}", path.display());
        // A link stays one, and leads to the new file.
        let wanted = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match std::fs::metadata(&wanted) {
            Ok(found) if found.is_dir() => bail!("{}: it is a directory", cannot()),
            Ok(found) if !found.is_file() => {
                let file = OpenOptions::new().write(true).open(&wanted).with_context(cannot)?;
                return Ok(Target::Stream(BufWriter::new(file)));
            }
            // Who may not write the file may not replace it either.
            Ok(_) => drop(OpenOptions::new().write(true).open(&wanted).with_context(cannot)?),
            Err(_) => {}
        }
        let name = wanted.file_name().with_context(|| format!("{}: it has no name", cannot()))?;
        let mut partial = name.to_owned();
        partial.push(format!(".{}.partial", std::process::id()));
        let written = wanted.with_file_name(partial);
        let file = File::create(&written).with_context(cannot)?;
        Ok(Target::Beside(Beside { file: BufWriter::new(file), written, wanted, is_whole: false }))
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Target::Standard(out) => Ok(out.write(bytes)?),
            Target::Stream(file) => file.write_all(bytes).context("cannot write"),
            Target::Beside(beside) => beside.file.write_all(bytes).with_context(|| beside.cannot()),
        }
    }

    /// Everything is where it belongs.
    fn finish(self) -> anyhow::Result<()> {
        match self {
            Target::Standard(mut out) => Ok(out.flush()?),
            Target::Stream(mut file) => file.flush().context("cannot write"),
            Target::Beside(mut beside) => {
                beside.file.flush().with_context(|| beside.cannot())?;
                beside.file.get_ref().sync_all().with_context(|| beside.cannot())?;
                std::fs::rename(&beside.written, &beside.wanted).with_context(|| beside.cannot())?;
                beside.is_whole = true;
                Ok(())
            }
        }
    }
}

impl Beside {
    fn cannot(&self) -> String {
        format!("cannot write {}", self.wanted.display())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.is_whole {
            // It is of no use to anybody; that it stays does no harm.
            let _ = std::fs::remove_file(&self.written);
        }
    }
}
