//! Values that cannot be used.

use super::{Config, ConfigError, Size, StorageSection};
use dunlin_types::limits;
use std::net::{IpAddr, SocketAddr};

/// Bytes.
const MIB: u64 = 1 << 20;

fn invalid(key: &'static str, message: impl Into<String>) -> Result<(), ConfigError> {
    Err(ConfigError::Invalid { key, message: message.into() })
}

/// Every value that cannot be used.
pub(super) fn all(config: &Config) -> Vec<ConfigError> {
    let mut checked = vec![
        text("cluster.name", &config.cluster.name, 256),
        text("node.name", &config.node.name, 253),
        text("node.rack", &config.node.rack, 256),
        text("node.data_center", &config.node.data_center, 256),
    ];
    checked.extend(config.cluster.seeds.iter().map(|seed| address("cluster.seeds", seed)));
    checked.extend([
        address("internode.address", &config.internode.address),
        address("client.address", &config.client.address),
        address("admin.address", &config.admin.address),
    ]);
    let advertised = [
        ("internode.advertise", &config.internode.advertise),
        ("client.advertise", &config.client.advertise),
    ];
    checked.extend(advertised.into_iter().filter(|(_, at)| !at.is_empty()).map(|(key, at)| address(key, at)));
    numbers(config, &mut checked);
    storage(&config.storage, &mut checked);
    checked.push(reach(config));
    checked.into_iter().filter_map(Result::err).collect()
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

type Checked = Vec<Result<(), ConfigError>>;

fn numbers(config: &Config, checked: &mut Checked) {
    let vnodes = config.cluster.vnodes;
    if !vnodes.is_power_of_two() || vnodes > limits::VNODES_MAX {
        let message = format!("must be a power of two up to {}, not {vnodes}", limits::VNODES_MAX);
        checked.push(invalid("cluster.vnodes", message));
    }
    let factor = config.cluster.default_replication_factor;
    let factor_max = u64::from(limits::REPLICATION_FACTOR_MAX);
    checked.push(bound("cluster.default_replication_factor", u64::from(factor), factor_max));
    if config.node.weight == 0 {
        checked.push(invalid(
            "node.weight",
            "must be 1 or more: a node without a share of the ring holds no data",
        ));
    }
    if !(10..=60_000).contains(&config.gossip.interval_ms) {
        checked.push(invalid("gossip.interval_ms", "must be 10 to 60000"));
    }
    if !(1.0..=64.0).contains(&config.gossip.phi_threshold) {
        checked.push(invalid("gossip.phi_threshold", "must be 1 to 64; 8 is usual"));
    }
    let bounds = &config.limits;
    for (key, value, most) in [
        ("replication.read_timeout_ms", config.replication.read_timeout_ms, 120_000),
        ("replication.write_timeout_ms", config.replication.write_timeout_ms, 120_000),
        ("limits.connections", bounds.connections as u64, limits::CONNECTIONS_MAX as u64),
        ("limits.pipeline", bounds.pipeline as u64, limits::PIPELINE_MAX as u64),
        ("limits.statement_size_max", bounds.statement_size_max.0, limits::STATEMENT_BYTES_MAX as u64),
        ("limits.value_size_max", bounds.value_size_max.0, limits::VALUE_BYTES_MAX as u64),
        ("limits.internode_requests", bounds.internode_requests as u64, 1 << 20),
        ("limits.statements", bounds.statements as u64, 1 << 20),
        ("limits.latency_target_ms", bounds.latency_target_ms, 60_000),
        ("limits.queue_wait_ms", bounds.queue_wait_ms, 60_000),
        ("limits.admin_requests", bounds.admin_requests as u64, 1 << 16),
    ] {
        checked.push(bound(key, value, most));
    }
}

fn storage(storage: &StorageSection, checked: &mut Checked) {
    const KIB: u64 = 1 << 10;
    const GIB: u64 = 1 << 30;
    const TIB: u64 = 1 << 40;
    for (key, size, least, most) in [
        ("storage.memtable_size", storage.memtable_size, 64 * KIB, 4 * GIB),
        ("storage.memtables_size_max", storage.memtables_size_max, 256 * KIB, TIB),
        ("storage.log_segment_size", storage.log_segment_size, MIB, GIB),
        ("storage.log_size_max", storage.log_size_max, 2 * MIB, TIB),
        ("storage.block_cache_size", storage.block_cache_size, MIB, TIB),
    ] {
        checked.push(between(key, size, least, most));
    }
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
            checked.push(invalid(key, format!("must be at least twice {part} ({one}): {why}")));
        }
    }
    checked.push(bound("storage.compaction_threads", storage.compaction_threads as u64, 64));
    if (1..MIB).contains(&storage.compaction_bytes_per_second.0) {
        checked.push(invalid(
            "storage.compaction_bytes_per_second",
            "must be at least 1 MiB, or 0 for no limit: SSTables would pile up until writes are refused",
        ));
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
