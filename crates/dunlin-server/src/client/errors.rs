//! Errors of the cluster as replies.

use super::services::ClientServices;
use dunlin_cql::{Body, Reply};
use dunlin_types::error::Applied;
use dunlin_types::runtime::PlantedBug;
use dunlin_types::{ClusterError, ErrorCode, Key, TableDef};

/// The reply for an error; `key` binds a context that it carries.
pub(super) fn reply(services: &ClientServices, error: ClusterError, key: Option<(&TableDef, &Key)>) -> Reply {
    let ClusterError {
        code,
        message,
        consistency,
        required,
        received,
        alive,
        applied,
        replicas,
        retry_after_ms,
        context,
    } = error;
    let mut fields = Vec::with_capacity(8);
    let mut field = |name: &str, value: String| fields.push((name.to_owned(), value));
    if let Some(level) = consistency {
        field("consistency", level.to_string());
    }
    if !replicas.is_empty() || required > 0 {
        field("required", required.to_string());
        field("received", received.to_string());
        field("alive", alive.to_string());
    }
    if consistency.is_some() || applied.is_some() {
        let applied = applied.filter(|_| !services.runtime().planted(PlantedBug::RefusalUntrue));
        field("applied", applied.unwrap_or(Applied::No).name().to_owned());
    }
    if !replicas.is_empty() {
        let outcomes: Vec<String> =
            replicas.iter().map(|(name, what)| format!("{name}:{}", what.name())).collect();
        field("replicas", outcomes.join(","));
    }
    if let Some(ms) = retry_after_ms {
        field("retry_after_ms", ms.to_string());
    }
    if let (Some(context), Some((table, key)), Some(tokens)) = (context, key, services.tokens()) {
        field("context", tokens.seal(table.id, key, &context));
    }
    Body::Error { code, message, fields }.into()
}

/// An error about a statement of which nothing was applied.
pub(super) fn not_applied(code: ErrorCode, message: impl Into<String>) -> Reply {
    Reply::error(code, message).with("applied", Applied::No.name())
}
