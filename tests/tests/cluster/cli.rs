//! The `weir` command reports the state of a node, also while the agent is down.

mod leftovers;
mod listings;
mod status;
mod trace;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::lab::{Member, until};

/// A string of the JSON output.
fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.with_context(|| format!("no string at {pointer} of {value:#}"))
}

/// A list of the JSON output.
fn list<'a>(value: &'a Value, pointer: &str) -> Result<&'a Vec<Value>> {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.with_context(|| format!("no list at {pointer} of {value:#}"))
}

/// The kinds of the problems that `weir status` reports.
fn problems(node: &Member) -> Result<Vec<String>> {
    let (code, status) = node.weir_json(&["status"])?;
    let problems = list(&status, "/problems")?;
    let kinds: Result<Vec<_>> = problems.iter().map(|p| Ok(text(p, "/kind")?.to_owned())).collect();
    let kinds = kinds?;
    ensure!(code == if kinds.is_empty() { 0 } else { 2 }, "exit code {code} for {kinds:?}");
    Ok(kinds)
}

/// Waits until `weir status` reports exactly these problems.
fn wait_for_problems(node: &Member, expected: &[&str]) -> Result<()> {
    until(&format!("the problems are {expected:?}"), || {
        let found = problems(node)?;
        ensure!(found == expected, "{found:?}: {}", node.weir_json(&["status"])?.1["problems"]);
        Ok(())
    })
}
