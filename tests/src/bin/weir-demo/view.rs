//! A node as a tree: the bridge, its ports, the pods behind them, the tunnel, and the plugin's store.

use anyhow::{Context, Result};
use weir_tests::lab::{Cni, Link, Member, Observe, Stack};

use crate::addresses::global_addresses;
use crate::overlay;
use crate::paint::Paint;
use crate::pods::DemoPod;
use crate::tree::Tree;

/// A node with its pods and peers.
pub(crate) fn node(node: &Member, pods: &[DemoPod], paint: Paint) -> Result<Tree> {
    let links = node.links()?;
    let mut tree = Tree::new(node.name());
    for bridge in links.iter().filter(|link| link.info.kind.as_deref() == Some("bridge")) {
        let ports = links.iter().filter(|link| link.master.as_ref() == Some(&bridge.name));
        let ports: Result<Vec<_>> = ports.map(|link| port(link, pods, paint)).collect();
        tree = tree.with(Tree::new(bridge_label(bridge, paint)).with_all(ports?));
    }
    Ok(tree.with(overlay::tunnel(node, paint)?).with(store(&node.cni()?, pods, paint)?))
}

/// The number of iptables rules.
pub(crate) fn iptables_rules(node: &Member) -> Result<usize> {
    let mut rules = 0;
    for program in ["iptables-save", "ip6tables-save", "iptables-legacy-save"] {
        let listed = node.command(program)?.stdout()?;
        rules += listed.lines().filter(|line| line.starts_with("-A")).count();
    }
    Ok(rules)
}

/// The nftables ruleset.
pub(crate) fn nftables_rules(node: &Member) -> Result<String> {
    let listed = node.command("nft")?.args(["list", "ruleset"]).stdout()?;
    Ok(listed.replace('\t', "  "))
}

fn bridge_label(bridge: &Link, paint: Paint) -> String {
    format!(
        "bridge {}  {}  {}",
        paint.name(&bridge.name),
        global_addresses(&bridge.addresses).join("  "),
        paint.faint(format!("mtu {}", bridge.mtu)),
    )
}

fn port(link: &Link, pods: &[DemoPod], paint: Paint) -> Result<Tree> {
    let alias = link.alias.as_deref().unwrap_or("no alias");
    let hairpin = if link.info.port.hairpin { "hairpin" } else { "no hairpin" };
    let label = format!(
        "port {}  {}  {}",
        link.name,
        paint.name(alias),
        paint.faint(format!("mtu {}  {hairpin}", link.mtu)),
    );
    let mut tree = Tree::new(label);
    if let Some(pod) = pods.iter().find(|pod| pod.full_name == alias) {
        tree = tree.with(inside(pod, paint)?);
    }
    Ok(tree)
}

/// The pod's side of the veth pair.
fn inside(pod: &DemoPod, paint: Paint) -> Result<Tree> {
    let link = pod.sandbox.link("eth0").with_context(|| pod.full_name.clone())?;
    let gateways = pod.added.ips.iter().filter_map(|ip| ip.gateway);
    let gateways: Vec<_> = gateways.map(|gateway| gateway.to_string()).collect();
    Ok(Tree::new(format!(
        "eth0  {}  {}  {}",
        link.mac.as_deref().unwrap_or("no MAC"),
        global_addresses(&link.addresses).join("  "),
        paint.faint(format!("mtu {}  default via {}", link.mtu, gateways.join(", "))),
    )))
}

fn store(cni: &Cni, pods: &[DemoPod], paint: Paint) -> Result<Tree> {
    let reservations = cni.reservations()?;
    let mut tree = Tree::new(format!("store  {} reservations", reservations.len()));
    for (address, holder) in reservations {
        let pod = pods.iter().find(|pod| holder.starts_with(&pod.sandbox.container_id()));
        let name = pod.map_or("unknown", |pod| pod.full_name.as_str());
        let held = holder.replace("\r\n", " ");
        tree = tree.with(format!(
            "{:14} {}  {}",
            address.to_string(),
            paint.name(name),
            paint.faint(held)
        ));
    }
    Ok(tree)
}
