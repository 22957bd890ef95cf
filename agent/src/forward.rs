//! Finding out whether somebody else's firewall drops what pods send to each other.
//!
//! A packet that one chain accepts goes on to the next, so no rule of ours can let through what a
//! foreign FORWARD chain drops (Docker sets its policy to DROP, firewalld ends with a reject). The
//! agent does not change what is not its own: it says which chain it is and what to add.
//!
//! Chains are followed as far as they can be understood: a rule whose conditions all hold for any
//! packet between pods decides, a rule with a condition that depends on more (a port, a state, a
//! set) is taken not to match. So a finding means that nothing in the chain is sure to let the
//! packet pass, and it goes away when what it proposes is done.

mod chain;
mod legacy;
mod nftables;

use std::{fmt, fs, io, time::Duration};

use ipnetwork::IpNetwork;
use tokio::{process::Command, time::timeout};

use self::chain::{Packet, Rules};
use crate::nft;

/// The traffic that must pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodTraffic {
    /// The pod networks of the whole cluster.
    pub pod_networks: Vec<IpNetwork>,
    /// The bridge that pods are ports of.
    pub bridge: String,
    /// The device that leads to other nodes' pods.
    pub overlay: Option<String>,
}

/// A foreign chain that drops it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The chain, as its owner would call it.
    chain: String,
    /// What gets lost in it.
    networks: Vec<IpNetwork>,
    /// Commands that let it pass.
    way_out: Vec<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks: Vec<_> = self.networks.iter().map(ToString::to_string).collect();
        write!(
            f,
            "{} drops forwarded packets of the pod network {}: let its owner accept them, or run: {}",
            self.chain,
            networks.join(", "),
            self.way_out.join("; "),
        )
    }
}

/// A rule set could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// That of nftables (and of iptables-nft).
    #[error("list foreign nftables chains")]
    Nft(#[from] nft::Error),
    /// That of the older iptables.
    #[error("list the rules of iptables-legacy with {program}")]
    Legacy {
        /// The program that was started.
        program: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Looks at all foreign chains of the calling thread's network namespace that see forwarded
/// packets.
pub async fn check(traffic: &PodTraffic) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let chains = nft::list(&["chains"]).await?;
    for table in nftables::foreign_tables(&chains) {
        let name = ["table", table.family.as_str(), table.name.as_str()];
        let listing = match nft::list(&name).await {
            Err(error) if error.is_not_found() => continue,
            listing => listing?,
        };
        findings.extend(nftables::findings(&table, &listing, traffic));
    }
    for family in legacy::FAMILIES {
        if let Some(rules) = list_legacy(family).await? {
            findings.extend(legacy::finding(family, &rules, traffic));
        }
    }
    findings.sort();
    Ok(findings)
}

/// The filter table of iptables-legacy. Not asked for unless it exists: the question would make it.
async fn list_legacy(family: &legacy::Family) -> Result<Option<String>, Error> {
    let tables = fs::read_to_string(family.tables).unwrap_or_default();
    if !tables.lines().any(|table| table == "filter") {
        return Ok(None);
    }
    let program = family.program;
    let mut command = Command::new(program);
    command.args(["--wait", "5", "--table", "filter", "--list-rules"]).kill_on_drop(true);
    let error = |cause| Error::Legacy { program, cause };
    let output = match timeout(TIME_LIMIT, command.output()).await {
        Ok(Ok(output)) => output,
        // A host without it; the agent's image has none either.
        Ok(Err(cause)) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(Err(cause)) => return Err(error(cause)),
        Err(_) => return Err(error(io::ErrorKind::TimedOut.into())),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(error(io::Error::other(said)));
    }
    Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
}

impl PodTraffic {
    /// Those networks of which packets from one node's pods to another's get lost, leaving this
    /// node or arriving at it.
    fn lost_in(&self, rules: &Rules, chain: &str, family: Option<bool>) -> Vec<IpNetwork> {
        let (bridge, overlay) = (Some(self.bridge.as_str()), self.overlay.as_deref());
        let is_lost = |network: &IpNetwork| {
            [(bridge, overlay), (overlay, bridge)].into_iter().any(|(input, output)| {
                let packet = Packet { source: *network, destination: *network, input, output };
                rules.drop(chain, &packet)
            })
        };
        let of_family = |network: &&IpNetwork| family.is_none_or(|ipv4| network.is_ipv4() == ipv4);
        let mut networks: Vec<_> =
            self.pod_networks.iter().filter(of_family).copied().filter(is_lost).collect();
        networks.sort();
        networks.dedup();
        networks
    }
}

#[cfg(test)]
mod tests;
