//! Overrides by environment: `DUNLIN_SECTION__KEY`.

use super::{Config, ConfigError, keys, nearest};
use toml::Value;

const PREFIX: &str = "DUNLIN_";

/// The overrides in this process's environment, by name.
pub fn from_process() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.strip_prefix(PREFIX).is_some_and(|rest| rest.contains("__")))
        .collect();
    found.sort();
    found
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
