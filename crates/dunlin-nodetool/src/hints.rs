//! The verbs of `nodetool hints`.

use crate::args::HintsVerb;
use crate::http::{self, Admin};
use anyhow::bail;
use dunlin_terminal::Progress;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Carries one out. Its answer is the list as it stands then; for `wait`, how many were waited for.
pub async fn run(admin: &mut Admin, verb: &HintsVerb, progress: &mut Progress) -> anyhow::Result<Value> {
    let (what, target) = match verb {
        HintsVerb::List => return admin.get("/api/v1/hints").await,
        HintsVerb::Wait { target } => return wait(admin, target.as_deref(), progress).await,
        HintsVerb::Pause { target } => ("pause", target),
        HintsVerb::Resume { target } => ("resume", target),
        HintsVerb::Truncate { target } => ("truncate", target),
    };
    let target = target.as_ref().map(|t| format!("&target={}", http::escape(t))).unwrap_or_default();
    admin.post(&format!("/api/v1/hints?do={what}{target}")).await
}

/// Waits until what is kept now is gone, however many hints come meanwhile.
async fn wait(admin: &mut Admin, only: Option<&str>, progress: &mut Progress) -> anyhow::Result<Value> {
    let first = admin.get("/api/v1/hints").await?;
    let goal: BTreeMap<String, u64> = targets(&first)
        .filter(|t| only.is_none_or(|only| t["target"] == only || t["host_id"] == only))
        .map(|t| (t["host_id"].as_str().unwrap_or_default().to_owned(), number(t, "kept_ever")))
        .collect();
    let waited_for: u64 = targets(&first).filter(|t| is_in(&goal, t)).map(|t| number(t, "count")).sum();
    let mut now = first;
    loop {
        let left = |t: &Value| {
            let goal = t["host_id"].as_str().and_then(|host| goal.get(host)).copied().unwrap_or(0);
            goal.saturating_sub(number(t, "gone_ever"))
        };
        let left: u64 = targets(&now).map(left).sum();
        if left == 0 {
            return Ok(json!({ "waited_for": waited_for }));
        }
        if admin.is_late() {
            bail!("{left} of {waited_for} hints are still here; see `nodetool hints list`");
        }
        let share = waited_for.saturating_sub(left) as f64 / waited_for.max(1) as f64;
        progress.show(&format!("{left} of {waited_for} hints are still here"), Some(share));
        crate::sleep().await;
        now = admin.look("/api/v1/hints").await?;
    }
}

fn targets(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["targets"].as_array().into_iter().flatten()
}

fn is_in(goal: &BTreeMap<String, u64>, target: &Value) -> bool {
    target["host_id"].as_str().is_some_and(|host| goal.contains_key(host))
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}
