//! What each call sends, and what it makes of the answer.

// The client is an edge: its tests need real sockets and tasks.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod node;

use dunlin_client::{
    Client, ClientError, Consistency, Context, Durability, ErrorCode, PageToken, TableName, Token,
};
use futures::StreamExt;
use node::{Seen, always, node, t};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

async fn client_of(reply: &'static str) -> (Client, Seen) {
    let (addr, seen) = always(Some(reply)).await;
    (client(addr), seen)
}

fn client(addr: String) -> Client {
    Client::builder().nodes([addr]).identified_writes(false).build().unwrap()
}

fn lww() -> TableName {
    "dunlin.lww".parse().unwrap()
}

#[tokio::test]
async fn options_of_a_write() {
    let (client, seen) = client_of("OK\tcontext=new\n").await;
    let written = client
        .put(&t(), "it's", "v")
        .ttl(Duration::from_millis(59_001))
        .context(Context::new("seen"))
        .consistency(Consistency::All)
        .durability(Durability::Buffered)
        .timeout(Duration::from_secs(5))
        .request(Uuid::nil())
        .await
        .unwrap();
    assert_eq!(written.context, Some(Context::new("new")));
    client.delete(&t(), b"bytes").context(written.context.unwrap()).await.unwrap();
    client.put(&lww(), 5, 1.5).timestamp(7).await.unwrap();
    assert_eq!(
        seen.all(),
        [
            "INSERT INTO t (key, value) VALUES ('it''s', 'v') USING CONSISTENCY ALL AND TTL 60 AND CONTEXT 'seen' \
             AND TIMEOUT 2400ms AND DURABILITY buffered AND REQUEST '00000000-0000-0000-0000-000000000000';",
            "DELETE FROM t USING CONTEXT 'new' WHERE key = 'bytes';",
            "INSERT INTO dunlin.lww (\"Id\", \"select\") VALUES (5, 1.5) USING TIMESTAMP 7;",
        ]
    );
}

#[tokio::test]
async fn options_of_a_read() {
    let (client, seen) = client_of("COLUMNS\tvalue\tcontext\nROW\ta\tctx\nROW\tb\tctx\nEND\trows=2\n").await;
    let table = t();
    let get = client.get(&table, "k").after(Context::new("mine")).consistency(Consistency::One);
    let found = get.timeout(Duration::from_millis(1500)).await.unwrap();
    assert_eq!(found.values, ["a", "b"]);
    assert!(found.has_siblings() && !found.is_absent() && found.value().is_none());
    assert_eq!(found.context, Some(Context::new("ctx")));
    assert_eq!(
        seen.all(),
        [
            "SELECT value, CONTEXT(value) FROM t WHERE key = 'k' USING CONSISTENCY ONE AND AFTER 'mine' AND TIMEOUT 675ms;"
        ]
    );
}

#[tokio::test]
async fn an_absent_key_has_a_context_too() {
    let (client, _) = client_of("COLUMNS\tvalue\tcontext\nEND\trows=0\tcontext=none-yet\n").await;
    let found = client.get(&t(), "k").await.unwrap();
    assert!(found.is_absent());
    assert_eq!(found.context, Some(Context::new("none-yet")));
}

#[tokio::test]
async fn a_last_write_wins_table_has_no_contexts() {
    let (client, seen) = client_of("COLUMNS\tselect\nROW\t1.5\nEND\trows=1\n").await;
    let found = client.get(&lww(), 5).await.unwrap();
    assert_eq!((found.value().unwrap().as_f64(), found.context), (Some(1.5), None));
    assert_eq!(seen.all(), ["SELECT \"select\" FROM dunlin.lww WHERE \"Id\" = 5;"]);
}

#[tokio::test]
async fn what_a_column_does_not_hold_is_not_sent() {
    let (client, seen) = client_of("OK\n").await;
    let wrong = client.put(&lww(), "5; DROP TABLE t", 1.5).await.unwrap_err();
    assert!(matches!(wrong, ClientError::Type(_)), "{wrong}");
    let wrong = client.get(&t(), b"\xff").await.unwrap_err();
    assert!(matches!(wrong, ClientError::Type(_)), "{wrong}");
    let absent = client.get(&"none".parse().unwrap(), "k").await.unwrap_err();
    assert!(matches!(absent, ClientError::NoTable { .. }), "{absent}");
    assert_eq!(seen.count(), 0);
}

