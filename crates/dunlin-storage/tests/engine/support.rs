//! A model of the engine, and a driver that keeps both in step.

use dunlin_storage::fs::MemFs;
use dunlin_storage::{
    CompactionOptions, Engine, EngineError, EngineOptions, Lane, LogPosition, OpenError, PurgeRule, Strategy,
    TableOptions,
};
use dunlin_types::record::{Latest, SiblingSet};
use dunlin_types::schema::Compression;
use dunlin_types::view::RecordView;
use dunlin_types::{
    Actor, Context, Generation, HostId, Key, Micros, Record, TableId, Token, TokenRange, Value,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Splitmix64.
#[derive(Clone)]
pub struct Chance(pub u64);

impl Chance {
    pub fn random(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.random() % bound.max(1)
    }
}

/// Last-write-wins, and siblings.
pub const TABLES: [TableId; 2] = [TableId(0x11), TableId(0x22)];

pub fn table_options(table: TableId) -> TableOptions {
    let compression = if table == TABLES[0] { Compression::None } else { Compression::Lz4 };
    TableOptions { dir: format!("tables/ks/t{:x}", table.0), compression, compaction: Strategy::Leveled }
}

/// Tiny sizes: a few dozen writes fill a block, a memtable, a segment.
pub fn tiny() -> EngineOptions {
    EngineOptions {
        log_segment_bytes: 4 << 10,
        log_bytes_max: 24 << 10,
        memtable_bytes: 6 << 10,
        memtables_bytes_max: 1 << 20,
        block_bytes: 256,
        block_cache_bytes: 16 << 10,
        step_bytes: 2 << 10,
        compaction: CompactionOptions {
            level_base_bytes: 12 << 10,
            file_bytes: 4 << 10,
            small_bytes: 2 << 10,
            margin_bytes: 0,
            ..CompactionOptions::small()
        },
        ..EngineOptions::small()
    }
}

/// Every fifth key shares its token with others.
pub fn key(n: u64) -> (Token, Key) {
    let token = if n.is_multiple_of(5) { Chance(n % 3).random() } else { Chance(n).random() };
    (Token(token), Key::new(format!("key-{n}").into_bytes()).expect("a short key"))
}

pub fn value(chance: &mut Chance, counter: u64) -> Value {
    let data = match chance.below(8) {
        0 => None,
        1 => Some(vec![b'x'; 300 + chance.below(300) as usize].into()),
        _ => Some(format!("value-{counter}-{}", "y".repeat(chance.below(40) as usize)).into_bytes().into()),
    };
    let expires = (chance.below(6) == 0).then(|| Micros(counter + chance.below(60)));
    Value { written: Micros(counter), expires, data }
}

pub fn latest(value: Value) -> Record {
    Record::Latest(Latest { host: HostId([9; 16]), value })
}

pub type Rows = BTreeMap<(TableId, Token, Key), Record>;

pub fn join(rows: &mut Rows, place: &(TableId, Token, Key), record: &Record) {
    match rows.get_mut(place) {
        Some(present) => present.merge(record),
        None => drop(rows.insert(place.clone(), record.clone())),
    }
}

/// An engine on a simulated disk, and everything that was written to it.
pub struct Driver {
    pub fs: MemFs,
    pub options: EngineOptions,
    pub engine: Option<Engine>,
    pub chance: Chance,
    pub keys: u64,
    pub strategy: Strategy,
    pub counter: u64,
    /// Deletions of before may be forgotten.
    pub forgotten: u64,
    /// Rows that are certain to be there after any crash.
    pub certain: Rows,
    /// Writes since, in log order.
    pub open: Vec<(LogPosition, (TableId, Token, Key), Record)>,
}

impl Driver {
    pub fn new(seed: u64, options: EngineOptions) -> Driver {
        Driver::on(MemFs::new(), seed, options)
    }

    pub fn on(fs: MemFs, seed: u64, options: EngineOptions) -> Driver {
        let (certain, open) = (Rows::new(), Vec::new());
        let strategy = if seed.is_multiple_of(3) { Strategy::Tiered } else { Strategy::Leveled };
        let chance = Chance(seed);
        Driver {
            fs,
            options,
            engine: None,
            chance,
            keys: 40,
            strategy,
            counter: 0,
            forgotten: 0,
            certain,
            open,
        }
    }

    /// Opens the engine and creates the tables.
    pub fn start(&mut self) -> Result<(), OpenError> {
        let engine = Engine::open(Arc::new(self.fs.clone()), self.options.clone())?;
        for table in TABLES {
            engine.create_table(table, TableOptions { compaction: self.strategy, ..table_options(table) })?;
        }
        self.engine = Some(engine);
        Ok(())
    }

    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the engine is open")
    }

    /// One random write.
    pub fn write(&mut self) -> Result<(), EngineError> {
        self.forget();
        self.counter += 1;
        let (token, key) = key(self.chance.below(self.keys));
        let synced = self.chance.below(4) > 0;
        let table = TABLES[self.chance.below(2) as usize];
        let value = value(&mut self.chance, self.counter);
        let actor = Actor { host: HostId([self.chance.below(3) as u8; 16]), generation: Generation(1) };
        let whole = self.chance.below(3) == 0;
        let (counter, mut logged) = (self.counter, None);
        let engine = self.engine.as_ref().expect("the engine is open");
        let result = if table == TABLES[0] {
            let record = latest(value);
            logged = Some(record.clone());
            engine.merge(table, token, &key, &record, synced)
        } else if whole {
            let mut set = SiblingSet::default();
            set.write(&Context::new(), actor, counter, value);
            let record = Record::Siblings(set);
            logged = Some(record.clone());
            engine.merge(table, token, &key, &record, synced)
        } else {
            let change = |present: Option<Record>| {
                let mut set = match present {
                    Some(Record::Siblings(set)) => set,
                    _ => SiblingSet::default(),
                };
                let seen = set.seen().clone();
                set.write(&seen, actor, counter, value);
                logged = Some(Record::Siblings(set));
                Ok::<_, std::convert::Infallible>(logged.clone().expect("just set"))
            };
            engine.update(table, token, &key, change, synced).map(|(_, position)| position).map_err(|e| {
                match e {
                    dunlin_storage::UpdateError::Engine(e) => e,
                    dunlin_storage::UpdateError::Refused(never) => match never {},
                }
            })
        };
        match result {
            Ok(position) => {
                self.open.push((position, (table, token, key), logged.expect("written")));
                Ok(())
            }
            // Nothing was applied, nor will be after a restart.
            Err(e) => Err(e),
        }
    }

    /// Does all that is due.
    pub fn maintain(&self) {
        while self.engine().maintenance(Lane::Any).expect("maintenance").worked {}
    }

    /// Moves writes up to a position to the certain ones.
    pub fn settle(&mut self, position: LogPosition) {
        let durable = self.open.iter().take_while(|(at, _, _)| *at <= position).count();
        for (_, place, record) in self.open.drain(..durable) {
            join(&mut self.certain, &place, &record);
        }
    }

    pub fn settle_durable(&mut self) {
        let durable = self.engine().durable();
        self.settle(durable);
    }

    /// All rows as they are now, unsynced ones included.
    pub fn now(&self) -> Rows {
        let mut rows = self.certain.clone();
        self.open.iter().for_each(|(_, place, record)| join(&mut rows, place, record));
        rows
    }

    /// The process ends, or the power goes. Writes of a log that was closed under them stay uncertain.
    pub fn stop(&mut self, power: Option<u64>) {
        if let Some(engine) = self.engine.take() {
            let safe = if power.is_some() { engine.durable() } else { engine.written() };
            // After a failure, what was written is not certain any more.
            let safe = if engine.failure().is_some() { engine.durable() } else { safe };
            self.settle(safe);
        }
        match power {
            Some(seed) => self.fs.crash(seed),
            None => self.fs.kill(),
        }
    }

    /// Lets the engine forget deletions of before so many writes.
    pub fn set_purge(&mut self, writes: u64) {
        self.forgotten = self.forgotten.max(self.counter.saturating_sub(writes));
        for table in TABLES {
            let ranges = [(TokenRange::ALL, Micros(self.forgotten))];
            let rule = PurgeRule::new(Micros(self.counter), ranges).expect("one range");
            self.engine().set_purge(table, rule).expect("there is the table");
        }
    }

    fn may_be_forgotten(&self, record: &Record) -> bool {
        let view = RecordView::parse(&record.to_bytes()).expect("canonical");
        let dated = view.written_max > Micros(0) && view.written_max < Micros(self.forgotten);
        dated && view.gone_at.is_some_and(|at| at < Micros(self.forgotten))
    }

    /// The rows without those that may be there or not.
    fn lasting(&self, mut rows: Rows) -> Rows {
        rows.retain(|_, record| !self.may_be_forgotten(record));
        rows
    }

    /// Forgets what the engine has forgotten, as far as it may.
    pub fn forget(&mut self) {
        if self.forgotten > 0 {
            self.settle_durable();
            let engine = self.engine.as_ref().expect("the engine is open");
            let gone = |(table, token, key): &(TableId, Token, Key)| {
                !self.open.iter().any(|(_, place, _)| place == &(*table, *token, key.clone()))
                    && engine.get(*table, *token, key).is_ok_and(|found| found.is_none())
            };
            let places: Vec<_> = self.certain.iter().filter(|(_, r)| self.may_be_forgotten(r)).collect();
            let gone: Vec<_> = places.into_iter().map(|(p, _)| p.clone()).filter(gone).collect();
            gone.iter().for_each(|place| drop(self.certain.remove(place)));
        }
    }

    /// After a restart: the rows must be the certain ones and a prefix of the open ones; that is how it is then.
    pub fn check_recovered(&mut self, what: &str) {
        let rows = all(self.engine());
        let lasting = self.lasting(rows.clone());
        let mut expected = self.certain.clone();
        let mut matched = lasting == self.lasting(expected.clone());
        for (_, place, record) in &self.open {
            if matched {
                break;
            }
            join(&mut expected, place, record);
            matched = lasting == self.lasting(expected.clone());
        }
        if !matched {
            let missing: Vec<_> =
                self.certain.iter().filter(|(place, r)| rows.get(*place) != Some(*r)).collect();
            panic!(
                "{what}: not a prefix: {} rows, certain {}, open {}; differs first: {:?}",
                rows.len(),
                self.certain.len(),
                self.open.len(),
                missing.first()
            );
        }
        self.certain = rows;
        self.open.clear();
    }

    /// Gets and scans agree with the rows as they should be now.
    pub fn check_reads(&mut self) {
        self.forget();
        let rows = self.lasting(self.now());
        assert_eq!(self.lasting(all(self.engine())), rows);
        let durable = self.engine().durable();
        for n in 0..self.keys + 3 {
            let (token, key) = key(n);
            for table in TABLES {
                let found = self.engine().get(table, token, &key).expect("get");
                let lasting = found.as_ref().map(|f| &f.record).filter(|r| !self.may_be_forgotten(r));
                assert_eq!(lasting, rows.get(&(table, token, key.clone())));
                if let Some(found) = found {
                    assert!(found.visible_at == LogPosition(0) || found.visible_at > durable);
                }
            }
        }
    }
}

/// Every row of both tables, by scans of random-looking page sizes.
pub fn all(engine: &Engine) -> Rows {
    try_all(engine).expect("scan")
}

pub fn try_all(engine: &Engine) -> Result<Rows, EngineError> {
    let mut rows = Rows::new();
    for table in TABLES {
        let mut after: Option<(Token, Key)> = None;
        let mut limit = 1;
        loop {
            let from = after.as_ref().map(|(token, key)| (*token, key));
            let page = engine.scan(table, TokenRange::ALL, from, limit, 4096)?;
            assert!(page.entries.len() <= limit);
            for (token, key, record) in page.entries {
                assert!(after.as_ref().is_none_or(|a| *a < (token, key.clone())), "in order");
                after = Some((token, key.clone()));
                rows.insert((table, token, key), record);
            }
            if !page.more {
                break;
            }
            limit += 7;
        }
    }
    Ok(rows)
}
