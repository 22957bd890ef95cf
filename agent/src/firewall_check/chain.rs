//! Evaluates a chain of rules for a packet, as far as its addresses and devices decide. Pure, and the
//! same for nftables and iptables.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;

/// Every packet from one of these addresses to another, through these devices (`None`: any).
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) source: IpNetwork,
    pub(super) destination: IpNetwork,
    pub(super) input: Option<&'a str>,
    pub(super) output: Option<&'a str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    Source(Vec<IpNetwork>),
    Destination(Vec<IpNetwork>),
    /// Names of devices; a trailing `*` matches any suffix.
    Input(Vec<String>),
    Output(Vec<String>),
    Ipv4(bool),
    /// A condition that cannot be evaluated here.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    /// Drop or reject.
    Drop,
    Return,
    Jump(String),
    Goto(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    /// `None`: the rule has no verdict, and evaluation continues.
    pub(super) verdict: Option<Verdict>,
}

/// The chains of a table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) chains: BTreeMap<String, Vec<Rule>>,
    /// The chains with the policy drop.
    pub(super) dropping: Vec<String>,
}

/// More than the kernel's limit for nested chains (16).
const DEPTH_LIMIT: usize = 20;

enum Decision {
    Accepted,
    Dropped,
    Undecided,
}

impl Rules {
    /// Whether a base chain drops the packet.
    pub(super) fn drops(&self, chain: &str, packet: &Packet<'_>) -> bool {
        match self.decide(chain, packet, 0) {
            Decision::Accepted => false,
            Decision::Dropped => true,
            Decision::Undecided => self.dropping.iter().any(|name| name == chain),
        }
    }

    fn decide(&self, chain: &str, packet: &Packet<'_>, depth: usize) -> Decision {
        if depth > DEPTH_LIMIT {
            return Decision::Undecided;
        }
        for rule in self.chains.get(chain).into_iter().flatten() {
            if !rule.conditions.iter().all(|condition| condition.holds_for(packet)) {
                continue;
            }
            match &rule.verdict {
                None => {}
                Some(Verdict::Accept) => return Decision::Accepted,
                Some(Verdict::Drop) => return Decision::Dropped,
                Some(Verdict::Return) => return Decision::Undecided,
                Some(Verdict::Goto(target)) => return self.decide(target, packet, depth + 1),
                Some(Verdict::Jump(target)) => match self.decide(target, packet, depth + 1) {
                    Decision::Undecided => {}
                    decision => return decision,
                },
            }
        }
        Decision::Undecided
    }
}

impl Condition {
    fn holds_for(&self, packet: &Packet<'_>) -> bool {
        match self {
            Self::Source(networks) => hold(networks, packet.source),
            Self::Destination(networks) => hold(networks, packet.destination),
            Self::Input(names) => packet.input.is_some_and(|device| match_name(names, device)),
            Self::Output(names) => packet.output.is_some_and(|device| match_name(names, device)),
            Self::Ipv4(ipv4) => packet.source.is_ipv4() == *ipv4,
            Self::Unknown => false,
        }
    }
}

fn hold(networks: &[IpNetwork], wanted: IpNetwork) -> bool {
    let holds = |network: &IpNetwork| {
        network.prefix() <= wanted.prefix() && network.contains(wanted.network())
    };
    networks.iter().any(holds)
}

fn match_name(names: &[String], device: &str) -> bool {
    names.iter().any(|name| match name.strip_suffix('*') {
        Some(start) => device.starts_with(start),
        None => name == device,
    })
}
