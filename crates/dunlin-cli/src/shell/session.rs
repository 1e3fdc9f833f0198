//! One connection to the cluster on behalf of a person: runs a statement, prints what came of it.

#![allow(clippy::disallowed_methods, reason = "an edge: the shell measures and waits in real time")]

use super::copy;
use crate::args::RowFormat;
use crate::output;
use dunlin_client::{ClientError, Connection, Connector, Failure, Reply};
use dunlin_terminal::{Output, complain, printable, say};
use std::time::{Duration, Instant};

/// A shell's session.
pub struct Session {
    connection: Connection,
    connector: Connector,
    hosts: Vec<String>,
    format: RowFormat,
    /// Session statements to repeat after reconnecting: USE, CONSISTENCY, PAGING, TRACING, LOGIN.
    settings: Vec<(String, String)>,
    /// QUIT or EXIT was said.
    pub ended: bool,
    /// Whether to print how long a statement took.
    pub timing: bool,
}

const SETTINGS: [&str; 5] = ["USE", "CONSISTENCY", "PAGING", "TRACING", "LOGIN"];

impl Session {
    /// Connects and learns the other nodes' addresses, in case this one goes away.
    pub async fn connect(connector: Connector, host: &str, format: RowFormat) -> anyhow::Result<Session> {
        let mut connection = connector.connect(host).await?;
        let mut hosts = vec![host.to_owned()];
        if let Ok(peers) = connection.execute("SELECT * FROM system.peers").await {
            let column = peers.column("client_address");
            let found = peers.rows.iter().filter_map(|row| Some(row.get(column?)?.as_deref()?.to_owned()));
            hosts.extend(found.filter(|addr| addr != host));
        }
        Ok(Session {
            connection,
            connector,
            hosts,
            format,
            settings: Vec::new(),
            ended: false,
            timing: false,
        })
    }

    /// Nodes to connect to: the one given first.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The node in use.
    pub fn host(&self) -> &str {
        self.connection.addr()
    }

    /// Opens further connections like this session's.
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Statements that bring a new connection to this session's state.
    pub fn settings(&self) -> impl Iterator<Item = &str> {
        self.settings.iter().map(|(_, statement)| statement.as_str())
    }

    /// Runs a reading statement that the shell itself needs; once more at another node if this one goes away.
    pub async fn ask(&mut self, statement: &str) -> anyhow::Result<Reply> {
        match self.connection.execute(statement).await {
            Err(ClientError::Broken { addr, source }) => {
                complain!("lost the connection to {addr} ({source})");
                self.reconnect().await?;
                Ok(self.connection.execute(statement).await?)
            }
            other => Ok(other?),
        }
    }

    /// Runs one statement and prints its outcome. False if it failed; an error if no node can be reached.
    pub async fn run(&mut self, statement: &str) -> anyhow::Result<bool> {
        let word = first_word(statement);
        match word.as_str() {
            "" => return Ok(true),
            "QUIT" | "EXIT" => {
                self.ended = true;
                return Ok(true);
            }
            "COPY" => return copy::run(self, statement).await,
            _ => {}
        }
        let began = Instant::now();
        let outcome = self.connection.execute(statement).await;
        let outcome = match outcome {
            // A lost connection: say so, and never repeat what may have been applied.
            Err(ClientError::Broken { addr, source }) => {
                complain!(
                    "lost the connection to {addr} ({source}); a write may or may not have been applied"
                );
                self.reconnect().await?;
                return Ok(false);
            }
            other => other,
        };
        match outcome {
            Ok(reply) => {
                for warning in &reply.warnings {
                    complain!("warning: {}", printable(warning));
                }
                let mut out = Output::new();
                out.write(output::rows(&reply, self.format).as_bytes())?;
                out.flush()?;
                for trace in &reply.trace {
                    complain!("trace: {trace}");
                }
                if self.format == RowFormat::Table {
                    if reply.columns.is_none() {
                        say!("OK")?;
                    }
                    if let Some(page) = reply.field("page") {
                        say!("more rows: repeat the statement with USING PAGE '{page}'")?;
                    }
                }
                if self.timing {
                    say!("{:.1} ms", began.elapsed().as_secs_f64() * 1000.0)?;
                }
                if SETTINGS.contains(&word.as_str()) {
                    self.settings.retain(|(name, _)| *name != word);
                    self.settings.push((word, statement.to_owned()));
                }
                Ok(true)
            }
            Err(ClientError::Failed(failure)) => {
                print_failure(statement, &failure);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn reconnect(&mut self) -> anyhow::Result<()> {
        let mut last = None;
        let connector =
            self.connector.clone().with_timeout(self.connector.timeout().min(Duration::from_secs(5)));
        for host in &self.hosts {
            match connector.connect(host).await {
                Ok(mut connection) => {
                    for (_, statement) in &self.settings {
                        connection.execute(statement).await?;
                    }
                    complain!("connected to {host}");
                    self.connection = connection;
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there is at least one host").into())
    }
}

/// The first word in upper case, without what surrounds it.
pub fn first_word(statement: &str) -> String {
    statement
        .trim_start()
        .chars()
        .take_while(|c| c.is_ascii_alphabetic())
        .collect::<String>()
        .to_ascii_uppercase()
}

/// The error, with the place in the statement pointed at.
fn print_failure(statement: &str, failure: &Failure) {
    let place = failure
        .field("line")
        .and_then(|l| l.parse::<usize>().ok())
        .zip(failure.field("column").and_then(|c| c.parse::<usize>().ok()));
    if let Some((line, column)) = place
        && let Some(text) = statement.lines().nth(line.saturating_sub(1))
    {
        complain!("{}", printable(text));
        complain!("{}^", " ".repeat(column.saturating_sub(1)));
    }
    complain!("{}: {}", failure.code, printable(&failure.message));
    let details: Vec<String> = failure
        .fields
        .iter()
        .filter(|(name, _)| !["line", "column"].contains(&name.as_str()))
        .map(|(n, v)| format!("{n}={v}"))
        .collect();
    if !details.is_empty() {
        complain!("  {}", printable(&details.join(" ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_decides() {
        for (statement, word) in
            [(" quit;", "QUIT"), ("COPY t FROM 'x'", "COPY"), (";", ""), ("select*", "SELECT")]
        {
            assert_eq!(first_word(statement), word);
        }
    }
}
