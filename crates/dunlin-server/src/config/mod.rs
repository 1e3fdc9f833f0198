//! A node's configuration: one TOML file, each key of which the environment can override.
//!
//! `conf/dunlin.toml` explains every key and equals the defaults here; a test holds the two together.

mod env;
mod keys;
mod sections;
mod size;
mod validate;

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
    /// checks the result. Error: the first thing that is wrong.
    pub fn parse(file: &str, text: &str, overrides: &[(String, String)]) -> Result<Config, ConfigError> {
        let (config, wrong) = Config::examine(file, text, overrides);
        match wrong.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(config),
        }
    }

    /// The same with everything that is wrong; the configuration is what can be made of it.
    pub fn examine(file: &str, text: &str, overrides: &[(String, String)]) -> (Config, Vec<ConfigError>) {
        let mut wrong = keys::unknown(file, text);
        if !wrong.is_empty() {
            return (Config::default(), wrong);
        }
        let mut config: Config = match toml::from_str(text) {
            Ok(config) => config,
            Err(error) => {
                let message = error.to_string().trim_end().to_owned();
                return (Config::default(), vec![ConfigError::Malformed { file: file.to_owned(), message }]);
            }
        };
        for (variable, value) in overrides {
            match env::apply(&config, variable, value) {
                Ok(set) => config = set,
                Err(error) => wrong.push(error),
            }
        }
        wrong.extend(validate::all(&config));
        (config, wrong)
    }

    /// Reads a file and the overrides of this process's environment.
    pub fn load(file: &Path) -> Result<Config, ConfigError> {
        let (name, text) = read(file)?;
        Config::parse(&name, &text, &env::from_process()?)
    }

    /// Checks values that were set by a program.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate::all(self).into_iter().next().map_or(Ok(()), Err)
    }
}

/// Reads a file with the environment's overrides and says all that is wrong with its text: see [`Config::examine`].
pub fn examine(file: &Path) -> Result<(Config, Vec<ConfigError>), ConfigError> {
    let (name, text) = read(file)?;
    Ok(Config::examine(&name, &text, &env::from_process()?))
}

/// The file's name for errors, and its text.
#[allow(clippy::disallowed_methods, reason = "the edge: read before the node and its seams exist")]
fn read(file: &Path) -> Result<(String, String), ConfigError> {
    let name = file.display().to_string();
    match std::fs::read_to_string(file) {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(ConfigError::Unreadable { file: name, reason: error.to_string() }),
    }
}

/// Finds the nearest known word, for hints.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|k| (strsim::damerau_levenshtein(word, k), k)).min()?;
    (near.0 <= word.len().max(3) / 2).then_some(near.1)
}

#[cfg(test)]
mod tests;
