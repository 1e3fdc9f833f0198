//! Values that cannot be used.

use super::{Config, ConfigError, Size, StorageSection};
use dunlin_types::limits;
use std::net::{IpAddr, SocketAddr};

/// Bytes.
const MIB: u64 = 1 << 20;

fn invalid(key: &'static str, message: impl Into<String>) -> Result<(), ConfigError> {
    Err(ConfigError::Invalid { key, message: message.into() })
}

/// Error: the first value that cannot be used.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    text("cluster.name", &config.cluster.name, 256)?;
    text("node.name", &config.node.name, 253)?;
    text("node.rack", &config.node.rack, 256)?;
    text("node.data_center", &config.node.data_center, 256)?;
    for seed in &config.cluster.seeds {
        address("cluster.seeds", seed)?;
    }
    address("internode.address", &config.internode.address)?;
    address("client.address", &config.client.address)?;
    address("admin.address", &config.admin.address)?;
    for (key, value) in
        [("internode.advertise", &config.internode.advertise), ("client.advertise", &config.client.advertise)]
    {
        if !value.is_empty() {
            address(key, value)?;
        }
    }
    numbers(config)?;
    reach(config)
}

fn text(key: &'static str, value: &str, bytes_max: usize) -> Result<(), ConfigError> {
    if value.is_empty() || value.len() > bytes_max {
        return invalid(key, format!("must have 1 to {bytes_max} bytes"));
    }
    if value.chars().any(char::is_control) {
        return invalid(key, "must not contain control characters");
    }
    Ok(())
}

fn address(key: &'static str, value: &str) -> Result<(), ConfigError> {
    let good = value.parse::<SocketAddr>().is_ok()
        || value.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains([':', '/', ' ']) && port.parse::<u16>().is_ok()
        });
    if good {
        Ok(())
    } else {
        invalid(key, format!("{value:?} is not an address such as \"10.0.0.1:7000\" or \"n1:7000\""))
    }
}

fn numbers(config: &Config) -> Result<(), ConfigError> {
    let vnodes = config.cluster.vnodes;
    if !vnodes.is_power_of_two() || vnodes > limits::VNODES_MAX {
        return invalid(
            "cluster.vnodes",
            format!("must be a power of two up to {}, not {vnodes}", limits::VNODES_MAX),
        );
    }
    let factor = config.cluster.default_replication_factor;
    if factor == 0 || factor > limits::REPLICATION_FACTOR_MAX {
        return invalid(
            "cluster.default_replication_factor",
            format!("must be 1 to {}", limits::REPLICATION_FACTOR_MAX),
        );
    }
    if !(10..=60_000).contains(&config.gossip.interval_ms) {
        return invalid("gossip.interval_ms", "must be 10 to 60000");
    }
    if !(1.0..=64.0).contains(&config.gossip.phi_threshold) {
        return invalid("gossip.phi_threshold", "must be 1 to 64; 8 is usual");
    }
    for (key, value) in [
        ("replication.read_timeout_ms", config.replication.read_timeout_ms),
        ("replication.write_timeout_ms", config.replication.write_timeout_ms),
    ] {
        if !(1..=120_000).contains(&value) {
            return invalid(key, "must be 1 to 120000");
        }
    }
    storage(&config.storage)?;
    let bounds = &config.limits;
    bound("limits.connections", bounds.connections as u64, limits::CONNECTIONS_MAX as u64)?;
    bound("limits.pipeline", bounds.pipeline as u64, limits::PIPELINE_MAX as u64)?;
    bound("limits.statement_size_max", bounds.statement_size_max.0, limits::STATEMENT_BYTES_MAX as u64)?;
    bound("limits.value_size_max", bounds.value_size_max.0, limits::VALUE_BYTES_MAX as u64)?;
    bound("limits.internode_requests", bounds.internode_requests as u64, 1 << 20)?;
    bound("limits.statements", bounds.statements as u64, 1 << 20)?;
    bound("limits.latency_target_ms", bounds.latency_target_ms, 60_000)?;
    bound("limits.queue_wait_ms", bounds.queue_wait_ms, 60_000)?;
    bound("limits.admin_requests", bounds.admin_requests as u64, 1 << 16)
}

fn storage(storage: &StorageSection) -> Result<(), ConfigError> {
    const KIB: u64 = 1 << 10;
    const GIB: u64 = 1 << 30;
    const TIB: u64 = 1 << 40;
    between("storage.memtable_size", storage.memtable_size, 64 * KIB, 4 * GIB)?;
    between("storage.memtables_size_max", storage.memtables_size_max, 256 * KIB, TIB)?;
    between("storage.log_segment_size", storage.log_segment_size, MIB, GIB)?;
    between("storage.log_size_max", storage.log_size_max, 2 * MIB, TIB)?;
    between("storage.block_cache_size", storage.block_cache_size, MIB, TIB)?;
    let twice = [
        (
            ("storage.memtables_size_max", storage.memtables_size_max),
            ("storage.memtable_size", storage.memtable_size),
            "one is written to while another is flushed",
        ),
        (
            ("storage.log_size_max", storage.log_size_max),
            ("storage.log_segment_size", storage.log_segment_size),
            "a segment is given up as a whole",
        ),
    ];
    for ((key, all), (part, one), why) in twice {
        if all.0 / 2 < one.0 {
            return invalid(key, format!("must be at least twice {part} ({one}): {why}"));
        }
    }
    bound("storage.compaction_threads", storage.compaction_threads as u64, 64)?;
    match storage.compaction_bytes_per_second.0 {
        0 => Ok(()),
        bytes if bytes < MIB => invalid(
            "storage.compaction_bytes_per_second",
            "must be at least 1 MiB, or 0 for no limit: SSTables would pile up until writes are refused",
        ),
        _ => Ok(()),
    }
}

fn between(key: &'static str, size: Size, least: u64, most: u64) -> Result<(), ConfigError> {
    match (least..=most).contains(&size.0) {
        true => Ok(()),
        false => invalid(key, format!("must be {} to {}, not {size}", Size(least), Size(most))),
    }
}

fn bound(key: &'static str, value: u64, most: u64) -> Result<(), ConfigError> {
    if value == 0 || value > most { invalid(key, format!("must be 1 to {most}")) } else { Ok(()) }
}

/// Plain text must not leave the machine by accident.
fn reach(config: &Config) -> Result<(), ConfigError> {
    let client = &config.client;
    if client.tls || client.allow_plaintext || is_loopback(&client.address) {
        return Ok(());
    }
    invalid(
        "client.address",
        format!(
            "{} is not a loopback address: set client.tls = true, or client.allow_plaintext = true if the network between \
             clients and this node is trusted",
            client.address
        ),
    )
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
