//! `dunlin get|put|delete|scan`: one verb, one answer.

use crate::args::{DeleteArgs, Format, GetArgs, PutArgs, RowFormat, ScanArgs, Target};
use crate::output;
use dunlin_client::{Client, Options};
use dunlin_terminal::{Output, complain, say};
use std::process::ExitCode;

fn client(target: &Target) -> anyhow::Result<Client> {
    let settings = target.settings()?;
    let options =
        Options { consistency: Some(settings.consistency), timeout: settings.timeout, ..Default::default() };
    Ok(Client::with_options(settings.connector(), settings.hosts(), options))
}

/// Prints the value; each sibling on a line of its own. Exit status 1 when the key is absent.
pub async fn get(args: GetArgs) -> anyhow::Result<ExitCode> {
    let client = client(&args.target)?;
    let found = client.get(&args.target.table, &args.key).await?;
    match args.format {
        Format::Json => {
            say!(
                "{}",
                serde_json::json!({ "key": args.key, "values": found.values, "context": found.context })
            )?;
        }
        Format::Text => {
            for value in &found.values {
                say!("{value}")?;
            }
            if found.values.len() > 1 {
                complain!("{} concurrent values; to replace them all:", found.values.len());
                complain!(
                    "  dunlin put KEY VALUE --context {}",
                    found.context.as_deref().unwrap_or_default()
                );
            }
        }
    }
    if found.values.is_empty() {
        if args.format == Format::Text {
            complain!("no such key: {}", args.key);
        }
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a value.
pub async fn put(args: PutArgs) -> anyhow::Result<ExitCode> {
    let client = client(&args.target)?;
    client.put_with(&args.target.table, &args.key, &args.value, args.context.as_deref()).await?;
    Ok(ExitCode::SUCCESS)
}

/// Deletes a key.
pub async fn delete(args: DeleteArgs) -> anyhow::Result<ExitCode> {
    let client = client(&args.target)?;
    client.delete(&args.target.table, &args.key).await?;
    Ok(ExitCode::SUCCESS)
}

/// Prints every row, page after page.
pub async fn scan(args: ScanArgs) -> anyhow::Result<ExitCode> {
    let client = client(&args.target)?;
    let format = if args.format == Format::Json { RowFormat::Json } else { RowFormat::Tsv };
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut page: Option<String> = None;
    let mut out = Output::new();
    loop {
        let mut reply = client.scan(&args.target.table, page.as_deref()).await?;
        reply.rows.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= reply.rows.len() as u64;
        out.write(output::rows(&reply, format).as_bytes())?;
        page = reply.field("page").map(str::to_owned);
        if page.is_none() || left == 0 {
            out.flush()?;
            return Ok(ExitCode::SUCCESS);
        }
    }
}
