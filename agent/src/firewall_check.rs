//! Checking whether another program's firewall drops traffic between pods.
//!
//! A packet that one chain accepts goes on to the next one. So no rule of Weir's can accept a packet
//! that a foreign FORWARD chain drops (Docker sets the policy DROP, firewalld ends with a reject). The
//! agent does not change rules of other programs: it reports the chain and the rule to add.
//!
//! The check evaluates only conditions on addresses and devices. A rule applies if all its conditions
//! hold for every packet between pods. A rule with another condition (a port, a state, a named set)
//! counts as not matching. So a finding means that no rule of the chain certainly accepts the packet.
//! The finding disappears when the proposed rules are added.

mod chain;
mod finding;
mod legacy;
mod nftables;
mod pod_traffic;

use std::{fs, io, time::Duration};

use tokio::{process::Command, time::timeout};

pub use self::{finding::Finding, pod_traffic::PodTraffic};
use crate::nft;

/// Why a rule set could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rule set of nftables, which includes iptables-nft.
    #[error("list foreign nftables chains")]
    Nft(#[from] nft::Error),
    /// The rule set of iptables-legacy.
    #[error("list the rules of iptables-legacy with {program}")]
    Legacy {
        /// The program that lists it.
        program: &'static str,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
}

const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Checks all foreign chains for forwarded packets in the calling thread's network namespace.
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

/// The filter table of iptables-legacy. It is not listed unless it exists, because listing it would
/// create it.
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
        // The program is optional, and the agent's image does not have it.
        Ok(Err(cause)) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(Err(cause)) => return Err(error(cause)),
        Err(_) => return Err(error(io::ErrorKind::TimedOut.into())),
    };
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(error(io::Error::other(stderr)));
    }
    Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[cfg(test)]
mod tests;
