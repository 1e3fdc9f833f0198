use super::*;
use crate::operation::{Projection, Read, Scan, SchemaChange, Show, SystemSelect, Write};
use crate::statement::Durability;
use crate::system::SystemTable;
use crate::{describe, parse};
use bytes::Bytes;
use dunlin_types::schema::{
    Compaction, Compression, ConflictMode, KeyspaceDef, Replication, TableDef, TableId, ValueType,
};
use dunlin_types::{HostId, Key, Micros, Token, TokenRange};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

fn define(schema: &mut Schema, statement: &str) {
    let stamp = (Micros(schema.stamp_max().0 + 1), HostId([1; 16]));
    match plan(parse(statement).unwrap(), schema, &SessionState::default()).unwrap() {
        Operation::Nothing => {}
        Operation::Schema(SchemaChange::CreateKeyspace(def) | SchemaChange::AlterKeyspace(def)) => {
            schema.set_keyspace(&def.name.clone(), stamp, Some(def));
        }
        Operation::Schema(SchemaChange::CreateTable(mut def)) => {
            def.id = TableId(stamp.0.0);
            schema.set_table(&def.keyspace.clone(), &def.name.clone(), stamp, Some(def));
        }
        Operation::Schema(SchemaChange::AlterTable(def)) => {
            schema.set_table(&def.keyspace.clone(), &def.name.clone(), stamp, Some(def));
        }
        other => panic!("not a definition: {other:?}"),
    }
}

fn schema() -> Schema {
    let mut schema = Schema::default();
    for statement in [
        "CREATE KEYSPACE dunlin WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
        "CREATE TABLE dunlin.kv (key text PRIMARY KEY, value text)",
        "CREATE TABLE lww (k bigint PRIMARY KEY, v double) WITH conflicts = 'last_write_wins' AND default_time_to_live = 60",
        "CREATE KEYSPACE fast WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1} AND durable_writes = false",
        "CREATE TABLE fast.\"Blobs\" (v blob, k uuid, PRIMARY KEY (k))",
    ] {
        define(&mut schema, statement);
    }
    schema
}

fn planned(statement: &str) -> Result<Operation, PlanError> {
    plan(parse(statement).unwrap_or_else(|e| panic!("{statement}: {e}")), &schema(), &SessionState::default())
}

fn check_invalid(statement: &str, message: &str) {
    match planned(statement) {
        Err(PlanError { code: ErrorCode::Invalid, message: found }) => {
            assert_eq!(found, message, "{statement}")
        }
        other => panic!("{statement}: {other:?}"),
    }
}

fn kv() -> Arc<TableDef> {
    schema().shared_table("dunlin", "kv").unwrap().clone()
}

fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

#[test]
fn writes_take_their_defaults_from_session_table_and_keyspace() {
    let expected = Write {
        table: kv(),
        key: key("alice"),
        value: Some(Bytes::from_static(b"3 apples")),
        ttl_s: None,
        context: None,
        timestamp: None,
        request: None,
        consistency: Consistency::Quorum,
        timeout: None,
        durability: Durability::Synced,
    };
    for statement in [
        "INSERT INTO kv (key, value) VALUES ('alice', '3 apples')",
        "INSERT INTO dunlin.kv (value, key) VALUES ($$3 apples$$, 'alice');",
        "update KV set VALUE = '3 apples' where Key = 'alice'",
    ] {
        assert_eq!(planned(statement), Ok(Operation::Write(expected.clone())), "{statement}");
    }
    let delete = Write { value: None, ..expected.clone() };
    assert_eq!(planned("DELETE FROM kv WHERE key = 'alice'"), Ok(Operation::Write(delete)));
    let full = Write {
        ttl_s: Some(9),
        context: Some("AQ".into()),
        request: Some(uuid::Uuid::from_u128(1)),
        consistency: Consistency::All,
        timeout: Some(Duration::from_millis(500)),
        durability: Durability::Buffered,
        ..expected
    };
    let statement = "INSERT INTO kv (key, value) VALUES ('alice', '3 apples') USING CONSISTENCY all AND TTL 9 AND \
                     CONTEXT 'AQ' AND TIMEOUT 500ms AND DURABILITY buffered AND REQUEST \
                     '00000000-0000-0000-0000-000000000001'";
    assert_eq!(planned(statement), Ok(Operation::Write(full)));

    let Ok(Operation::Write(write)) = planned("INSERT INTO lww (k, v) VALUES (1, 2) USING TIMESTAMP 5")
    else {
        panic!()
    };
    assert_eq!((write.ttl_s, write.timestamp), (Some(60), Some(Micros(5))));
    let Ok(Operation::Write(write)) = planned("INSERT INTO lww (k, v) VALUES (1, 2) USING TTL 0") else {
        panic!()
    };
    assert_eq!(write.ttl_s, None);
    let id = "550e8400-e29b-41d4-a716-446655440000";
    let statement = format!("INSERT INTO fast.\"Blobs\" (k, v) VALUES ({id}, 0x00)");
    let Ok(Operation::Write(write)) = planned(&statement) else { panic!() };
    assert_eq!(write.durability, Durability::Buffered);
}

