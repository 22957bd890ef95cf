//! The operator's tool says what is so, also while the agent is down.

mod leftovers;
mod listings;
mod status;
mod trace;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::lab::{Member, until};

/// A text in what the tool printed.
fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.with_context(|| format!("no text at {pointer} of {value:#}"))
}

/// A list in what the tool printed.
fn list<'a>(value: &'a Value, pointer: &str) -> Result<&'a Vec<Value>> {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.with_context(|| format!("no list at {pointer} of {value:#}"))
}

/// The kinds of what is wrong with a node.
fn problems(node: &Member) -> Result<Vec<String>> {
    let (code, status) = node.weir_json(&["status"])?;
    let problems = list(&status, "/problems")?;
    let kinds: Result<Vec<_>> = problems.iter().map(|p| Ok(text(p, "/kind")?.to_owned())).collect();
    let kinds = kinds?;
    ensure!(code == if kinds.is_empty() { 0 } else { 2 }, "exit code {code} for {kinds:?}");
    Ok(kinds)
}

/// Waits until just this is wrong.
fn wait_for_problems(node: &Member, wanted: &[&str]) -> Result<()> {
    until(&format!("the problems are {wanted:?}"), || {
        let found = problems(node)?;
        ensure!(found == wanted, "{found:?}: {}", node.weir_json(&["status"])?.1["problems"]);
        Ok(())
    })
}
