//! Chains of iptables-legacy, from `iptables-legacy --list-rules`.

use ipnetwork::IpNetwork;

use super::{
    chain::{Condition, Rule, Rules, Verdict},
    finding::Finding,
    pod_traffic::PodTraffic,
};

/// What differs between IPv4 and IPv6.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) program: &'static str,
    /// The file in which the kernel lists the existing tables.
    pub(super) tables: &'static str,
    ipv4: bool,
}

pub(super) const FAMILIES: &[Family] = &[
    Family {
        program: "iptables-legacy",
        tables: "/proc/thread-self/net/ip_tables_names",
        ipv4: true,
    },
    Family {
        program: "ip6tables-legacy",
        tables: "/proc/thread-self/net/ip6_tables_names",
        ipv4: false,
    },
];

/// Whether the chain FORWARD drops pod traffic.
pub(super) fn finding(family: &Family, listing: &str, traffic: &PodTraffic) -> Option<Finding> {
    let networks = traffic.networks_dropped_by(&read(listing), "FORWARD", Some(family.ipv4));
    let accept = |network| {
        ["-s", "-d"].map(|side| format!("{} -I FORWARD {side} {network} -j ACCEPT", family.program))
    };
    let commands = networks.iter().flat_map(accept).collect();
    let chain = format!("chain FORWARD of {}", family.program);
    (!networks.is_empty()).then_some(Finding { chain, networks, commands })
}

fn read(listing: &str) -> Rules {
    let mut rules = Rules::default();
    for line in listing.lines() {
        let words = words(line);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["-P", chain, policy] => {
                rules.chains.entry((*chain).to_owned()).or_default();
                if *policy == "DROP" {
                    rules.dropping.push((*chain).to_owned());
                }
            }
            ["-N", chain] => {
                rules.chains.entry((*chain).to_owned()).or_default();
            }
            ["-A", chain, options @ ..] => {
                let rule = rule(options, &rules);
                rules.chains.entry((*chain).to_owned()).or_default().push(rule);
            }
            _ => {}
        }
    }
    rules
}

fn rule(mut options: &[&str], rules: &Rules) -> Rule {
    let mut rule = Rule::default();
    loop {
        let (condition, rest) = match options {
            [] => return rule,
            ["-j", target, ..] => {
                rule.verdict = verdict(target, rules);
                return rule;
            }
            ["-g", target, ..] => {
                rule.verdict = Some(Verdict::Goto((*target).to_owned()));
                return rule;
            }
            ["-m", "comment", rest @ ..] | ["--comment", _, rest @ ..] => (None, rest),
            ["-s", network, rest @ ..] => (network.parse().ok().map(source), rest),
            ["-d", network, rest @ ..] => (network.parse().ok().map(destination), rest),
            ["-i", device, rest @ ..] => (Some(Condition::Input(vec![name(device)])), rest),
            ["-o", device, rest @ ..] => (Some(Condition::Output(vec![name(device)])), rest),
            ["!", _, _, rest @ ..] | [_, rest @ ..] => (Some(Condition::Unknown), rest),
        };
        rule.conditions.extend(condition);
        options = rest;
    }
}

fn source(network: IpNetwork) -> Condition {
    Condition::Source(vec![network])
}

fn destination(network: IpNetwork) -> Condition {
    Condition::Destination(vec![network])
}

/// The pattern for a device: iptables writes a trailing `+` instead of `*`.
fn name(device: &str) -> String {
    device.strip_suffix('+').map_or_else(|| device.to_owned(), |start| format!("{start}*"))
}

fn verdict(target: &str, rules: &Rules) -> Option<Verdict> {
    match target {
        "ACCEPT" => Some(Verdict::Accept),
        "DROP" | "REJECT" => Some(Verdict::Drop),
        "RETURN" => Some(Verdict::Return),
        chain if rules.chains.contains_key(chain) => Some(Verdict::Jump(chain.to_owned())),
        _ => None,
    }
}

/// The words of a line. A quoted string is one word.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            _ => words.iter_mut().last().into_iter().for_each(|word| word.push(c)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