#[test]
fn reads_by_key() {
    let rows = Projection::Rows(vec![(Show::Key, "key".into()), (Show::Value, "value".into())]);
    let expected = Read {
        table: kv(),
        keys: vec![key("a")],
        projection: rows,
        limit: None,
        consistency: Consistency::Quorum,
        timeout: None,
        after: None,
    };
    assert_eq!(planned("SELECT * FROM kv WHERE key = 'a'"), Ok(Operation::Read(expected.clone())));
    let many = Read { keys: vec![key("b"), key("a")], limit: Some(1), ..expected.clone() };
    assert_eq!(planned("SELECT * FROM kv WHERE key IN ('b', 'a', 'b') LIMIT 1"), Ok(Operation::Read(many)));
    let projection = Projection::Rows(vec![
        (Show::Context, "context(value)".into()),
        (Show::Ttl, "ttl(value)".into()),
        (Show::WriteTime, "writetime(value)".into()),
        (Show::Token, "token(key)".into()),
    ]);
    let shown =
        Read { projection, after: Some("x".into()), consistency: Consistency::One, ..expected.clone() };
    let statement = "SELECT CONTEXT(value), TTL(value), WRITETIME(value), TOKEN(key) FROM kv WHERE key = 'a' \
                     USING CONSISTENCY ONE AND AFTER 'x'";
    assert_eq!(planned(statement), Ok(Operation::Read(shown)));
    let explain = Operation::Explain { table: kv(), key: key("a"), consistency: Consistency::Quorum };
    assert_eq!(planned("EXPLAIN SELECT * FROM kv WHERE key = 'a'"), Ok(explain));
}

#[test]
fn token_ranges() {
    let check = |condition: &str, expected: Option<(u64, u64)>| {
        let statement = format!("SELECT COUNT(*) FROM kv {condition} USING PAGE 'p'");
        let Ok(Operation::Scan(Scan { range, page_rows: Some(1000), page: Some(_), projection, .. })) =
            planned(&statement)
        else {
            panic!("{statement}")
        };
        let expected = expected.map(|(first, last)| TokenRange { first: Token(first), last: Token(last) });
        assert_eq!((range, projection), (expected, Projection::Count), "{statement}");
    };
    check("", Some((0, u64::MAX)));
    check("WHERE TOKEN(key) > 5", Some((6, u64::MAX)));
    check("WHERE TOKEN(key) > 5 AND TOKEN(key) <= 9", Some((6, 9)));
    check("WHERE TOKEN(key) >= 5 AND TOKEN(key) < 9", Some((5, 8)));
    check("WHERE TOKEN(key) > 18446744073709551614", Some((u64::MAX, u64::MAX)));
    check("WHERE TOKEN(key) > 18446744073709551615", None);
    check("WHERE TOKEN(key) < 0", None);
    check("WHERE TOKEN(key) > -5 AND TOKEN(key) <= 99999999999999999999", Some((0, u64::MAX)));
    check("WHERE TOKEN(key) > 9 AND TOKEN(key) < 9", None);
}

