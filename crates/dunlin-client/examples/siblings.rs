//! Two clients write the same key at the same time: both values are there, and one write with the context joins them.
//!
//! `cargo run -p dunlin-client --example siblings -- 127.0.0.1:9041`

use dunlin_client::{Client, TableName};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9041".to_owned());
    let client = Client::builder().nodes([node]).build()?;
    let table: TableName = "dunlin.kv".parse()?;
    client.delete(&table, "cart").await?;

    // Both have read the same, and each writes by what it has read.
    let seen = client.get(&table, "cart").await?.context.ok_or("the table keeps siblings")?;
    client.put(&table, "cart", "milk").context(&seen).await?;
    client.put(&table, "cart", "bread").context(&seen).await?;

    let found = client.get(&table, "cart").await?;
    println!("siblings: {:?}", found.values);
    assert!(found.has_siblings());

    let all: Vec<String> = found.values.iter().map(ToString::to_string).collect();
    let context = found.context.ok_or("the table keeps siblings")?;
    let written = client.put(&table, "cart", all.join(", ")).context(context).await?;

    // A read that has to see that write, whichever node it goes to.
    let read = client.get(&table, "cart").after(written.context.ok_or("the table keeps siblings")?);
    println!("joined: {:?}", read.await?.values);
    Ok(())
}