#[tokio::test]
async fn the_level_of_the_client_holds_for_every_statement() {
    let (addr, seen) = always(Some("OK\n")).await;
    let client = Client::builder().nodes([addr]).consistency(Consistency::One).build().unwrap();
    client.execute("TRUNCATE t").await.unwrap();
    assert_eq!(seen.all(), ["CONSISTENCY ONE;", "TRUNCATE t;"]);
}

/// A node that keeps what it is given, and refuses the value `bad`.
async fn store() -> (Client, Arc<Mutex<BTreeMap<String, Vec<String>>>>) {
    let rows = Arc::new(Mutex::new(BTreeMap::<String, Vec<String>>::new()));
    let stored = rows.clone();
    let (addr, _) = node(move |statement| {
        let cells: Vec<&str> = statement.split('\'').collect();
        let key = cells[1].to_owned();
        let reply = if statement.starts_with("INSERT") {
            match cells[3] {
                "bad" => "ERROR\tTOO_MANY_SIBLINGS\tfull\tapplied=no\n".to_owned(),
                value => {
                    stored.lock().unwrap().entry(key.clone()).or_default().push(value.to_owned());
                    format!("OK\tcontext={key}\n")
                }
            }
        } else if statement.starts_with("DELETE") {
            stored.lock().unwrap().remove(&key);
            format!("OK\tcontext={key}\n")
        } else if key == "broken" {
            "ERROR\tREAD_FAILURE\tdamaged\n".to_owned()
        } else {
            let rows = stored.lock().unwrap();
            let values = rows.get(&key).and_then(|all| all.last());
            let row = values.map_or(String::new(), |value| format!("ROW\t{value}\t{key}\n"));
            format!("COLUMNS\tvalue\tcontext\n{row}END\trows={}\tcontext=\n", u8::from(values.is_some()))
        };
        Box::pin(std::future::ready(Some(reply)))
    })
    .await;
    (client(addr), rows)
}

#[tokio::test]
async fn each_write_of_a_batch_has_its_own_outcome() {
    let (client, rows) = store().await;
    let table = t();
    let mut batch = client.batch((0..300).map(|i| client.put(&table, format!("k{i}"), format!("v{i}"))));
    batch.push(client.put(&table, "x", "bad"));
    batch.push(client.put(&table, 5, "a number"));
    batch.push(client.put(&table, "x", "after"));
    batch.push(client.delete(&table, "k7"));
    let outcomes = batch.await;
    assert_eq!(outcomes.len(), 304);
    for (i, outcome) in outcomes.iter().take(300).enumerate() {
        assert_eq!(outcome.as_ref().unwrap().context, Some(Context::new(format!("k{i}"))));
    }
    let ClientError::Failed(full) = outcomes[300].as_ref().unwrap_err() else { panic!("{outcomes:?}") };
    assert_eq!(full.kind(), Some(ErrorCode::TooManySiblings));
    assert!(matches!(outcomes[301], Err(ClientError::Type(_))), "{:?}", outcomes[301]);
    assert!(matches!(outcomes[302], Err(ClientError::NotSent)), "{:?}", outcomes[302]);
    assert!(outcomes[303].is_ok());
    assert_eq!(rows.lock().unwrap().len(), 299);
    assert!(outcomes.into_result().is_err());
}