#[test]
fn what_does_not_fit_is_invalid_in_a_sentence() {
    let shape = "a table has exactly one key column and one value column";
    check_invalid("CREATE TABLE users (id uuid PRIMARY KEY, name text, age bigint)", shape);
    check_invalid("CREATE TABLE t (k text PRIMARY KEY, v text PRIMARY KEY)", shape);
    check_invalid("CREATE TABLE t (k text, v text, PRIMARY KEY (k, v))", shape);
    check_invalid(
        "CREATE TABLE t (k text, v text)",
        &format!("{shape}: say PRIMARY KEY after the key column's type"),
    );
    check_invalid("SELECT * FROM vk", "no table vk in keyspace dunlin; did you mean kv?");
    check_invalid("SELECT * FROM other", "no table other in keyspace dunlin; there is kv, lww");
    check_invalid("SELECT * FROM dunlim.kv", "no keyspace dunlim; did you mean dunlin?");
    check_invalid("SELECT * FROM fast.blobs", "no table blobs in keyspace fast; did you mean \"Blobs\"?");
    check_invalid("USE nowhere_near", "no keyspace nowhere_near; there is dunlin, fast");
    check_invalid(
        "SELECT val FROM kv",
        "table kv has no column val; its columns are key (key) and value (value)",
    );
    check_invalid(
        "DELETE FROM kv WHERE value = 'x'",
        "value is the value column; rows are found by the key column key",
    );
    check_invalid(
        "UPDATE kv SET key = 'x' WHERE key = 'y'",
        "key is the key column; the value column is value",
    );
    check_invalid("INSERT INTO kv (key) VALUES ('x')", "INSERT names both columns of a table: key and value");
    check_invalid("INSERT INTO kv (key, value) VALUES ('x')", "2 columns are named and 1 values given");
    check_invalid("INSERT INTO kv (key, key) VALUES ('x', 'y')", "column key is named twice");
    check_invalid(
        "INSERT INTO kv (key, value) VALUES ('x', null)",
        "a value cannot be null; DELETE removes a key",
    );
    check_invalid(
        "INSERT INTO kv (key, value) VALUES ('x', 5)",
        "the value value is text: expected a string such as 'abc', found an integer 5",
    );
    check_invalid(
        "SELECT * FROM lww WHERE k = 'x'",
        "the key k is bigint: expected an integer such as 42, found a string",
    );
    check_invalid("SELECT * FROM kv WHERE key = ''", "a key is 1 to 65535 bytes long, this one has 0");
    check_invalid(
        "INSERT INTO kv (key, value) VALUES ('x', 'y') USING TIMESTAMP 1",
        "TIMESTAMP is for last_write_wins tables, and kv keeps siblings: use CONTEXT",
    );
    let lww = "CONTEXT and AFTER are for siblings tables, and in lww the last write wins";
    check_invalid("DELETE FROM lww USING CONTEXT 'x' WHERE k = 1", lww);
    check_invalid("SELECT * FROM lww WHERE k = 1 USING AFTER 'x'", lww);
    check_invalid(
        "SELECT CONTEXT(v) FROM lww",
        "CONTEXT is for siblings tables, and in lww the last write wins",
    );
    check_invalid(
        "SELECT * FROM kv USING CONSISTENCY ANY",
        "ANY is for writes; the lowest level of a read is ONE",
    );
    check_invalid("SELECT * FROM kv USING TTL 5", "TTL is for writes, not for SELECT");
    check_invalid("SELECT * FROM kv USING AFTER 'x'", "AFTER belongs to one key: it needs WHERE k = key");
    check_invalid("SELECT COUNT(*), key FROM kv", "COUNT(*) stands alone");
    check_invalid(
        "SELECT * FROM kv WHERE key = 'a' USING TIMEOUT 0ms",
        "a TIMEOUT is more than 0 and at most 120 s",
    );
    check_invalid(
        "DELETE FROM kv USING TTL 5 WHERE key = 'x'",
        "TTL is for INSERT and UPDATE, not for DELETE",
    );
    check_invalid("EXPLAIN SELECT * FROM kv", "EXPLAIN shows the way to one key: it needs WHERE k = key");
    check_invalid(
        "CREATE TABLE t (k int PRIMARY KEY, v text)",
        "no type int: a key is text, blob, bigint or uuid; did you mean bigint?",
    );
    check_invalid(
        "CREATE TABLE t (k double PRIMARY KEY, v text)",
        "a key cannot be double; it is text, blob, bigint or uuid",
    );
    check_invalid(
        "CREATE TABLE t (k text PRIMARY KEY, v map<text, list<text>>)",
        "no type map<text,list<text>>: a value is text, blob, bigint, double, boolean or uuid",
    );
    check_invalid(
        "CREATE TABLE t (k text PRIMARY KEY, v text) WITH conflict = 'x'",
        "no option conflict; did you mean conflicts?",
    );
    check_invalid(
        "ALTER TABLE kv WITH conflicts = 'last_write_wins'",
        "conflicts is chosen when a table is created and cannot be changed",
    );
    check_invalid(
        "CREATE TABLE \"../x\" (k text PRIMARY KEY, v text)",
        "the name of a table is 1 to 48 letters, digits and _, unlike \"../x\"",
    );
    check_invalid("DROP KEYSPACE system", "the keyspace system is the server's own and can only be read");
    check_invalid("TRUNCATE system.local", "the tables of the keyspace system can only be read");
    check_invalid(
        "BEGIN BATCH DELETE FROM kv WHERE key = 'a'; DELETE FROM kv WHERE k = 'b'; APPLY BATCH",
        "statement 2 of the batch: table kv has no column k; its columns are key (key) and value (value)",
    );
    check_invalid(
        "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 0}",
        "the number of replicas of \"replication_factor\" is 1 to 16",
    );
}

