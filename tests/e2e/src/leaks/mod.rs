//! Leftovers of deleted pods. On each node, the pods of the API server, the ports of the bridge,
//! the reserved addresses and the endpoint records must agree.

mod difference;
mod inventory;

use std::time::Duration;

use anyhow::{Result, bail};
use comfy_table::Table;

pub(crate) use difference::Difference;

use crate::environment::Environment;
use crate::kubectl::Kubectl;
use crate::state::State;
use crate::wait;

/// For pods that are still being deleted.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Waits until nothing differs and gives the differences that remain after the timeout.
///
/// # Errors
/// When a node or the API server cannot be read.
pub(crate) fn find(environment: &Environment, state: &State) -> Result<Vec<Difference>> {
    let kubectl = Kubectl::new(environment, state)?;
    let mut found = Vec::new();
    let settled = wait::holds("nothing differs", TIMEOUT, || {
        found.clear();
        let pods = kubectl.list(&["pods", "--all-namespaces"])?;
        for node in &state.nodes {
            let inventory = inventory::of(node, &pods, state.spec.cni)?;
            found.extend(difference::all(node.name(), &inventory));
        }
        Ok(found.is_empty())
    });
    match settled {
        Err(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

/// Checks that nothing differs.
///
/// # Errors
/// When something differs; the error is a table of the differences.
pub(crate) fn ensure_none(environment: &Environment, state: &State) -> Result<()> {
    let found = find(environment, state)?;
    if found.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    table.set_header(["node", "what", "whose"]);
    for Difference { node, what, subject } in &found {
        table.add_row([node.as_str(), what, subject]);
    }
    bail!("{} differences\n{table}", found.len())
}
