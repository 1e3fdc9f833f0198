//! What is sent: names and statements of one run.

use crate::args::BenchArgs;
use crate::settings::Settings;
use dunlin_client::{Columns, Connection};
use dunlin_cql::Literal;
use dunlin_cql::name::TableName;
use dunlin_types::ConflictMode;
use dunlin_types::schema::{KeyType, ValueType};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::atomic::{AtomicU64, Ordering};

/// One run.
pub struct Plan {
    pub args: BenchArgs,
    pub hosts: Vec<String>,
    pub settings: Settings,
    /// The table that is worked in, and its columns.
    pub table: TableName,
    pub columns: Columns,
    /// Keys begin with it.
    pub prefix: String,
    /// Every value that is written.
    value: String,
    /// A bit for each key that was written, where they are removed one by one.
    written: Vec<AtomicU64>,
}

impl Plan {
    /// With the value and the nodes; the table is [`super::place`]'s affair.
    pub fn new(args: BenchArgs) -> anyhow::Result<Plan> {
        let settings = args.settings()?;
        let mut random = StdRng::seed_from_u64(args.seed);
        let value = (0..args.value_size).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect();
        Ok(Plan {
            hosts: settings.hosts(),
            settings,
            table: TableName { keyspace: None, table: String::new() },
            columns: Columns {
                key: "key".to_owned(),
                key_type: KeyType::Text,
                value: "value".to_owned(),
                value_type: ValueType::Text,
                conflicts: ConflictMode::Siblings,
            },
            prefix: "key".to_owned(),
            value,
            written: Vec::new(),
            args,
        })
    }

    /// A connection for the n-th client, at the level that was asked for.
    pub async fn connect(&self, client: usize) -> anyhow::Result<Connection> {
        let host = &self.hosts[client % self.hosts.len()];
        let mut connection = self.settings.connector().connect(host).await?;
        connection.execute(&format!("CONSISTENCY {}", self.settings.consistency)).await?;
        Ok(connection)
    }

    /// From now on it is known which keys were written.
    pub fn remember_writes(&mut self) {
        self.written = (0..self.args.keys.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
    }

    /// Whether a statement that writes the key was made.
    pub fn was_written(&self, n: u64) -> bool {
        self.bits(n).is_some_and(|bits| bits.load(Ordering::Relaxed) >> (n % 64) & 1 == 1)
    }

    fn bits(&self, n: u64) -> Option<&AtomicU64> {
        self.written.get(usize::try_from(n / 64).ok()?)
    }

    fn key(&self, n: u64) -> Literal {
        Literal::Text(format!("{}{n:013}", self.prefix))
    }

    pub fn put_statement(&self, n: u64) -> String {
        if let Some(bits) = self.bits(n) {
            bits.fetch_or(1 << (n % 64), Ordering::Relaxed);
        }
        let durability = self.args.durability.name();
        let value = Literal::Text(self.value.clone());
        format!(
            "INSERT INTO {} ({}, {}) VALUES ({}, {value}) USING DURABILITY {durability};",
            self.table,
            self.columns.key_name(),
            self.columns.value_name(),
            self.key(n),
        )
    }

    pub fn get_statement(&self, n: u64) -> String {
        let columns = &self.columns;
        let (key, value) = (columns.key_name(), columns.value_name());
        format!("SELECT {value} FROM {} WHERE {key} = {};", self.table, self.key(n))
    }

    pub fn delete_statement(&self, n: u64) -> String {
        format!("DELETE FROM {} WHERE {} = {};", self.table, self.columns.key_name(), self.key(n))
    }

    pub fn scan_statement(&self, token: u64) -> String {
        format!("SELECT * FROM {} WHERE TOKEN({}) > {token} LIMIT 50;", self.table, self.columns.key_name())
    }
}