#[test]
fn values_and_keys_have_a_longest() {
    let session = SessionState { value_bytes_max: 8, ..SessionState::default() };
    let check = |statement: &str, message: Option<&str>| {
        let planned = plan(parse(statement).unwrap(), &schema(), &session);
        match (planned, message) {
            (Ok(_), None) => {}
            (Err(error), Some(message)) => {
                assert_eq!((error.code, error.message.as_str()), (ErrorCode::TooLarge, message));
                assert_eq!(crate::Reply::from(error).field("applied"), Some("no"));
            }
            (other, _) => panic!("{statement}: {other:?}"),
        }
    };
    let id = "550e8400-e29b-41d4-a716-446655440000";
    let text = "a value is at most 8 bytes long, this one has 9";
    check("INSERT INTO kv (key, value) VALUES ('a', '12345678')", None);
    check("INSERT INTO kv (key, value) VALUES ('a', '123456789')", Some(text));
    check("INSERT INTO kv (key, value) VALUES ('a', '1234567é')", Some(text));
    check("UPDATE kv SET value = $$123456789$$ WHERE key = 'a'", Some(text));
    check(&format!("INSERT INTO fast.\"Blobs\" (k, v) VALUES ({id}, 0x{})", "ab".repeat(8)), None);
    check(&format!("UPDATE fast.\"Blobs\" SET v = 0x{} WHERE k = {id}", "ab".repeat(9)), Some(text));
    check("INSERT INTO lww (k, v) VALUES (1, 1.5)", None);
    check(
        "BEGIN BATCH DELETE FROM kv WHERE key = 'a'; INSERT INTO kv (key, value) VALUES ('b', '123456789'); APPLY BATCH",
        Some(&format!("statement 2 of the batch: {text}")),
    );
    let long = "k".repeat(65_536);
    let key = "a key is 1 to 65535 bytes long, this one has 65536";
    check(&format!("SELECT * FROM kv WHERE key = '{}'", &long[1..]), None);
    check(&format!("SELECT * FROM kv WHERE key = '{long}'"), Some(key));
    check(&format!("SELECT * FROM kv WHERE key IN ('a', '{long}')"), Some(key));
    check(&format!("INSERT INTO kv (key, value) VALUES ('{long}', 'x')"), Some(key));
    check(&format!("UPDATE kv SET value = 'x' WHERE key = '{long}'"), Some(key));
    check(&format!("DELETE FROM kv WHERE key = '{long}'"), Some(key));
    check(
        &format!("BEGIN BATCH DELETE FROM kv WHERE key = '{long}'; APPLY BATCH"),
        Some(&format!("statement 1 of the batch: {key}")),
    );
}

