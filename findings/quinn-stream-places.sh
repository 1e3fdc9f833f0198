#!/usr/bin/env bash
# quinn 0.11.12 with quinn-proto 0.11.19 (Rust crate)
#
# Expected: with `max_concurrent_bidi_streams(32)` a peer has 32 streams open, and each one that ends makes room for
#   one more.
# What happens: the room is given back in batches of more than an eighth of the limit. After 32 streams were opened,
#   the end of 1, 2, 3 or 4 of them lets none be opened; the fifth gives five at once. (A limit of 8 gives back in
#   twos, below 8 one by one.)
# Why it matters: of a limit of N only N - N/8 can be counted on (28 of 32). A peer that keeps long streams on all but
#   a few places (subscriptions, transfers) and uses the rest for requests waits for ever where the rest is an eighth
#   or less. Limits for requests need that much more, or long streams need a connection of their own.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat >"$dir/Cargo.toml" <<'TOML'
[package]
name = "probe"
version = "0.0.0"
edition = "2024"

[dependencies]
quinn = { version = "=0.11.12", default-features = false, features = ["runtime-tokio", "rustls-ring"] }
quinn-proto = { version = "=0.11.19", default-features = false }
rustls = { version = "=0.23.46", default-features = false, features = ["ring", "std"] }
rcgen = { version = "=0.14.10", default-features = false, features = ["ring"] }
tokio = { version = "=1.53.3", default-features = false, features = ["rt", "net", "time", "macros"] }
TOML
cat >"$dir/src/main.rs" <<'RS'
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig, TransportConfig};
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::{net::Ipv4Addr, sync::Arc, time::Duration};

const LIMIT: u32 = 32;

async fn connected() -> (Connection, Connection, [Endpoint; 2]) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = signed.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(LIMIT.into());
    let mut server = ServerConfig::with_single_cert(vec![certificate.clone()], key.into()).unwrap();
    server.transport_config(Arc::new(transport));
    let server = Endpoint::server(server, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut client = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    client.set_default_client_config(ClientConfig::with_root_certificates(Arc::new(roots)).unwrap());
    let dial = client.connect(server.local_addr().unwrap(), "localhost").unwrap();
    let (ours, theirs) = tokio::join!(dial, async { server.accept().await.unwrap().await });
    (ours.unwrap(), theirs.unwrap(), [client, server])
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (ours, theirs, _endpoints) = connected().await;
    let mut asked = Vec::new();
    let mut served = Vec::new();
    for _ in 0..LIMIT {
        let (mut send, receive) = ours.open_bi().await.unwrap();
        send.write_all(b"q").await.unwrap();
        send.finish().unwrap();
        asked.push(receive);
        served.push(theirs.accept_bi().await.unwrap());
    }
    let mut given = Vec::new();
    for (mut receive, (mut send, mut request)) in asked.into_iter().zip(served).take(10) {
        request.read_to_end(8).await.unwrap();
        send.write_all(b"a").await.unwrap();
        send.finish().unwrap();
        assert_eq!(receive.read_to_end(8).await.unwrap(), b"a");
        let mut places = 0;
        while let Ok(opened) = tokio::time::timeout(Duration::from_millis(300), ours.open_bi()).await {
            std::mem::forget(opened.unwrap());
            places += 1;
        }
        given.push(places);
    }
    println!("limit {LIMIT}, all open; streams that can be opened after the end of the 1st, 2nd, ... 10th: {given:?}");
    if given != [0, 0, 0, 0, 5, 0, 0, 0, 0, 5] {
        println!("CHANGED: expected five after each fifth");
        std::process::exit(1);
    }
}
RS
export CARGO_TARGET_DIR="$dir/target" CARGO_PROFILE_DEV_DEBUG=0
nice -n 10 cargo build --quiet --manifest-path "$dir/Cargo.toml" || { echo "could not build the probe"; exit 2; }
"$dir/target/debug/probe"
echo "as stated"
