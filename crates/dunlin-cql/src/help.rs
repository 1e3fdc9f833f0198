//! `HELP`: one short page for each topic.

/// The page of a topic, given in lower case; the overview for `None`. `None` if there is no such topic.
pub fn text(topic: Option<&str>) -> Option<&'static str> {
    let Some(topic) = topic else { return Some(OVERVIEW) };
    TOPICS.iter().find(|(names, _)| names.contains(&topic)).map(|(_, text)| *text)
}

/// The first name of every topic.
pub fn topics() -> impl Iterator<Item = &'static str> {
    TOPICS.iter().map(|(names, _)| names[0])
}

const OVERVIEW: &str = "\
Dunlin keeps tables of keys and values. Statements end with ;

  data       INSERT  UPDATE  DELETE  SELECT  BATCH
  schema     CREATE KEYSPACE | TABLE  ALTER  DROP  TRUNCATE  DESCRIBE
  session    USE  CONSISTENCY  PAGING  TRACING  LOGIN  SHOW  EXPLAIN  QUIT
  reading    OPTIONS  CONFLICTS  TYPES  SYSTEM  REPLIES

HELP topic tells more. A first try, in the keyspace and table that are always there:
  INSERT INTO kv (key, value) VALUES ('alice', '3 apples');
  SELECT * FROM kv WHERE key = 'alice';";