/// The bounds of [`crate::limits`], each at its last good and its first bad value.
#[test]
fn every_bound_of_the_language_holds() {
    fn answer(statement: &str) -> Result<(), String> {
        let parsed = parse(statement).map_err(|error| error.message)?;
        let planned = plan(parsed, &schema(), &SessionState::default());
        planned.map(|_| ()).map_err(|error| error.message)
    }
    fn check(most: usize, message: &str, statement: impl Fn(usize) -> String) {
        let good = answer(&statement(most));
        assert_eq!(good.as_ref().err().filter(|e| e.contains(message)), None, "{message}");
        let bad = answer(&statement(most + 1)).unwrap_err();
        assert!(bad.contains(message), "{bad:?} does not say {message:?}");
    }
    let many = |n: usize, text: &str| vec![text; n].join(", ");
    check(64, "more than 64 options", |n| {
        format!("ALTER TABLE kv WITH {}", vec!["comment = 'x'"; n].join(" AND "))
    });
    check(64, "more than 64 entries", |n| {
        format!("ALTER KEYSPACE fast WITH replication = {{{}}}", many(n, "'class': 'x'"))
    });
    check(64, "more than 64 columns", |n| format!("CREATE TABLE t ({})", many(n, "k text")));
    check(64, "more than 64 columns", |n| format!("INSERT INTO kv ({}) VALUES ('a')", many(n, "key")));
    check(64, "more than 64 values", |n| format!("INSERT INTO kv (key) VALUES ({})", many(n, "'a'")));
    check(64, "more than 64 items", |n| format!("SELECT {} FROM kv", many(n, "key")));
    check(8, "nested too deep", |n| format!("CREATE TABLE t (k {}text)", "list<".repeat(n)));
    check(48, "1 to 48 letters", |n| format!("CREATE TABLE {} (k text PRIMARY KEY, v text)", "t".repeat(n)));
    check(48, "1 to 48 letters", |n| {
        format!(
            "CREATE KEYSPACE {} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}",
            "k".repeat(n)
        )
    });
    check(48, "at most 48 bytes", |n| format!("CREATE TABLE t ({} text PRIMARY KEY, v text)", "c".repeat(n)));
    check(16, "is 1 to 16", |n| {
        format!("ALTER KEYSPACE fast WITH replication = {{'class': 'NetworkTopologyStrategy', 'a': {n}}}")
    });
    check(16, "at most 32 replicas", |n| {
        format!("ALTER KEYSPACE fast WITH replication = {{'class': 'NetworkTopologyStrategy', 'a': 15, 'b': {}, 'c': 1}}", n.min(16))
            .replace("'c': 1", if n > 16 { "'c': 2" } else { "'c': 1" })
    });
    check(4096, "at most 4096 bytes", |n| format!("ALTER TABLE kv WITH comment = '{}'", "c".repeat(n)));
    check(630_720_000, "a TTL is 0", |n| format!("UPDATE kv USING TTL {n} SET value = 'x' WHERE key = 'a'"));
    check(630_720_000, "seconds from 0 to", |n| format!("ALTER TABLE kv WITH default_time_to_live = {n}"));
    check(120, "at most 120 s", |n| format!("SELECT * FROM kv USING TIMEOUT {n}s"));
    check(100_000, "1 to 100000 rows", |n| format!("PAGING {n}"));
    check(256 << 10, "longer than any", |n| {
        format!("DELETE FROM kv USING CONTEXT '{}' WHERE key = 'a'", "x".repeat(n))
    });
    check(10_000, "more than 10000 keys", |n| format!("SELECT * FROM kv WHERE key IN ({})", many(n, "'a'")));
    check(10_000, "more than 10000 statements", |n| {
        format!("BEGIN BATCH {} APPLY BATCH", "DELETE FROM kv WHERE key = 'a'; ".repeat(n))
    });
}

