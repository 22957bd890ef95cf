//! A result of the check.

use std::fmt;

use ipnetwork::IpNetwork;

/// A foreign chain that drops pod traffic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The chain, as its owner names it.
    pub(super) chain: String,
    /// The pod networks whose packets it drops.
    pub(super) networks: Vec<IpNetwork>,
    /// Commands that let the packets pass.
    pub(super) commands: Vec<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks: Vec<_> = self.networks.iter().map(ToString::to_string).collect();
        write!(
            f,
            "{} drops forwarded packets of the pod network {}: let its owner accept them, or run: {}",
            self.chain,
            networks.join(", "),
            self.commands.join("; "),
        )
    }
}
