//! The configuration in the words of the parts.

use crate::client::ClientSettings;
use crate::client::admission::AdmissionSettings;
use crate::client::limit::LimitSettings;
use crate::config::{Config, ConfigError};
use crate::node::StoreMode;
use crate::store::ThreadOptions;
use dunlin_replication::core::ReplicationConfig;
use dunlin_replication::hints::HintConfig;
use dunlin_replication::repair::RepairConfig;
use dunlin_ring::Member;
use dunlin_storage::EngineOptions;
use dunlin_storage::parallel::Threads;
use dunlin_types::HostId;
use dunlin_types::runtime::{PlantedBug, Runtime};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Statements that are worked on at once however slow they are.
const STATEMENTS_MIN: usize = 64;

/// Sizes of the engine; small ones inline, so that simulation meets every border.
pub(crate) fn engine(config: &Config, mode: StoreMode, runtime: &dyn Runtime) -> EngineOptions {
    let planted = [PlantedBug::LogUnchecked, PlantedBug::VisibleBeforeSync];
    let planted = planted.into_iter().find(|bug| runtime.planted(*bug));
    match mode {
        StoreMode::Inline => EngineOptions { planted, ..EngineOptions::small() },
        StoreMode::Threads => EngineOptions {
            log_segment_bytes: config.storage.log_segment_size.0,
            log_bytes_max: config.storage.log_size_max.0,
            memtable_bytes: config.storage.memtable_size.0,
            memtables_bytes_max: config.storage.memtables_size_max.0,
            block_cache_bytes: config.storage.block_cache_size.0,
            parallel: Arc::new(Threads::available()),
            planted,
            ..EngineOptions::default()
        },
    }
}

/// Threads of the store.
pub(crate) fn threads(config: &Config) -> ThreadOptions {
    let storage = &config.storage;
    ThreadOptions {
        compaction_threads: storage.compaction_threads,
        compaction_bytes_per_second: storage.compaction_bytes_per_second.0,
        flush_every_bytes: storage.memtable_size.0 / 8,
        level0_max: EngineOptions::default().compaction.level0_max,
    }
}

pub(crate) fn hints(config: &Config) -> HintConfig {
    HintConfig {
        window: Duration::from_secs(config.replication.hints_window_s),
        target_bytes_max: config.replication.hints_target_size_max.0,
        rate_bytes: config.replication.hints_rate.0,
        ..HintConfig::default()
    }
}

pub(crate) fn replication(config: &Config) -> ReplicationConfig {
    ReplicationConfig {
        speculative_after: Duration::from_millis(config.replication.speculative_after_ms),
        repair: RepairConfig {
            interval: Duration::from_secs(config.repair.interval_s),
            purge_margin: Duration::from_secs(config.repair.purge_margin_s),
            ..RepairConfig::default()
        },
        ..ReplicationConfig::default()
    }
}

pub(crate) fn clients(config: &Config) -> ClientSettings {
    let ceiling = config.limits.statements;
    ClientSettings {
        admission: AdmissionSettings {
            limit: LimitSettings {
                floor: STATEMENTS_MIN.min(ceiling),
                ceiling,
                target: Duration::from_millis(config.limits.latency_target_ms),
            },
            queue: 2 * ceiling,
            wait: Duration::from_millis(config.limits.queue_wait_ms),
        },
        read_timeout: Duration::from_millis(config.replication.read_timeout_ms),
        write_timeout: Duration::from_millis(config.replication.write_timeout_ms),
        connections: config.limits.connections,
        statement_bytes: config.limits.statement_size_max.to_usize(),
        value_bytes: config.limits.value_size_max.to_usize(),
        pipeline: config.limits.pipeline,
        ..ClientSettings::default()
    }
}

/// This node as a member.
pub(crate) fn member(config: &Config, host: HostId, internode: SocketAddr) -> Result<Member, ConfigError> {
    let client = match config.client.advertise.as_str() {
        "" => reachable(literal("client.address", &config.client.address)?, internode),
        advertised => literal("client.advertise", advertised)?,
    };
    Ok(Member {
        host,
        name: config.node.name.clone(),
        rack: config.node.rack.clone(),
        data_center: config.node.data_center.clone(),
        weight: config.node.weight,
        internode,
        client,
        admin: reachable(literal("admin.address", &config.admin.address)?, internode),
    })
}

/// An address that listens everywhere is reached where other nodes reach this one.
fn reachable(listen: SocketAddr, internode: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() { SocketAddr::new(internode.ip(), listen.port()) } else { listen }
}

pub(crate) fn seeds(config: &Config) -> Result<Vec<SocketAddr>, ConfigError> {
    config.cluster.seeds.iter().map(|seed| literal("cluster.seeds", seed)).collect()
}

fn literal(key: &'static str, address: &str) -> Result<SocketAddr, ConfigError> {
    address
        .parse()
        .map_err(|_| ConfigError::Invalid { key, message: format!("{address:?} is not a literal address") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_on_statements_reaches_the_client_port() {
        let shown = |text: &str| {
            let config = Config::parse("dunlin.toml", text, &[]).unwrap();
            format!("{:?}", clients(&config))
        };
        let usual = shown("");
        for setting in [
            "connections = 7",
            "pipeline = 7",
            "statement_size_max = \"7 MiB\"",
            "value_size_max = \"7 KiB\"",
            "statements = 7",
            "latency_target_ms = 7",
            "queue_wait_ms = 7",
        ] {
            assert_ne!(shown(&format!("[limits]\n{setting}\n")), usual, "{setting}");
        }
        for setting in ["read_timeout_ms = 7", "write_timeout_ms = 7"] {
            assert_ne!(shown(&format!("[replication]\n{setting}\n")), usual, "{setting}");
        }
    }
}
