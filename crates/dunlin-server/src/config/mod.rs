//! A node's configuration: one TOML file, each key of which the environment can override.
//!
//! `conf/dunlin.toml` explains every key and equals the defaults here; a test holds the two together.

mod env;
mod keys;
mod sections;
mod size;
mod validate;

pub use env::from_process as process_environment;
pub use sections::{
    AdminSection, ClientSection, ClusterSection, GossipSection, InternodeSection, LimitsSection, LogFormat,
    LogSection, NodeSection, RepairSection, ReplicationSection, StorageSection,
};
pub use size::Size;

use serde::{Deserialize, Serialize};
use std::path::Path;

/// The whole configuration of a node.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What all nodes of a cluster agree on.
    pub cluster: ClusterSection,
    /// This node.
    pub node: NodeSection,
    /// Traffic between nodes.
    pub internode: InternodeSection,
    /// Traffic with clients.
    pub client: ClientSection,
    /// Traffic with operators.
    pub admin: AdminSection,
    /// The engine.
    pub storage: StorageSection,
    /// Requests and hints.
    pub replication: ReplicationSection,
    /// Anti-entropy.
    pub repair: RepairSection,
    /// Membership and failure detection.
    pub gossip: GossipSection,
    /// Bounds.
    pub limits: LimitsSection,
    /// Logging.
    pub log: LogSection,
}

/// What is wrong with a configuration, for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {file}: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// The system's words.
        reason: String,
    },
    /// Not TOML, or a value of the wrong type; the text shows line and column.
    #[error("{file}: {message}")]
    Malformed {
        /// The file.
        file: String,
        /// What and where.
        message: String,
    },
    /// A key that does not exist.
    #[error("{place}: unknown key {key:?}{hint}")]
    UnknownKey {
        /// File and line, or the environment variable.
        place: String,
        /// The key, with its section.
        key: String,
        /// `; did you mean ...?`, or nothing.
        hint: String,
    },
    /// An environment variable whose value does not fit its key.
    #[error("{variable}: {message}")]
    Environment {
        /// Its name.
        variable: String,
        /// Why not.
        message: String,
    },
    /// A value that cannot be used.
    #[error("{key}: {message}")]
    Invalid {
        /// The key, with its section.
        key: &'static str,
        /// Why not, and what instead.
        message: String,
    },
}

impl Config {
    /// Reads text (`file` names it in errors), applies overrides (`DUNLIN_SECTION__KEY`, value), and
    /// checks the result.
    pub fn parse(file: &str, text: &str, overrides: &[(String, String)]) -> Result<Config, ConfigError> {
        keys::check(file, text)?;
        let malformed = |error: toml::de::Error| ConfigError::Malformed {
            file: file.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        };
        let mut config: Config = toml::from_str(text).map_err(malformed)?;
        for (variable, value) in overrides {
            config = env::apply(&config, variable, value)?;
        }
        validate::check(&config)?;
        Ok(config)
    }

    /// Reads a file and the given overrides.
    #[allow(clippy::disallowed_methods, reason = "the edge: read before the node and its seams exist")]
    pub fn load(file: &Path, overrides: &[(String, String)]) -> Result<Config, ConfigError> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| ConfigError::Unreadable { file: name.clone(), reason: error.to_string() })?;
        Config::parse(&name, &text, overrides)
    }

    /// Checks values that were set by a program.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate::check(self)
    }
}

/// Reads a file with the environment's overrides and says what is wrong: `dunlin check-config`.
pub fn check(file: &Path) -> Result<Config, ConfigError> {
    Config::load(file, &env::from_process())
}

/// Finds the nearest known word, for hints.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|k| (strsim::damerau_levenshtein(word, k), k)).min()?;
    (near.0 <= word.len().max(3) / 2).then_some(near.1)
}

#[cfg(test)]
mod tests;