#[tokio::test]
async fn writes_of_one_key_keep_their_order_in_a_batch() {
    let (client, rows) = store().await;
    let (table, same): (TableName, TableName) = (t(), "dunlin.t".parse().unwrap());
    let writes = (0..200).map(|i| {
        let table = if i % 2 == 0 { &table } else { &same };
        if i % 3 == 0 {
            client.put(table, "k", i.to_string())
        } else {
            client.put(table, b"k", i.to_string())
        }
    });
    client.batch(writes).await.into_result().unwrap();
    assert_eq!(rows.lock().unwrap()["k"], (0..200).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn each_key_of_a_multi_get_has_its_own_result() {
    let (client, _) = store().await;
    client.put(&t(), "a", "1").await.unwrap();
    client.put(&t(), "b", "2").await.unwrap();
    let table = t();
    let found = client.multi_get(&table, ["b", "absent", "broken", "a"]).await;
    assert_eq!(found[0].as_ref().unwrap().values, ["2"]);
    assert!(found[1].as_ref().unwrap().is_absent());
    assert!(matches!(found[2], Err(ClientError::Failed(_))), "{:?}", found[2]);
    assert_eq!(found[3].as_ref().unwrap().values, ["1"]);
}

/// Pages of two rows, ten in all, of which the third page fails once asked for without `patience`.
async fn pages() -> (Client, Seen) {
    let (addr, seen) = node(|statement| {
        let page = statement.split("PAGE '").nth(1).map_or(0, |rest| rest[1..2].parse().unwrap());
        let rows = (page * 2..page * 2 + 2).map(|i| format!("ROW\tk{i}\tv{i}\n")).collect::<String>();
        let next = if page < 4 { format!("\tpage=p{}", page + 1) } else { String::new() };
        Box::pin(std::future::ready(Some(format!("COLUMNS\tkey\tvalue\n{rows}END\trows=2{next}\n"))))
    })
    .await;
    (client(addr), seen)
}

#[tokio::test]
async fn a_scan_is_a_stream_of_the_rows_of_all_pages() {
    let (client, seen) = pages().await;
    let rows: Vec<_> = client.scan(&t()).rows().map(|row| row.unwrap()).collect().await;
    let keys: Vec<_> = rows.iter().map(|row| row.key.to_string()).collect();
    assert_eq!(keys, (0..10).map(|i| format!("k{i}")).collect::<Vec<_>>());
    assert_eq!(rows[9].value, "v9");
    assert_eq!(seen.count(), 5);
}

#[tokio::test]
async fn pages_are_fetched_when_they_are_needed() {
    let (client, seen) = pages().await;
    let mut rows = client.scan(&t()).rows();
    assert_eq!(seen.count(), 0);
    for i in 0..4 {
        assert_eq!(rows.next().await.unwrap().unwrap().key, format!("k{i}").as_str());
    }
    assert_eq!(seen.count(), 2);
    let page = rows.page().cloned().unwrap();
    assert_eq!(page, PageToken::new("p2"));
    drop(rows);
    let mut rows = client.scan(&t()).page(page).rows();
    assert_eq!(rows.next().await.unwrap().unwrap().key, "k4");
}

#[tokio::test]
async fn options_of_a_scan() {
    let (client, seen) = client_of("COLUMNS\tkey\tvalue\tcontext\nROW\tk\tv\tctx\nEND\trows=1\n").await;
    let mut rows = client
        .scan(&t())
        .tokens(Token(5)..=Token(u64::MAX))
        .contexts()
        .limit(7)
        .consistency(Consistency::One)
        .rows();
    let row = rows.next().await.unwrap().unwrap();
    assert_eq!(row.context, Some(Context::new("ctx")));
    assert!(rows.next().await.is_none() && rows.next().await.is_none());
    assert!(client.scan(&t()).limit(0).rows().next().await.is_none());
    assert_eq!(
        seen.all(),
        [
            "SELECT key, value, CONTEXT(value) FROM t WHERE TOKEN(key) >= 5 AND TOKEN(key) <= 18446744073709551615 \
          LIMIT 7 USING CONSISTENCY ONE;"
        ]
    );
}

#[tokio::test]
async fn a_scan_that_fails_says_where_to_go_on() {
    let (addr, _) = node(|statement| {
        let reply = match statement.contains("PAGE") {
            false => "COLUMNS\tkey\tvalue\nROW\tk\tv\nEND\trows=1\tpage=p1\n",
            true => "ERROR\tINVALID\tno\n",
        };
        Box::pin(std::future::ready(Some(reply.to_owned())))
    })
    .await;
    let client = client(addr);
    let mut rows = client.scan(&t()).rows();
    assert!(rows.next().await.unwrap().is_ok());
    assert!(rows.next().await.unwrap().is_err());
    assert_eq!(rows.page(), Some(&PageToken::new("p1")));
    assert!(rows.next().await.is_none());
}

/// The table was dropped and made again with other columns.
#[tokio::test]
async fn columns_are_learnt_anew() {
    let (addr, seen) = node(|statement| {
        let reply = match statement.contains("(key, value)") {
            true => "OK\n",
            false => "ERROR\tINVALID\tno such column\n",
        };
        Box::pin(std::future::ready(Some(reply.to_owned())))
    })
    .await;
    let client = client(addr);
    // Whatever else is invalid is so once.
    client.put(&lww(), 5, 1.5).await.unwrap_err();
    client.put(&lww(), 5, 1.5).await.unwrap_err();
    assert_eq!(seen.count(), 2);
    client.put(&t(), "k", "v").await.unwrap();
}
