//! What pods leave behind: on each node the pods of the API server, the ports of the bridge, the
//! reserved addresses and the endpoint records must tell the same.

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

/// A pod that ends takes a moment.
const SETTLED: Duration = Duration::from_secs(60);

/// Waits until nothing differs, for a while, and tells what still does.
///
/// # Errors
/// When a node or the API server does not answer.
pub(crate) fn find(environment: &Environment, state: &State) -> Result<Vec<Difference>> {
    let kubectl = Kubectl::new(environment, state)?;
    let mut found = Vec::new();
    let settled = wait::holds("nothing differs", SETTLED, || {
        found.clear();
        let pods = kubectl.list(&["pods", "--all-namespaces"])?;
        for node in &state.nodes {
            let inventory = inventory::of(node, &pods, state.shape.cni)?;
            found.extend(difference::all(node.name(), &inventory));
        }
        Ok(found.is_empty())
    });
    match settled {
        Err(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

/// Fails with a table if anything differs.
///
/// # Errors
/// Then.
pub(crate) fn demand_none(environment: &Environment, state: &State) -> Result<()> {
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