#[test]
fn definitions_that_are_there_already() {
    let statement = "CREATE TABLE IF NOT EXISTS kv (key text PRIMARY KEY, value text)";
    assert_eq!(planned(statement), Ok(Operation::Nothing));
    assert_eq!(planned("DROP TABLE IF EXISTS nothing"), Ok(Operation::Nothing));
    assert_eq!(planned("DROP KEYSPACE IF EXISTS nothing"), Ok(Operation::Nothing));
    let error = planned("CREATE TABLE kv (key text PRIMARY KEY, value text)").unwrap_err();
    assert_eq!(error.code, ErrorCode::AlreadyExists);
    assert_eq!(error.message, "table kv is there already in keyspace dunlin");
    assert_eq!(planned("DROP TABLE kv"), Ok(Operation::Schema(SchemaChange::DropTable(kv()))));
    assert_eq!(planned("TRUNCATE TABLE kv"), Ok(Operation::Schema(SchemaChange::Truncate(kv()))));
}

#[test]
fn compaction_is_chosen_and_changed() {
    let check = |statement: &str, expected: Compaction| match planned(statement) {
        Ok(Operation::Schema(SchemaChange::CreateTable(def) | SchemaChange::AlterTable(def))) => {
            assert_eq!(def.compaction, expected, "{statement}");
        }
        other => panic!("{statement}: {other:?}"),
    };
    check("CREATE TABLE t (k text PRIMARY KEY, v text)", Compaction::Leveled);
    check("CREATE TABLE t (k text PRIMARY KEY, v text) WITH compaction = 'tiered'", Compaction::Tiered);
    check("ALTER TABLE kv WITH compaction = 'tiered'", Compaction::Tiered);
    check("ALTER TABLE kv WITH compaction = {'class': 'SizeTieredCompactionStrategy'}", Compaction::Tiered);
    check("ALTER TABLE kv WITH compaction = {'class': 'LeveledCompactionStrategy'}", Compaction::Leveled);
    for wrong in ["'fast'", "7", "{'class': 'TimeWindow'}", "{'class': 'LeveledCompactionStrategy', 'x': 1}"]
    {
        let statement = format!("ALTER TABLE kv WITH compaction = {wrong}");
        check_invalid(&statement, "compaction is 'leveled' or 'tiered'");
    }
}

#[test]
fn batches_hand_their_options_down() {
    let statement = "BEGIN BATCH USING CONSISTENCY ONE AND TTL 5; INSERT INTO kv (key, value) VALUES ('a', 'b') USING TTL 6; \
                     UPDATE kv SET value = 'c' WHERE key = 'b'; DELETE FROM kv WHERE key = 'c' APPLY BATCH;";
    let Ok(Operation::Batch(writes)) = planned(statement) else { panic!() };
    let ttls: Vec<_> = writes.iter().map(|write| (write.ttl_s, write.consistency)).collect();
    assert_eq!(ttls, [(Some(6), Consistency::One), (Some(5), Consistency::One), (None, Consistency::One)]);
}

