//! TLS, with a certificate of the client's own where nodes ask for one, and a login where they ask for that.
//!
//! `cargo run -p dunlin-client --example tls -- db.example:9041 certs/ca.crt [me.crt me.key]`

use dunlin_client::{Client, Tls};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (node, tls) = match arguments.as_slice() {
        [node, ca] => (node, Tls::from_ca_file(ca)?),
        [node, ca, certificate, key] => (node, Tls::from_ca_file(ca)?.with_identity_files(certificate, key)?),
        _ => {
            return Err(
                "give a node, the authority's certificate and, if needed, your own with its key".into()
            );
        }
    };
    let mut builder = Client::builder().nodes([node]).tls(tls);
    if let (Ok(user), Ok(password)) = (std::env::var("DUNLIN_USER"), std::env::var("DUNLIN_PASSWORD")) {
        builder = builder.user(user, password);
    }
    let client = builder.build()?;
    for row in client.execute("SELECT name, version FROM system.local").await?.rows {
        println!("{row:?}");
    }
    println!("nodes: {:?}", client.nodes());
    Ok(())
}
