//! Names in the configuration become addresses, once, at the start.
//!
//! Thin as yet: a seed whose name cannot be resolved within the patience given is left out until the next
//! start; gossip finds its node through the other seeds.

use crate::config::Config;
use anyhow::{Context, bail};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep};

/// Containers that start together take a while to know each other's names.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(200);

/// The configuration with literal addresses.
pub(super) async fn addresses(mut config: Config) -> anyhow::Result<Config> {
    for (key, value) in [
        ("internode.address", &mut config.internode.address),
        ("internode.advertise", &mut config.internode.advertise),
        ("client.address", &mut config.client.address),
        ("client.advertise", &mut config.client.advertise),
        ("admin.address", &mut config.admin.address),
    ] {
        if !value.is_empty() {
            *value =
                resolve(value, Instant::now() + PATIENCE).await.with_context(|| key.to_owned())?.to_string();
        }
    }
    let until = Instant::now() + PATIENCE;
    let mut seeds = Vec::new();
    for (place, seed) in config.cluster.seeds.iter().enumerate() {
        match resolve(seed, until).await {
            Ok(address) => seeds.push(address.to_string()),
            // Without it nobody could say who founds the cluster.
            Err(error) if place == 0 => {
                return Err(error.context("cluster.seeds: the first one decides who founds the cluster"));
            }
            Err(error) => tracing::warn!(%seed, %error, "a seed is left out"),
        }
    }
    config.cluster.seeds = seeds;
    Ok(config)
}

async fn resolve(address: &str, until: Instant) -> anyhow::Result<SocketAddr> {
    if let Ok(literal) = address.parse() {
        return Ok(literal);
    }
    loop {
        let reason = match lookup_host(address).await {
            Ok(mut found) => match found.next() {
                Some(first) => return Ok(first),
                None => "the name has no address".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        if Instant::now() >= until {
            bail!("cannot resolve {address}: {reason}");
        }
        sleep(RETRY).await;
    }
}