#[test]
fn system_tables_pick_rows() {
    let operation = planned("SELECT name, is_up FROM system.peers WHERE rack = 'r1' LIMIT 1").unwrap();
    let select = SystemSelect {
        table: SystemTable::Peers,
        columns: Some(vec![0, 5]),
        filter: Some((3, vec!["r1".into()])),
        limit: Some(1),
    };
    assert_eq!(operation, Operation::System(select.clone()));
    let row = |name: &str, rack: &str| -> Vec<crate::Cell> {
        [name, "id", "dc", rack, "normal", "true", "a", "b", "c"].map(crate::Cell::text).to_vec()
    };
    let reply = select.apply(vec![row("n1", "r2"), row("n2", "r1"), row("n3", "r1")]);
    assert_eq!(reply.to_bytes(), b"COLUMNS\tname\tis_up\nROW\tn2\ttrue\nEND\trows=1\n");
    let Ok(Operation::System(select)) = planned("SELECT COUNT(*) FROM system.peers") else { panic!() };
    assert_eq!(select.apply(vec![row("n1", "r2")]).to_bytes(), b"COLUMNS\tcount\nROW\t1\nEND\trows=1\n");
    check_invalid("SELECT * FROM system.peer", "no table peer in keyspace system; did you mean peers?");
}

fn text() -> impl Strategy<Value = String> {
    "[a-z'\\\\é \t\r\n;\"$/*\u{feff}-]{0,12}"
}

fn keyspace_def() -> impl Strategy<Value = KeyspaceDef> {
    let replication = prop_oneof![
        (1u32..=16).prop_map(Replication::Simple),
        prop::collection::btree_map(
            text().prop_filter("reserved", |t| t != "class" && t != "replication_factor"),
            1u32..=16,
            1..4
        )
        .prop_filter("at most 32 replicas in all", |map: &BTreeMap<_, _>| map.values().sum::<u32>() <= 32)
        .prop_map(|map: BTreeMap<_, _>| Replication::NetworkTopology(map)),
    ];
    ("[a-zA-Z0-9_]{1,10}", replication, any::<bool>(), any::<bool>())
        .prop_filter("reserved", |(name, ..)| !name.starts_with("system"))
        .prop_map(|(name, replication, sloppy_quorum, durable_writes)| KeyspaceDef {
            name,
            replication,
            sloppy_quorum,
            durable_writes,
        })
}

fn table_def() -> impl Strategy<Value = TableDef> {
    let names = ("[a-zA-Z0-9_]{1,10}", "[a-zA-Z \"']{1,8}", "[0-9_]{1,8}");
    let types =
        (prop::sample::select(&schema::KEY_TYPES[..]), prop::sample::select(&schema::VALUE_TYPES[..]));
    let modes = (
        prop::sample::select(&[ConflictMode::Siblings, ConflictMode::LastWriteWins][..]),
        prop::sample::select(&[Compression::Lz4, Compression::Zstd, Compression::None][..]),
        prop::sample::select(&[Compaction::Leveled, Compaction::Tiered][..]),
        prop::sample::select(&["99p", "99.9p", "50ms", "none"][..]),
    );
    (names, types, modes, 0u32..1000, 0u32..1_000_000, text()).prop_map(
        |(names, types, (conflicts, compression, compaction, retry), ttl, gc_grace_s, comment)| TableDef {
            id: TableId(0),
            keyspace: "fast".into(),
            name: names.0,
            key_column: names.1,
            key_type: types.0,
            value_column: names.2,
            value_type: types.1,
            conflicts,
            default_time_to_live_s: ttl,
            gc_grace_s,
            compression,
            compaction,
            speculative_retry: retry.into(),
            comment,
        },
    )
}

