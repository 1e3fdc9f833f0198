//! Unknown keys, each with its line and the nearest known one.

use super::{Config, ConfigError, nearest};
use toml::de::{DeTable, DeValue};

/// Sections and keys that exist.
pub(super) fn known() -> toml::Table {
    toml::Table::try_from(Config::default()).expect("the default configuration is a table of plain values")
}

/// Every key that does not exist. Text that is not TOML has none: the parser says that better.
pub(super) fn unknown(file: &str, text: &str) -> Vec<ConfigError> {
    let Ok(table) = DeTable::parse(text) else { return Vec::new() };
    let known = known();
    let mut found = Vec::new();
    let mut add = |at: usize, key: String, hint: Option<String>| {
        let error = ConfigError::UnknownKey {
            place: format!("{file}:{}", text[..at].matches('\n').count() + 1),
            key,
            hint: hint.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default(),
        };
        found.push((at, error));
    };
    for (section, value) in table.get_ref() {
        let name = section.get_ref().as_ref();
        let Some(keys) = known.get(name).and_then(toml::Value::as_table) else {
            add(section.span().start, name.to_owned(), near_section(name, &known));
            continue;
        };
        let DeValue::Table(entries) = value.get_ref() else { continue };
        for key in entries.keys().filter(|key| !keys.contains_key(key.get_ref().as_ref())) {
            let word = key.get_ref().as_ref();
            add(key.span().start, format!("{name}.{word}"), near_key(name, word, &known));
        }
    }
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, error)| error).collect()
}

/// A section of about that name, or the section of a key of that name.
fn near_section(name: &str, known: &toml::Table) -> Option<String> {
    let holder = known.iter().find(|(_, keys)| keys.as_table().is_some_and(|k| k.contains_key(name)));
    holder
        .map(|(section, _)| format!("{section}.{name}"))
        .or_else(|| nearest(name, known.keys().map(String::as_str)).map(str::to_owned))
}

/// The nearest key of the section, or the same key in another section.
pub(super) fn near_key(section: &str, word: &str, known: &toml::Table) -> Option<String> {
    let keys = |s: &str| known.get(s).and_then(toml::Value::as_table);
    if let Some((other, _)) =
        known.iter().find(|(s, k)| *s != section && k.as_table().is_some_and(|k| k.contains_key(word)))
    {
        return Some(format!("{other}.{word}"));
    }
    nearest(word, keys(section)?.keys().map(String::as_str)).map(|key| format!("{section}.{key}"))
}
