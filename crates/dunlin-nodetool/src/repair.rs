//! `nodetool repair`: starts a repair and stays with it to its end.

use crate::args::Repair;
use crate::http::{self, Admin};
use anyhow::{Context, bail};
use dunlin_terminal::Progress;
use serde_json::Value;

/// Carries it out and says how far it is. Ended with Ctrl-C, the repair ends too; after `--timeout` it goes on.
pub async fn run(admin: &mut Admin, what: &Repair, progress: &mut Progress) -> anyhow::Result<Value> {
    if what.cancel {
        return admin.post("/api/v1/repair?cancel=true").await;
    }
    let mut state = admin.post(&format!("/api/v1/repair?{}", query(what))).await?;
    let id = state["id"].as_u64().context("the node named no repair")?;
    while state["running"] == true {
        let number = |name: &str| state[name].as_u64().unwrap_or(0);
        let (done, total) = (number("done"), number("total").max(1));
        let differed = number("records_differing");
        progress.show(
            &format!("repair: {done} of {total} comparisons, {differed} keys differed"),
            Some(done as f64 / total as f64),
        );
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => {
                admin.post(&format!("/api/v1/repair?cancel=true&id={id}")).await?;
                bail!("the repair was cancelled; what was compared until then is equal");
            }
            () = crate::sleep() => {}
        }
        if admin.is_late() {
            bail!(
                "the repair is not done within --timeout; it goes on, and `nodetool repair --cancel` ends it"
            );
        }
        state = admin.look(&format!("/api/v1/repair?id={id}")).await?;
    }
    if let Some(error) = state["error"].as_str() {
        bail!("the repair did not finish: {error}");
    }
    Ok(state)
}

fn query(what: &Repair) -> String {
    let named = [
        ("keyspace", what.keyspace.as_ref().or(what.only_keyspace.as_ref())),
        ("table", what.table.as_ref().or(what.only_table.as_ref())),
        ("peer", what.peer.as_ref()),
    ];
    let mut parts: Vec<String> = named
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| format!("{name}={}", http::escape(value))))
        .collect();
    for (name, on) in [("primary", what.primary), ("preview", what.preview)] {
        if on {
            parts.push(format!("{name}=true"));
        }
    }
    parts.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_is_named_either_way() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(query(&Repair::default()), "");
        let named = Repair { keyspace: text("a b"), table: text("t"), primary: true, ..Repair::default() };
        assert_eq!(query(&named), "keyspace=a%20b&table=t&primary=true");
        let named = Repair { only_table: text("t"), peer: text("n2"), preview: true, ..Repair::default() };
        assert_eq!(query(&named), "table=t&peer=n2&preview=true");
    }
}
