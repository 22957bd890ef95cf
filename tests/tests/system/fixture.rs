//! The fixture of most tests: a node with one pod.

use anyhow::Result;
use weir_tests::lab::{Added, Address, Cni, Config, Link, Node, Pod};

/// A node, its plugin, and a pod `a` with the result of ADD.
pub(crate) struct Fixture {
    pub(crate) node: Node,
    pub(crate) cni: Cni,
    pub(crate) pod: Pod,
    pub(crate) added: Added,
}

/// Adds one pod on a new node.
pub(crate) fn one_pod(config: Config) -> Result<Fixture> {
    let node = Node::new()?;
    let cni = Cni::new(&node, config)?;
    let pod = node.pod("a")?;
    let added = cni.add(&pod)?;
    Ok(Fixture { node, cni, pod, added })
}

/// The global addresses of a link, as `ip` prints them.
pub(crate) fn global(link: &Link) -> Vec<String> {
    let global = |address: &&Address| address.scope == "global";
    let shown = |address: &Address| format!("{}/{}", address.local, address.prefixlen);
    link.addresses.iter().filter(global).map(shown).collect()
}

/// Whether both ends of a link are up.
pub(crate) fn is_up(link: &Link) -> bool {
    ["UP", "LOWER_UP"].iter().all(|wanted| link.flags.iter().any(|flag| flag == wanted))
}
