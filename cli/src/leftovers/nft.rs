//! Chains and tables in nftables: those of kube-proxy and flannel themselves, and those that
//! iptables-nft made for them.
//!
//! `nft` reads and changes both, so that a container needs no other program. Rules are deleted by their
//! handles, so that their other expressions need not be parsed.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use serde_json::Value;

use super::chains::{Owner, describe};
use crate::tool;

/// Chains of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chains {
    family: String,
    table: String,
    chains: Vec<String>,
    /// Removes them in one transaction.
    pub(super) script: String,
}

impl fmt::Display for Chains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, &format!("nftables {} {}", self.family, self.table), &self.chains)
    }
}

/// What an owner has left.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) chains: Vec<Chains>,
    /// Whole tables, by family and name.
    pub(super) tables: Vec<(String, String)>,
}

/// Finds chains and tables of an owner.
pub(super) async fn find(owner: Owner, notes: &mut Vec<String>) -> Result<Found> {
    let mut found = Found::default();
    let Some(text) = tool::run("nft", &["--json", "list", "chains"], "").await? else {
        notes.push("nftables: the program nft is not installed".to_owned());
        return Ok(found);
    };
    for (family, table) in tables_with_chains(owner, &parse(&text)?) {
        let what = ["--json", "--stateless", "list", "table", &family, &table];
        // The table may have been deleted since.
        if let Ok(Some(text)) = tool::run("nft", &what, "").await {
            found.chains.extend(plan(owner, &family, &table, &parse(&text)?));
        }
    }
    let text = tool::run("nft", &["--json", "list", "tables"], "").await?.unwrap_or_default();
    for table in objects(&parse(&text)?, "table") {
        let (family, name) = (text_of(table, "family"), text_of(table, "name"));
        if owner.has_table(name) {
            found.tables.push((family.to_owned(), name.to_owned()));
        }
    }
    Ok(found)
}

/// Runs a script in one transaction.
pub(super) async fn apply(script: &str) -> Result<()> {
    tool::run("nft", &["--file", "-"], script)
        .await?
        .context("the program nft is not installed")?;
    Ok(())
}

fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("read what nft lists")
}

/// The objects of a kind in a listing.
fn objects<'a>(listing: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    let all = listing.get("nftables").and_then(Value::as_array);
    all.into_iter().flatten().filter_map(move |object| object.get(kind))
}

fn text_of<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The tables in which an owner has chains, where the table itself is not its own.
fn tables_with_chains(owner: Owner, listing: &Value) -> Vec<(String, String)> {
    let mut tables = BTreeMap::new();
    for chain in objects(listing, "chain") {
        let (family, table) = (text_of(chain, "family"), text_of(chain, "table"));
        if owner.has_chain(text_of(chain, "name")) && !owner.has_table(table) {
            tables.insert((family.to_owned(), table.to_owned()), ());
        }
    }
    tables.into_keys().collect()
}

fn plan(owner: Owner, family: &str, table: &str, listing: &Value) -> Option<Chains> {
    let names = objects(listing, "chain").map(|chain| text_of(chain, "name"));
    let mut chains: Vec<_> =
        names.filter(|name| owner.has_chain(name)).map(str::to_owned).collect();
    chains.sort();
    if chains.is_empty() {
        return None;
    }
    let mut script = String::new();
    for chain in &chains {
        script += &format!("flush chain {family} {table} {chain}\n");
    }
    for rule in objects(listing, "rule") {
        let from = text_of(rule, "chain");
        let handle = rule.get("handle").and_then(Value::as_u64);
        if let Some(handle) = handle.filter(|_| !owner.has_chain(from) && leads_to(owner, rule)) {
            script += &format!("delete rule {family} {table} {from} handle {handle}\n");
        }
    }
    for chain in &chains {
        script += &format!("delete chain {family} {table} {chain}\n");
    }
    let (family, table) = (family.to_owned(), table.to_owned());
    Some(Chains { family, table, chains, script })
}

/// Whether a rule jumps or goes to a chain of the owner.
fn leads_to(owner: Owner, rule: &Value) -> bool {
    let statements = rule.get("expr").and_then(Value::as_array);
    statements.into_iter().flatten().any(|statement| {
        ["jump", "goto"].iter().any(|verdict| {
            let target = statement.get(verdict).and_then(|verdict| verdict.get("target"));
            target.and_then(Value::as_str).is_some_and(|target| owner.has_chain(target))
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn chains_and_the_rules_that_lead_to_them_are_removed_in_one_transaction() {
        let chain = |name: &str| json!({"chain": {"family": "ip", "table": "nat", "name": name}});
        let rule = |chain: &str, handle: u64, target: &str| {
            json!({"rule": {"family": "ip", "table": "nat", "chain": chain, "handle": handle,
                "expr": [{"xt": null}, {"counter": null}, {"jump": {"target": target}}]}})
        };
        let listing = json!({"nftables": [
            {"metainfo": {}},
            chain("PREROUTING"), chain("KUBE-SERVICES"), chain("KUBE-FIREWALL"), chain("KUBE-SEP-A"),
            rule("PREROUTING", 4, "KUBE-SERVICES"), rule("PREROUTING", 5, "KUBE-FIREWALL"),
            rule("KUBE-SERVICES", 6, "KUBE-SEP-A"),
        ]});
        assert_eq!(
            tables_with_chains(Owner::KubeProxy, &listing),
            [("ip".to_owned(), "nat".to_owned())]
        );
        let Some(chains) = plan(Owner::KubeProxy, "ip", "nat", &listing) else {
            panic!("nothing is planned")
        };
        assert_eq!(
            chains.script,
            "flush chain ip nat KUBE-SEP-A\nflush chain ip nat KUBE-SERVICES\n\
             delete rule ip nat PREROUTING handle 4\n\
             delete chain ip nat KUBE-SEP-A\ndelete chain ip nat KUBE-SERVICES\n"
        );
        assert_eq!(plan(Owner::Flannel, "ip", "nat", &listing), None);
    }

    #[test]
    fn a_table_of_the_owner_is_removed_as_a_whole() {
        let listing = json!({"nftables": [
            {"chain": {"family": "ip", "table": "kube-proxy", "name": "KUBE-SERVICES"}},
        ]});
        assert_eq!(tables_with_chains(Owner::KubeProxy, &listing), []);
    }
}