/// What a cluster has from founding.
fn founded() -> Schema {
    let mut schema = Schema::default();
    define(
        &mut schema,
        "CREATE KEYSPACE dunlin WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    );
    define(&mut schema, "CREATE TABLE dunlin.kv (key text PRIMARY KEY, value text)");
    schema
}

/// Definitions without what is drawn anew when they are played back.
fn definitions(schema: &Schema) -> (Vec<KeyspaceDef>, Vec<TableDef>) {
    let tables = schema.tables().map(|def| TableDef { id: TableId(0), ..def.clone() });
    (schema.keyspaces().cloned().collect(), tables.collect())
}

#[test]
fn a_description_speaks_of_the_founding_table_as_of_one_that_is_there() {
    let mut schema = founded();
    let statements = describe::schema(&schema);
    let starts = [
        "CREATE KEYSPACE IF NOT EXISTS dunlin",
        "ALTER KEYSPACE dunlin",
        "CREATE TABLE IF NOT EXISTS dunlin.kv",
        "ALTER TABLE dunlin.kv",
    ];
    assert_eq!(statements.len(), starts.len());
    assert!(
        statements.iter().zip(starts).all(|(statement, start)| statement.starts_with(start)),
        "{statements:?}"
    );
    // A table of another kind under its name is not passed over.
    let stamp = (Micros(schema.stamp_max().0 + 1), HostId([1; 16]));
    let other = TableDef { value_type: ValueType::Blob, ..schema.table("dunlin", "kv").unwrap().clone() };
    schema.set_table("dunlin", "kv", stamp, Some(other));
    assert!(
        describe::schema(&schema)[2].starts_with("CREATE TABLE dunlin.kv (key text PRIMARY KEY, value blob)")
    );
}

/// A schema: the founding one with other options, and keyspaces and tables beside it.
fn any_schema() -> impl Strategy<Value = Schema> {
    let keyspaces = prop::collection::vec((keyspace_def(), prop::collection::vec(table_def(), 0..4)), 0..4);
    (keyspaces, prop::option::of(keyspace_def()), prop::option::of(table_def())).prop_map(
        |(keyspaces, founding, kv)| {
            let mut schema = founded();
            let mut clock = schema.stamp_max().0;
            let mut stamp = || {
                clock += 1;
                (Micros(clock), HostId([1; 16]))
            };
            if let Some(def) = founding {
                schema.set_keyspace("dunlin", stamp(), Some(KeyspaceDef { name: "dunlin".into(), ..def }));
            }
            if let Some(def) = kv {
                let there = schema.table("dunlin", "kv").unwrap().clone();
                let altered = TableDef {
                    default_time_to_live_s: def.default_time_to_live_s,
                    gc_grace_s: def.gc_grace_s,
                    compaction: def.compaction,
                    compression: def.compression,
                    speculative_retry: def.speculative_retry,
                    comment: def.comment,
                    ..there
                };
                schema.set_table("dunlin", "kv", stamp(), Some(altered));
            }
            for (keyspace, tables) in keyspaces {
                let name = keyspace.name.clone();
                schema.set_keyspace(&name, stamp(), Some(keyspace));
                for def in tables {
                    let table = def.name.clone();
                    schema.set_table(
                        &name,
                        &table,
                        stamp(),
                        Some(TableDef { keyspace: name.clone(), ..def }),
                    );
                }
            }
            schema
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_described_keyspace_is_recreated(def in keyspace_def()) {
        let empty = Schema::default();
        let statement = parse(&describe::keyspace(&def)).unwrap();
        let operation = plan(statement, &empty, &SessionState::default()).unwrap();
        prop_assert_eq!(operation, Operation::Schema(SchemaChange::CreateKeyspace(def)));
    }

    #[test]
    fn a_described_table_is_recreated(def in table_def()) {
        let statement = parse(&describe::table(&def)).unwrap();
        let operation = plan(statement, &schema(), &SessionState::default()).unwrap();
        prop_assert_eq!(operation, Operation::Schema(SchemaChange::CreateTable(def)));
    }

    #[test]
    fn a_described_schema_played_back_is_the_same(described in any_schema()) {
        let statements = describe::schema(&described);
        let text = statements.join("\n");
        // As a file: cut as the tools cut it.
        let cut: Vec<_> = crate::splitter::statements(&text).map(|piece| piece.text).collect();
        prop_assert_eq!(&cut, &statements);
        for mut schema in [Schema::default(), founded()] {
            cut.iter().for_each(|statement| define(&mut schema, statement));
            prop_assert_eq!(definitions(&schema), definitions(&described));
            prop_assert_eq!(&describe::schema(&schema), &statements);
        }
        for def in described.keyspaces() {
            let mut schema = founded();
            describe::keyspace_and_tables(&described, &def.name).iter().for_each(|s| define(&mut schema, s));
            prop_assert_eq!(schema.keyspace(&def.name), Some(def));
        }
    }
}
