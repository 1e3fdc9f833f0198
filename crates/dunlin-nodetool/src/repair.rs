//! `nodetool repair`: starts a repair and stays with it to its end.

use crate::args::Repair;
use crate::http::{self, Admin};
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

/// Carries it out, with a bar on a terminal. Ended with Ctrl-C, the repair ends too.
pub async fn run(admin: &mut Admin, what: &Repair, json: bool) -> anyhow::Result<Value> {
    if what.cancel {
        return admin.post("/api/v1/repair?cancel=true").await;
    }
    let mut state = admin.post(&format!("/api/v1/repair?{}", query(what))).await?;
    let id = state["id"].as_u64().context("the node named no repair")?;
    let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(1), target);
    let style = "{spinner} {pos}/{len} ranges {bar:30} {msg}";
    bar.set_style(ProgressStyle::with_template(style).context("the bar's template")?);
    while state["running"] == true {
        bar.set_length(state["total"].as_u64().unwrap_or(1));
        bar.set_position(state["done"].as_u64().unwrap_or(0));
        bar.set_message(format!("{} keys differed", state["records_differing"].as_u64().unwrap_or(0)));
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => {
                bar.finish_and_clear();
                admin.post(&format!("/api/v1/repair?cancel=true&id={id}")).await?;
                bail!("the repair was cancelled; what was compared until then is equal");
            }
            () = crate::sleep() => {}
        }
        state = admin.get(&format!("/api/v1/repair?id={id}")).await?;
    }
    bar.finish_and_clear();
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
