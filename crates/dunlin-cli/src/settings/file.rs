//! `client.toml`: the settings of whoever uses the client verbs from one computer.

use anyhow::{Context, bail};
use dunlin_terminal::variable;
use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use toml::de::{DeTable, DeValue};

/// What can stand in the file; those with a dot belong to the section before it.
const KEYS: [&str; 10] = [
    "hosts",
    "timeout",
    "consistency",
    "user",
    "password",
    "password_file",
    "tls.ca",
    "tls.cert",
    "tls.key",
    "tls.server_name",
];

/// The file's entries, each with its line. Without a file there are none.
#[derive(Debug, Default)]
pub struct File {
    path: PathBuf,
    entries: BTreeMap<&'static str, Entry>,
}

#[derive(Debug)]
struct Entry {
    value: String,
    line: usize,
}

impl File {
    /// The file that is named by the option or the environment, which has to be there; else the user's, which need not.
    pub fn load(named: Option<&Path>) -> anyhow::Result<File> {
        let named = match named {
            Some(path) => Some(path.to_owned()),
            None => variable("DUNLIN_CLIENT_CONFIG")?,
        };
        let (path, required) = match named {
            Some(path) => (path, true),
            None => match usual_place() {
                Some(path) => (path, false),
                None => return Ok(File::default()),
            },
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => File::parse(path, &text),
            Err(error) if !required && absent(error.kind()) => Ok(File::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn parse(path: PathBuf, text: &str) -> anyhow::Result<File> {
        let table = DeTable::parse(text)
            .map_err(|error| anyhow::anyhow!("{}: {}", path.display(), error.to_string().trim_end()))?;
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        let mut entries = BTreeMap::new();
        for (section, value) in table.get_ref() {
            let name = section.get_ref().as_ref();
            let inner = match value.get_ref() {
                DeValue::Table(inner) => inner
                    .iter()
                    .map(|(key, value)| (format!("{name}.{}", key.get_ref()), key, value))
                    .collect(),
                _ => vec![(name.to_owned(), section, value)],
            };
            for (full, key, value) in inner {
                let line = line(key.span().start);
                let place = format!("{}:{line}", path.display());
                let Some(known) = KEYS.into_iter().find(|known| *known == full) else {
                    bail!("{place}: unknown key {full:?}{}", hint(&full));
                };
                let value = text_of(value.get_ref())
                    .with_context(|| format!("{place}: {full} is a string, a number or a list of strings"))?;
                entries.insert(known, Entry { value, line });
            }
        }
        Ok(File { path, entries })
    }

    /// A key's value.
    pub fn get<T: FromStr<Err: fmt::Display>>(&self, key: &str) -> anyhow::Result<Option<T>> {
        let Some(Entry { value, line }) = self.entries.get(key) else { return Ok(None) };
        value
            .parse()
            .map(Some)
            .map_err(|error| anyhow::anyhow!("{}:{line}: {key} = {value:?}: {error}", self.path.display()))
    }

    /// A key's value as a path, which is taken from where the file is.
    pub fn path(&self, key: &str) -> anyhow::Result<Option<PathBuf>> {
        let beside = self.path.parent().unwrap_or(Path::new(""));
        Ok(self.get::<PathBuf>(key)?.map(|path| beside.join(path)))
    }
}

/// `$XDG_CONFIG_HOME/dunlin/client.toml`, by default below `~/.config`.
fn usual_place() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")))?;
    Some(config.join("dunlin").join("client.toml"))
}

fn absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(n) => Some(n.to_string()),
        DeValue::Float(x) => Some(x.to_string()),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => None,
            });
            Some(items.collect::<Option<Vec<_>>>()?.join(","))
        }
        _ => None,
    }
}

/// The known key that was meant, or all of them.
fn hint(key: &str) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let same = KEYS.into_iter().find(|known| last(known) == last(key));
    let near = || {
        let distance = |known: &str| strsim::damerau_levenshtein(key, known);
        KEYS.into_iter()
            .min_by_key(|known| distance(known))
            .filter(|known| distance(known) <= key.len().max(3) / 2)
    };
    match same.or_else(near) {
        Some(near) => format!("; did you mean {near:?}?"),
        None => format!("; the keys are {}", KEYS.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<File> {
        File::parse("/etc/dunlin/client.toml".into(), text)
    }

    #[test]
    fn values_are_of_any_form_and_paths_beside_the_file() {
        let file =
            parse("hosts = ['a', \"b:7\"]\ntimeout = 2.5\n[tls]\nca = 'ca.crt'\nkey = '/k'\n").unwrap();
        assert_eq!(file.get::<String>("hosts").unwrap().as_deref(), Some("a,b:7"));
        assert_eq!(file.get::<f64>("timeout").unwrap(), Some(2.5));
        assert_eq!(file.path("tls.ca").unwrap(), Some("/etc/dunlin/ca.crt".into()));
        assert_eq!(file.path("tls.key").unwrap(), Some("/k".into()));
        assert_eq!(file.get::<String>("user").unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, part) in [
            ("\nhost = 'a'", "client.toml:2: unknown key \"host\"; did you mean \"hosts\"?"),
            (
                "[tls]\nserver-name = 'a'",
                "client.toml:2: unknown key \"tls.server-name\"; did you mean \"tls.server_name\"?",
            ),
            ("ca = 'a'", "did you mean \"tls.ca\"?"),
            ("xylophone = 1", "the keys are hosts, "),
            ("hosts = [1]", "client.toml:1: hosts is a string"),
            ("hosts = ", "client.toml: "),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let error =
            parse("user = 'a'\ntimeout = 'soon'").unwrap().get::<f64>("timeout").unwrap_err().to_string();
        assert!(error.starts_with("/etc/dunlin/client.toml:2: timeout = \"soon\": "), "{error}");
    }
}
