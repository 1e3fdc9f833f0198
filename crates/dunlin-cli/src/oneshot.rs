//! `dunlin get|put|delete|scan`: one verb, one answer.

#![allow(clippy::disallowed_methods, reason = "a tool: it reads the files that its user names")]

use crate::args::{DeleteArgs, Format, GetArgs, PutArgs, ScanArgs, Target};
use crate::output::{self, CellType, object};
use crate::settings::Settings;
use anyhow::{Context as _, anyhow, ensure};
use dunlin_client::call::Write;
use dunlin_client::{Client, ClientError, Columns, Context, Row, Value, ValueType};
use dunlin_terminal::{Output, complain, printable, say};
use dunlin_types::limits::VALUE_BYTES_MAX;
use std::io::{IsTerminal, Read};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A table as one verb uses it: within the time of the verb, whatever it does first.
struct Place {
    settings: Settings,
    client: Client,
    columns: Arc<Columns>,
    ends: Instant,
}

impl Place {
    async fn open(target: &Target) -> anyhow::Result<Place> {
        let settings = target.settings()?;
        let ends = Instant::now() + settings.timeout;
        let client = settings.client()?;
        let columns =
            client.columns(&target.table).await.map_err(|error| told(error, settings.timeout, false))?;
        Ok(Place { settings, client, columns, ends })
    }

    /// What is left of the verb's time.
    fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    fn told(&self, error: ClientError, wrote: bool) -> anyhow::Error {
        told(error, self.settings.timeout, wrote)
    }

    fn key_as_json(&self, key: &str) -> serde_json::Value {
        CellType::of(self.columns.key_type.name()).value(key)
    }

    async fn write(&self, write: Write<'_>, key: &str, format: Format) -> anyhow::Result<ExitCode> {
        let written = write.timeout(self.left()).await.map_err(|error| self.told(error, true))?;
        if format == Format::Json {
            let context = written.context.as_ref().map(Context::as_str);
            show([("key", self.key_as_json(key)), ("applied", true.into()), ("context", context.into())])?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// An error for whoever typed the verb: what the time limit was, and whether a write may have happened.
fn told(error: ClientError, timeout: Duration, wrote: bool) -> anyhow::Error {
    let late = match &error {
        ClientError::Unanswered { source, .. } | ClientError::Connect { source, .. } => {
            source.kind() == std::io::ErrorKind::TimedOut
        }
        ClientError::Busy { .. } => true,
        _ => false,
    };
    let mut text = error.to_string();
    if late {
        text.push_str(&format!(" (--timeout is {} s)", timeout.as_secs_f64()));
    }
    if wrote && error.maybe_applied() && !text.contains("may have been applied") {
        text.push_str("; the write may have been applied");
    }
    anyhow!(text)
}

fn show<const N: usize>(members: [(&str, serde_json::Value); N]) -> anyhow::Result<()> {
    say!("{}", object(members.into_iter()).trim_end())?;
    Ok(())
}

/// Prints the value; each sibling on a line of its own. Exit status 1 when the key is absent.
pub async fn get(args: GetArgs) -> anyhow::Result<ExitCode> {
    let place = Place::open(&args.target).await?;
    let key = place.columns.key_from_text(&args.key)?;
    let read = place.client.get(&args.target.table, key).timeout(place.left());
    let found = read.await.map_err(|error| place.told(error, false))?;
    let context = found.context.as_ref().map(Context::as_str);
    match args.format {
        Format::Json => {
            let of = CellType::of(place.columns.value_type.name());
            let values: Vec<_> = found.values.iter().map(|value| of.value(&value.to_string())).collect();
            show([
                ("key", place.key_as_json(&args.key)),
                ("values", values.into()),
                ("context", context.into()),
            ])?;
        }
        Format::Text => {
            for value in &found.values {
                say!("{}", shown(value))?;
            }
            if found.has_siblings() {
                complain!("{} concurrent values; to replace them all:", found.values.len());
                complain!("  dunlin put KEY VALUE --context {}", context.unwrap_or_default());
            }
            if found.is_absent() {
                complain!("no such key: {}", printable(&args.key));
            }
        }
    }
    Ok(if found.is_absent() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A value as it is, but that it steers no terminal.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if !std::io::stdout().is_terminal() {
        return text;
    }
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Writes a value.
pub async fn put(args: PutArgs) -> anyhow::Result<ExitCode> {
    // Whoever types it is not hurried.
    let bytes = match args.value.as_str() {
        _ if args.verbatim => None,
        "-" => Some(read_whole(std::io::stdin(), "standard input")?),
        value => match value.strip_prefix('@') {
            Some(path) => {
                let file = std::fs::File::open(path).with_context(|| format!("cannot open {path}"))?;
                Some(read_whole(file, path)?)
            }
            None => None,
        },
    };
    let place = Place::open(&args.target).await?;
    let columns = &place.columns;
    let key = columns.key_from_text(&args.key)?;
    let value = match bytes {
        None => columns.value_from_text(&args.value)?,
        Some(bytes) => match columns.value_type {
            ValueType::Text | ValueType::Blob => bytes.into(),
            _ => columns.value_from_text(String::from_utf8_lossy(&bytes).trim())?,
        },
    };
    let mut write = place.client.put(&args.target.table, key, value);
    if let Some(context) = &args.context {
        write = write.context(Context::new(context));
    }
    if let Some(ttl) = args.ttl {
        write = write.ttl(ttl);
    }
    place.write(write, &args.key, args.format).await
}

/// The value that is there, if it is none that every node refuses.
fn read_whole(source: impl Read, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = VALUE_BYTES_MAX as u64;
    source.take(limit + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    ensure!(bytes.len() as u64 <= limit, "{name} is longer than a value may be ({limit} bytes)");
    Ok(bytes)
}

/// Deletes a key.
pub async fn delete(args: DeleteArgs) -> anyhow::Result<ExitCode> {
    let place = Place::open(&args.target).await?;
    let mut write = place.client.delete(&args.target.table, place.columns.key_from_text(&args.key)?);
    if let Some(context) = &args.context {
        write = write.context(Context::new(context));
    }
    place.write(write, &args.key, args.format).await
}

/// Prints every row, page after page.
pub async fn scan(args: ScanArgs) -> anyhow::Result<ExitCode> {
    let place = Place::open(&args.target).await?;
    let mut scan = place.client.scan(&args.target.table);
    if let Some(limit) = args.limit {
        scan = scan.limit(limit);
    }
    let mut rows = scan.rows();
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut out = Output::new();
    while left > 0
        && let Some(row) = rows.next().await
    {
        match row {
            Ok(row) => out.write(line(&row, &place.columns, args.format).as_bytes())?,
            Err(error) => {
                // What was read before is whole.
                out.flush()?;
                return Err(place.told(error, false));
            }
        }
        left -= 1;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn line(row: &Row, columns: &Columns, format: Format) -> String {
    let (key, value) = (row.key.to_string(), row.value.to_string());
    match format {
        Format::Text => output::tsv(&[vec![Some(key.into()), Some(value.into())]]),
        Format::Json => object(
            [
                (columns.key.as_str(), CellType::of(columns.key_type.name()).value(&key)),
                (columns.value.as_str(), CellType::of(columns.value_type.name()).value(&value)),
            ]
            .into_iter(),
        ),
    }
}
