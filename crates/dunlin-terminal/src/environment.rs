//! What the environment sets where the command line does not.
//!
//! Such a variable is read only when it is needed, so that an option on the command line always wins, and a foreign one
//! (Kubernetes sets `DUNLIN_ADMIN_PORT=tcp://10.0.0.1:7199` for a Service called dunlin-admin) stops only who would use it.

use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

/// A variable whose value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongVariable {
    name: &'static str,
    value: String,
    reason: String,
}

impl fmt::Display for WrongVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WrongVariable { name, value, reason } = self;
        write!(f, "the environment variable {name}={value} cannot be used: {reason}")?;
        if value.contains("://") {
            write!(
                f,
                " (Kubernetes sets such variables for a Service of that name: `enableServiceLinks: false` in the pod keeps \
                 them away)"
            )?;
        }
        f.write_str("; unset it, or give the option on the command line")
    }
}

impl std::error::Error for WrongVariable {}

/// The variable's value; `None` if it is not set, or empty, which a template leaves behind for what it has no value of.
pub fn variable<T>(name: &'static str) -> Result<Option<T>, WrongVariable>
where
    T: FromStr<Err: fmt::Display>,
{
    read(name, std::env::var_os(name))
}

fn read<T>(name: &'static str, value: Option<OsString>) -> Result<Option<T>, WrongVariable>
where
    T: FromStr<Err: fmt::Display>,
{
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    let wrong = |reason: String| WrongVariable { name, value: value.to_string_lossy().into_owned(), reason };
    let text = value.to_str().ok_or_else(|| wrong("it is not UTF-8".to_owned()))?;
    text.parse().map(Some).map_err(|error: T::Err| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_is_not_set_and_foreign_is_named() {
        assert_eq!(read::<u16>("DUNLIN_X", None), Ok(None));
        assert_eq!(read::<u16>("DUNLIN_X", Some("".into())), Ok(None));
        assert_eq!(read::<u16>("DUNLIN_X", Some("7".into())), Ok(Some(7)));
        let error = read::<u16>("DUNLIN_X", Some("tcp://10.0.0.1:7199".into())).unwrap_err().to_string();
        for part in ["DUNLIN_X=tcp://10.0.0.1:7199", "invalid digit", "enableServiceLinks", "command line"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        let error = read::<u16>("DUNLIN_X", Some("70000".into())).unwrap_err().to_string();
        assert!(!error.contains("Kubernetes"), "{error}");
    }
}
