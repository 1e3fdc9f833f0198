//! Many writes at once, some of which end by themselves; then the whole table, row by row.
//!
//! `cargo run -p dunlin-client --example batch_and_scan -- 127.0.0.1:9041`

use dunlin_client::{Client, TableName};
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9041".to_owned());
    let client = Client::builder().nodes([node]).timeout(Duration::from_secs(30)).build()?;
    client
        .execute("CREATE TABLE IF NOT EXISTS dunlin.example_visits (page text PRIMARY KEY, n bigint)")
        .await?;
    let table: TableName = "dunlin.example_visits".parse()?;

    let mut batch = client.batch((0..1000).map(|i| client.put(&table, format!("/page/{i}"), i)));
    batch.push(client.put(&table, "/today", 1).ttl(Duration::from_secs(24 * 3600)));
    // Each write has an outcome of its own.
    for (i, outcome) in batch.await.into_iter().enumerate() {
        if let Err(error) = outcome {
            println!("write {i}: {error} (may have been applied: {})", error.maybe_applied());
        }
    }

    for found in client.multi_get(&table, ["/page/7", "/page/nowhere"]).await {
        println!("{:?}", found?.value());
    }

    let (mut rows, mut visits) = (client.scan(&table).rows(), 0);
    while let Some(row) = rows.next().await {
        visits += row?.value.as_i64().unwrap_or(0);
    }
    println!("{visits} visits");
    client.execute("DROP TABLE dunlin.example_visits").await?;
    Ok(())
}
