//! A node's tunnel as a branch of its tree: the device, and its entries for each peer.

use anyhow::{Context, Result};
use weir_tests::lab::{Entries, Member, Observe};

use crate::addresses::global_addresses;
use crate::paint::Paint;
use crate::tree::Tree;

pub(crate) fn tunnel(node: &Member, paint: Paint) -> Result<Tree> {
    let link = node.link("weir.1")?;
    let data = |key: &str| link.info.data.get(key).cloned().unwrap_or_default();
    let mut tree = Tree::new(format!(
        "tunnel {}  {}  {}  {}",
        paint.name(&link.name),
        link.mac.as_deref().context("no MAC")?,
        global_addresses(&link.addresses).join("  "),
        paint.faint(format!("vni {} port {} mtu {}", data("id"), data("port"), link.mtu)),
    ));
    let Entries { routes, neighbours, forwarding } = Entries::of(node)?;
    for (subnet, via, device) in routes {
        tree = tree.with(format!("route      {} via {via} dev {device}", paint.name(subnet)));
    }
    for (address, mac) in neighbours {
        tree = tree.with(format!("neighbour  {} is {mac}", paint.name(address)));
    }
    for (mac, vtep) in forwarding {
        tree = tree.with(format!("forwarding {mac} is behind {}", paint.name(vtep)));
    }
    Ok(tree)
}
