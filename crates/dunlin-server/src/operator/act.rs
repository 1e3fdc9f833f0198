//! Orders of an operator.

use super::Operator;
use crate::admin::{AdminError, Params};
use crate::membership::OperateError;
use dunlin_types::{HostId, TableId};
use serde_json::{Value, json};

impl Operator {
    pub(super) async fn acted(&self, verb: &str, params: &Params) -> Result<Value, AdminError> {
        match verb {
            "flush" | "compact" => self.on_tables(verb, params).await,
            "repair" => self.begin_repair(params),
            "drain" => {
                self.node().drain();
                self.node().hints.flush(true);
                self.node()
                    .flush()
                    .await
                    .map(|()| done())
                    .map_err(|error| AdminError::Failed(error.to_string()))
            }
            "decommission" => self.node().membership.decommission().map(|()| done()).map_err(refused),
            "removenode" => {
                let force = params.get("force").is_some_and(|f| f == "true");
                self.node().membership.remove(host(params)?, force).map(|()| done()).map_err(refused)
            }
            "abort" => self.node().membership.abort_change(host(params)?).map(|()| done()).map_err(refused),
            other => Err(AdminError::Unknown(other.to_owned())),
        }
    }

    /// The tables in scope: of a keyspace, one of it, or all.
    pub(super) fn scope(&self, params: &Params) -> Result<Vec<TableId>, AdminError> {
        let view = self.core().views.load();
        let (keyspace, table) = (params.get("keyspace"), params.get("table"));
        let tables: Vec<TableId> = view
            .schema
            .tables()
            .filter(|t| keyspace.is_none_or(|k| *k == t.keyspace) && table.is_none_or(|name| *name == t.name))
            .map(|t| t.id)
            .collect();
        match (keyspace, table) {
            (Some(keyspace), None) if view.schema.keyspace(keyspace).is_none() => {
                Err(AdminError::Wrong(format!("there is no keyspace {keyspace}")))
            }
            (keyspace, Some(table)) if tables.is_empty() => {
                let keyspace = keyspace.map_or("", String::as_str);
                Err(AdminError::Wrong(format!("there is no table {keyspace}.{table}")))
            }
            _ => Ok(tables),
        }
    }

    async fn on_tables(&self, verb: &str, params: &Params) -> Result<Value, AdminError> {
        let tables = self.scope(params)?;
        let compact = verb == "compact";
        let count = tables.len();
        let job = move |engine: &dunlin_storage::Engine| {
            tables.iter().try_for_each(|table| {
                if compact { engine.compact(Some(*table)) } else { engine.flush(Some(*table)) }
            })
        };
        let done = self.node().store.run(Box::new(job)).await;
        done.map_err(|error| AdminError::Failed(error.to_string()))?;
        Ok(json!({ "tables": count }))
    }
}

fn done() -> Value {
    json!({ "done": true })
}

fn refused(error: OperateError) -> AdminError {
    AdminError::Conflict(error.to_string())
}

fn host(params: &Params) -> Result<HostId, AdminError> {
    let text = params
        .get("host")
        .ok_or_else(|| AdminError::Wrong("which node? (host=HOST-ID is missing)".to_owned()))?;
    text.parse().map_err(AdminError::Wrong)
}
