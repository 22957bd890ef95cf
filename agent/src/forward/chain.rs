//! What a chain of rules does with a packet, as far as it can be told from its addresses and
//! devices. Pure, and the same for nftables and iptables.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;

/// Any packet from one of these addresses to another, by way of these devices (`None`: any).
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
    /// Names of devices; a last `*` stands for anything.
    Input(Vec<String>),
    Output(Vec<String>),
    Ipv4(bool),
    /// Depends on what is not known here.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    /// Or reject.
    Drop,
    Return,
    Jump(String),
    Goto(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    /// `None`: counts, logs, marks, and goes on.
    pub(super) verdict: Option<Verdict>,
}

/// The chains of a table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) chains: BTreeMap<String, Vec<Rule>>,
    /// Those whose policy is to drop.
    pub(super) dropping: Vec<String>,
}

/// Deeper than the kernel lets chains be nested (16).
const DEPTH_LIMIT: usize = 20;

enum Fate {
    Accepted,
    Dropped,
    Undecided,
}

impl Rules {
    /// Whether a base chain drops the packet.
    pub(super) fn drop(&self, chain: &str, packet: &Packet<'_>) -> bool {
        match self.fate(chain, packet, 0) {
            Fate::Accepted => false,
            Fate::Dropped => true,
            Fate::Undecided => self.dropping.iter().any(|name| name == chain),
        }
    }

    fn fate(&self, chain: &str, packet: &Packet<'_>, depth: usize) -> Fate {
        if depth > DEPTH_LIMIT {
            return Fate::Undecided;
        }
        for rule in self.chains.get(chain).into_iter().flatten() {
            if !rule.conditions.iter().all(|condition| condition.holds_for(packet)) {
                continue;
            }
            match &rule.verdict {
                None => {}
                Some(Verdict::Accept) => return Fate::Accepted,
                Some(Verdict::Drop) => return Fate::Dropped,
                Some(Verdict::Return) => return Fate::Undecided,
                Some(Verdict::Goto(target)) => return self.fate(target, packet, depth + 1),
                Some(Verdict::Jump(target)) => match self.fate(target, packet, depth + 1) {
                    Fate::Undecided => {}
                    fate => return fate,
                },
            }
        }
        Fate::Undecided
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
