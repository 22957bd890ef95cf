//! The reference plugins with static routes, to compare Weir with.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};
use serde_json::json;

use crate::environment::Environment;
use crate::kubectl::Kubectl;
use crate::member::Member;
use crate::state::State;

/// Writes routes, masquerading and the conflist on each node.
///
/// # Errors
/// When a command fails on a node.
pub(super) fn deploy(environment: &Environment, state: &State) -> Result<()> {
    let subnets = Kubectl::new(environment, state)?.pod_cidrs()?;
    for node in &state.nodes {
        let mut lines = masquerade(state);
        for peer in state.nodes.iter().filter(|peer| peer.name() != node.name()) {
            for subnet in subnets.get(peer.name()).into_iter().flatten() {
                let same = |address: &&std::net::IpAddr| address.is_ipv6() == subnet.contains(':');
                let via = peer.addresses.iter().find(same).context("a node has no address")?;
                writeln!(lines, "ip route replace {subnet} via {via}")?;
            }
        }
        node.machine.run(&lines)?;
        let own = subnets.get(node.name()).map(Vec::as_slice).unwrap_or_default();
        write_conflist(node, own)?;
    }
    Ok(())
}

/// Masquerading of packets that leave the pod network. The `ipMasq` of the plugin would also
/// masquerade packets to pods of other nodes.
fn masquerade(state: &State) -> String {
    let mut rules = String::new();
    for cidr in state.spec.ip_family.pod_cidrs().split(',') {
        let family = if cidr.contains(':') { "ip6" } else { "ip" };
        rules += &format!(
            "add rule inet reference post {family} saddr {cidr} {family} daddr != {cidr} masquerade\n"
        );
    }
    format!(
        "nft -f - <<END\nadd table inet reference\n\
         add chain inet reference post {{ type nat hook postrouting priority srcnat; }}\n{rules}END\n"
    )
}

fn write_conflist(node: &Member, subnets: &[String]) -> Result<()> {
    let ranges: Vec<_> = subnets.iter().map(|subnet| json!([{ "subnet": subnet }])).collect();
    let routes: Vec<_> = subnets
        .iter()
        .map(|subnet| json!({"dst": if subnet.contains(':') { "::/0" } else { "0.0.0.0/0" }}))
        .collect();
    let conflist = json!({
        "cniVersion": "1.0.0",
        "name": "reference",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
                "ipMasq": false,
                "ipam": {"type": "host-local", "ranges": ranges, "routes": routes},
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    let folder = node.machine.path_from_outside("/etc/cni/net.d");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("10-reference.conflist"), conflist.to_string()))
        .context("write the conflist")
}
