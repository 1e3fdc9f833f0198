//! Where the load goes: a keyspace of its own that goes away again, or the user's table, of which nothing is changed but
//! keys under a name of their own.

#![allow(clippy::disallowed_methods, reason = "a load generator runs in real time")]

use super::fill;
use super::plan::Plan;
use super::shown;
use crate::args::BenchArgs;
use anyhow::{Context, ensure};
use dunlin_client::{Columns, Connection};
use dunlin_cql::Literal;
use dunlin_cql::name::{Quoted, TableName};
use dunlin_terminal::complain;
use dunlin_types::schema::{KeyType, ValueType};
use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Copies of each key in a data centre that has as many nodes.
const REPLICAS: usize = 3;
/// Longest wait until every node that is asked knows the table.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);
/// Longest wait for the cluster to take a change of the schema at the end: it may be very busy.
const CLEANED_WITHIN: Duration = Duration::from_secs(60);

/// The table of one run.
pub struct Place {
    /// Its own keyspace; `None` when the user's table is used.
    keyspace: Option<String>,
    table: TableName,
    prefix: String,
    keep: bool,
    /// Whether something may be there that was not there before.
    began: Cell<bool>,
    plan: OnceCell<Arc<Plan>>,
}

impl Place {
    /// Names only: nothing is changed before [`Place::prepare`].
    pub fn choose(plan: &Plan) -> Place {
        // Runs at the same time, or one that was killed, must not meet.
        let run = format!("dunlin_bench_{:08x}", rand::random::<u32>());
        let (keyspace, table, prefix) = match &plan.args.table {
            Some(table) => (None, table.clone(), format!("{run}_")),
            None => {
                let table = TableName { keyspace: Some(run.clone()), table: "kv".to_owned() };
                (Some(run), table, "key".to_owned())
            }
        };
        Place {
            keyspace,
            table,
            prefix,
            keep: plan.args.keep,
            began: Cell::new(false),
            plan: OnceCell::new(),
        }
    }

    /// The plan with a table that every node it names knows.
    pub async fn prepare(&self, mut plan: Plan) -> anyhow::Result<Arc<Plan>> {
        (plan.table, plan.prefix) = (self.table.clone(), self.prefix.clone());
        let mut connection = plan.connect(0).await?;
        if let Some(keyspace) = &self.keyspace {
            self.began.set(true);
            let replication = replication(&mut connection).await?;
            let keyspace = Quoted(keyspace);
            connection
                .execute(&format!("CREATE KEYSPACE {keyspace} WITH replication = {replication}"))
                .await?;
            let create = format!(
                "CREATE TABLE {} (key text PRIMARY KEY, value text) WITH conflicts = {}",
                self.table,
                Literal::Text(plan.args.conflicts.name().to_owned())
            );
            connection.execute(&create).await?;
        }
        plan.columns = columns(&mut connection, &self.table)
            .await?
            .with_context(|| format!("there is no table {}", self.table))?;
        ensure!(
            plan.columns.key_type == KeyType::Text && plan.columns.value_type == ValueType::Text,
            "the load is text, but {} maps {} to {}",
            self.table,
            plan.columns.key_type.name(),
            plan.columns.value_type.name()
        );
        let known = async {
            for client in 1..plan.hosts.len() {
                let mut connection = plan.connect(client).await?;
                while columns(&mut connection, &self.table).await?.is_none() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            anyhow::Ok(())
        };
        timeout(KNOWN_WITHIN, known)
            .await
            .with_context(|| format!("a node does not know the table {} in time", self.table))??;
        if self.keyspace.is_none() && !self.keep {
            plan.remember_writes();
        }
        self.began.set(true);
        Ok(self.plan.get_or_init(|| Arc::new(plan)).clone())
    }

    /// Takes away what the run has made, unless it is to be kept; says what stays.
    pub async fn clean(&self, args: &BenchArgs) -> anyhow::Result<()> {
        if !self.began.get() {
            return Ok(());
        }
        if self.keep {
            complain!("{}", self.left_over());
            return Ok(());
        }
        match (&self.keyspace, self.plan.get()) {
            (Some(keyspace), _) => drop_keyspace(args, keyspace).await,
            (None, Some(plan)) => fill::remove(plan, |n| plan.was_written(n)).await,
            (None, None) => Ok(()),
        }
    }

    /// What is there that was not there before, and how it goes away.
    pub fn left_over(&self) -> String {
        match &self.keyspace {
            Some(keyspace) => {
                format!("the keyspace {0} stays: DROP KEYSPACE {0} takes it away", Quoted(keyspace))
            }
            None => format!("keys that begin with {} stay in {}", self.prefix, self.table),
        }
    }
}

/// As many copies as there are nodes in each data centre, up to three.
async fn replication(connection: &mut Connection) -> anyhow::Result<String> {
    let mut centres: BTreeMap<String, usize> = BTreeMap::new();
    let members = [
        "SELECT data_center FROM system.local",
        "SELECT data_center FROM system.peers WHERE status = 'normal'",
    ];
    for query in members {
        for row in connection.execute(query).await?.rows {
            let name = row.into_iter().next().flatten().map_or_else(String::new, |name| name.to_string());
            *centres.entry(name).or_default() += 1;
        }
    }
    let copies = |nodes: &usize| (*nodes).min(REPLICAS);
    Ok(match centres.len() {
        0 | 1 => {
            let copies = centres.values().next().map_or(1, copies);
            format!("{{'class': 'SimpleStrategy', 'replication_factor': {copies}}}")
        }
        _ => {
            let each =
                centres.iter().map(|(name, n)| format!(", {}: {}", Literal::Text(name.clone()), copies(n)));
            format!("{{'class': 'NetworkTopologyStrategy'{}}}", each.collect::<String>())
        }
    })
}

async fn columns(connection: &mut Connection, table: &TableName) -> anyhow::Result<Option<Columns>> {
    Ok(connection.columns(table).await?)
}

/// By way of whichever node takes it.
async fn drop_keyspace(args: &BenchArgs, keyspace: &str) -> anyhow::Result<()> {
    let settings = args.settings()?;
    let statement = format!("DROP KEYSPACE IF EXISTS {}", Quoted(keyspace));
    let until = Instant::now() + CLEANED_WITHIN;
    let connector = settings.connector();
    for host in settings.hosts().iter().cycle() {
        let dropped = async { anyhow::Ok(connector.connect(host).await?.execute(&statement).await?) };
        match shown(args.format, || (format!("dropping {keyspace}"), None), dropped).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
    anyhow::bail!("there is no node to ask")
}
