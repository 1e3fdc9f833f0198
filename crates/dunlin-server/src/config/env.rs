//! Overrides by environment: `DUNLIN_SECTION__KEY`.

use super::{Config, ConfigError, keys, nearest};
use std::ffi::OsString;
use toml::Value;

const PREFIX: &str = "DUNLIN_";

/// The overrides in this process's environment, by name. Names without two underscores are none: Kubernetes sets
/// `DUNLIN_PORT`, `DUNLIN_SERVICE_HOST` and the like for a Service called dunlin. Nor are empty values, which templates
/// leave behind for what they have no value of. Error: a value that is not UTF-8.
pub(super) fn from_process() -> Result<Vec<(String, String)>, ConfigError> {
    overrides(std::env::vars_os())
}

fn overrides(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut found = Vec::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else { continue };
        let ours = name.strip_prefix(PREFIX).is_some_and(|rest| rest.contains("__"));
        if !ours || value.is_empty() {
            continue;
        }
        match value.into_string() {
            Ok(value) => found.push((name, value)),
            Err(_) => {
                let message = "its value is not UTF-8".to_owned();
                return Err(ConfigError::Environment { variable: name, message });
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The configuration with one key set. The value is read as the key's type; lists are separated by commas.
pub(super) fn apply(config: &Config, variable: &str, value: &str) -> Result<Config, ConfigError> {
    let wrong = |message: String| ConfigError::Environment { variable: variable.to_owned(), message };
    let path = variable.strip_prefix(PREFIX).unwrap_or(variable).to_lowercase();
    let (section, key) = path.split_once("__").unwrap_or((&path, ""));
    let mut table = toml::Table::try_from(config).map_err(|error| wrong(error.to_string()))?;
    let known = keys::known();
    let Some(current) = table.get_mut(section).and_then(Value::as_table_mut).and_then(|s| s.get_mut(key))
    else {
        let near = if known.contains_key(section) {
            keys::near_key(section, key, &known)
        } else {
            nearest(section, known.keys().map(String::as_str)).map(|s| format!("{s}.{key}"))
        };
        let hint = near.map(|n| format!("; did you mean {PREFIX}{}?", n.replace('.', "__").to_uppercase()));
        return Err(ConfigError::UnknownKey {
            place: format!("environment variable {variable}"),
            key: format!("{section}.{key}"),
            hint: hint.unwrap_or_default(),
        });
    };
    *current = match current {
        Value::Integer(_) => {
            Value::Integer(value.parse().map_err(|_| wrong(format!("{value:?} is not a whole number")))?)
        }
        Value::Float(_) => {
            Value::Float(value.parse().map_err(|_| wrong(format!("{value:?} is not a number")))?)
        }
        Value::Boolean(_) => {
            Value::Boolean(value.parse().map_err(|_| wrong(format!("{value:?} is neither true nor false")))?)
        }
        Value::Array(_) => Value::Array(
            value
                .split(',')
                .map(str::trim)
                .filter(|s| !s.is_empty())
                .map(|s| Value::String(s.to_owned()))
                .collect(),
        ),
        _ => Value::String(value.to_owned()),
    };
    table.try_into().map_err(|error: toml::de::Error| wrong(error.message().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn variables_of_others_are_left_alone() {
        let set = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(OsString, OsString)> =
                pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
            overrides(pairs.into_iter()).unwrap()
        };
        let kubernetes = [
            ("DUNLIN_PORT", "tcp://10.0.0.1:9041"),
            ("DUNLIN_SERVICE_HOST", "10.0.0.1"),
            ("DUNLIN_PORT_9041_TCP", "tcp://10.0.0.1:9041"),
            ("DUNLIN_CLIENT_PORT_9041_TCP", "tcp://10.0.0.1:9041"),
            ("DUNLIN_HOST", ""),
        ];
        assert_eq!(set(&kubernetes), []);
        assert_eq!(
            set(&[("DUNLIN_CLUSTER__SEEDS", "")]),
            [],
            "an empty one does not make a node found a cluster"
        );
        let set = set(&[("DUNLIN_NODE__RACK", "r2"), ("DUNLIN_CLIENT__PORT_TCP", "x"), ("PATH", "/bin")]);
        assert_eq!(set.len(), 2);
        let error = Config::parse("f", "", &set).unwrap_err().to_string();
        assert!(error.contains("DUNLIN_CLIENT__PORT_TCP"), "{error}");
    }

    #[test]
    fn a_value_that_is_no_text_is_named() {
        let pair = ("DUNLIN_NODE__RACK".into(), OsString::from_vec(vec![0xff]));
        let error = overrides([pair].into_iter()).unwrap_err().to_string();
        assert!(error.contains("DUNLIN_NODE__RACK") && error.contains("UTF-8"), "{error}");
    }
}