const TOPICS: &[(&[&str], &str)] = &[
    (
        &["insert"],
        "\
INSERT INTO t (k, v) VALUES (key, value) [USING option AND ...]
  Writes a value under a key, whether or not there was one. Both columns are named, in any order.
  INSERT INTO kv (key, value) VALUES ('alice', '3 apples') USING TTL 3600;",
    ),
    (
        &["update"],
        "\
UPDATE t [USING option AND ...] SET v = value WHERE k = key
  The same as INSERT.
  UPDATE kv USING CONSISTENCY ALL SET value = '4 apples' WHERE key = 'alice';",
    ),
    (
        &["delete"],
        "\
DELETE FROM t [USING option AND ...] WHERE k = key
  Removes a key. With USING CONTEXT only the values that the context has seen.
  DELETE FROM kv WHERE key = 'alice';",
    ),
    (
        &["select"],
        "\
SELECT * | item, ... FROM t [WHERE condition] [LIMIT n] [USING option AND ...]
  items        k, v, CONTEXT(v), TTL(v), WRITETIME(v), TOKEN(k), COUNT(*)
  conditions   k = key | k IN (key, ...) | TOKEN(k) > n [AND TOKEN(k) <= m] | none: the whole table
  Ranges and whole tables come in token order and in pages: while END has page=..., the next page is the
  same statement with USING PAGE '...'. LIMIT counts keys; the siblings of a key stay together.
  SELECT value, CONTEXT(value) FROM kv WHERE key = 'alice';",
    ),
    (
        &["batch", "begin", "apply", "begin batch", "apply batch"],
        "\
BEGIN BATCH [USING option AND ...] statement; ... APPLY BATCH
  INSERT, UPDATE and DELETE, each applied on its own: a batch saves round trips, it is not a transaction.
  One answer: OK applied=N, or the first error with applied=N.",
    ),
    (
        &["options", "using"],
        "\
USING option AND ...
  CONSISTENCY level     ONE, QUORUM, ALL, ...: instead of the session's (HELP CONSISTENCY)
  TTL seconds           INSERT, UPDATE: the value is gone after so long; 0 is for ever
  CONTEXT 'token'       writes: supersede exactly what the token's reader saw (HELP CONFLICTS)
  AFTER 'token'         SELECT ... WHERE k = key: a state that includes that write, or STALE
  TIMESTAMP micros      writes in last_write_wins tables: instead of the time of the clock
  TIMEOUT 500ms         give up after so long
  DURABILITY synced | buffered
  REQUEST 'uuid'        writes: makes a retry harmless
  PAGE 'token'          SELECT: the next page",
    ),
    (
        &["conflicts", "siblings", "context", "last_write_wins"],
        "\
Nodes take writes of the same key at the same time without asking each other.
  conflicts = 'siblings' keeps concurrent values side by side: SELECT gives one row for each, all with the
    same CONTEXT(v). Write the resolved value USING CONTEXT 'that token' and it takes their place.
    Every write answers with a context too, good for the next write of the same client.
  conflicts = 'last_write_wins' keeps the value with the latest clock.
  Chosen with CREATE TABLE ... WITH conflicts = '...'; siblings if not said.",
    ),
    (
        &["consistency"],
        "\
CONSISTENCY [level]
  How many replicas must answer, for this session; without a level it shows the present one.
  ANY (writes; a hint counts)  ONE  TWO  THREE  QUORUM  ALL  LOCAL_ONE  LOCAL_QUORUM  EACH_QUORUM
  QUORUM for reads and writes means: a read sees every write acknowledged before it.",
    ),
    (
        &["create keyspace", "alter keyspace", "keyspace", "keyspaces", "create", "alter"],
        "\
CREATE KEYSPACE [IF NOT EXISTS] ks WITH replication = {...} [AND option = value ...]
ALTER KEYSPACE ks WITH option = value [AND ...]
  replication      {'class': 'SimpleStrategy', 'replication_factor': 3}
                   {'class': 'NetworkTopologyStrategy', 'dc1': 3, 'dc2': 2}
  sloppy_quorum    true: other nodes stand in for dead replicas in writes (a QUORUM read may miss such a write)
  durable_writes   false: writes are DURABILITY buffered if not said otherwise",
    ),
    (
        &["create table", "alter table", "table", "tables"],
        "\
CREATE TABLE [IF NOT EXISTS] [ks.]t (k TYPE PRIMARY KEY, v TYPE) [WITH option = value [AND ...]]
ALTER TABLE t WITH option = value [AND ...]
  conflicts              'siblings' or 'last_write_wins' (not to be altered)
  default_time_to_live   seconds; 0 is for ever
  gc_grace_seconds       youngest age at which a deletion may be forgotten
  compaction             'leveled' (reads find little to look into), 'tiered' (data is rewritten less)
  compression            'lz4' (quick), 'zstd' (smaller) or 'none'
  speculative_retry      '99p', '50ms' or 'none'
  comment                a string
  A table has exactly one key column and one value column. HELP TYPES lists the types.",
    ),
    (
        &["types"],
        "\
keys     text  blob  bigint  uuid
values   text  blob  bigint  double  boolean  uuid
  'it''s' or $$it's$$   0xCAFE   42   1.5   true   550e8400-e29b-41d4-a716-446655440000",
    ),
    (
        &["drop", "drop table", "drop keyspace"],
        "\
DROP TABLE [IF EXISTS] t
DROP KEYSPACE [IF EXISTS] ks
  Removes the definition and all data.",
    ),
    (
        &["truncate"],
        "\
TRUNCATE [TABLE] t
  Removes all data of a table and keeps its definition.",
    ),
    (
        &["describe", "desc"],
        "\
DESCRIBE KEYSPACES | TABLES | CLUSTER | SCHEMA | KEYSPACE ks | TABLE t
  The last three as statements that recreate what they describe; SCHEMA's can be played back into a new cluster.
  DESC is the same.",
    ),
    (
        &["use"],
        "\
USE ks
  The keyspace of names that give none. A new session uses dunlin.",
    ),
    (
        &["paging"],
        "\
PAGING [n | OFF]
  How many keys a page of a scan has at most; OFF sends everything at once, within the server's bound.
  Alone it shows the present setting.",
    ),
    (
        &["tracing"],
        "\
TRACING [ON | OFF]
  Adds TRACE lines to every answer: microseconds, node, what happened. Alone it shows whether it is on.",
    ),
    (
        &["login"],
        "\
LOGIN 'user' 'password'
  Who you are, where the server asks for it.",
    ),
    (
        &["show"],
        "\
SHOW VERSION | SESSION
  The server's version; what this session has set.",
    ),
    (
        &["explain"],
        "\
EXPLAIN SELECT ... WHERE k = key
  The key's token and virtual node, the layout, its replicas and which of them are up.",
    ),
    (
        &["system"],
        "\
SELECT * | column, ... | COUNT(*) FROM system.local | system.peers | system.keyspaces | system.tables
  [WHERE column = text] [LIMIT n]
  What this node knows of itself, of the others, and of the schema. Read-only.",
    ),
    (
        &["replies", "errors"],
        "\
An answer is lines of fields between tabs; its last line starts with OK, END or ERROR.
  OK      [name=value ...]                   done
  COLUMNS name ...   ROW cell ...   END rows=N [page=TOKEN]
  ERROR   CODE  message  [name=value ...]    applied=no: nothing happened; applied=maybe: it may still appear
  WARNING text   TRACE micros node text
Inside a field \\t \\n \\r \\\\ are escaped, null is \\N.",
    ),
    (
        &["copy", "copy from", "copy to"],
        "\
COPY [ks.]t [(k, v[, context])] FROM 'file.csv' | STDIN  [WITH option = value AND ...]
COPY [ks.]t [(k, v[, context])] TO 'file.csv' | STDOUT   [WITH option = value AND ...]
  A command of the shell (dunlin shell): loads a CSV, or writes the rows of a table to one.
  header      true: the first line has the names of the columns
  delimiter   between cells: ','
  quote       around cells: '\"'
  escape      before a quote in a cell; a quote is doubled if not said
  null        what stands for null
  encoding    'utf-8', the only one
  rejects     a file for the lines that are refused, with number and reason
  context     true: a column for contexts, by which siblings go out and come back
  COPY kv (key, value) FROM 'prices.csv' WITH header = true;",
    ),
    (
        &["source"],
        "\
SOURCE 'file'
  A command of the shell (dunlin shell): executes the statements of a file.",
    ),
    (
        &["expand"],
        "\
EXPAND [ON | OFF]
  A command of the shell (dunlin shell): ON shows every column of a row on a line of its own, whole.",
    ),
    (
        &["more"],
        "\
MORE
  A command of the shell (dunlin shell): shows the next page of the last SELECT. Enter alone does the same.",
    ),
    (
        &["quit", "exit"],
        "\
QUIT | EXIT
  Ends the connection after its answer.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_can_be_asked_for_once() {
        let mut names: Vec<_> = TOPICS.iter().flat_map(|(names, _)| names.iter()).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        for name in names {
            assert!(text(Some(name)).is_some());
            let statement = crate::parse(&format!("HELP {name};")).unwrap();
            assert_eq!(statement, crate::Statement::Help(Some((*name).to_owned())));
        }
        assert!(text(None).is_some());
        assert_eq!(text(Some("nothing")), None);
    }
}
