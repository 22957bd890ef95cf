//! Chains of nftables, which those of iptables-nft are too, from `nft --json list`.

use ipnetwork::IpNetwork;
use serde_json::Value;

use super::{
    Finding, PodTraffic,
    chain::{Condition, Rule, Rules, Verdict},
};

/// Our own table, whose chains drop nothing.
const OWN: (&str, &str) = ("inet", weir_node::names::NFTABLES_TABLE);

/// A table with chains that see forwarded packets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) family: String,
    pub(super) name: String,
    /// Its chains at the hook.
    chains: Vec<String>,
}

/// The foreign tables among all chains.
pub(super) fn foreign_tables(listing: &Value) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for chain in objects(listing, "chain") {
        let (Some(family), Some(table), Some(name)) =
            (text(chain, "family"), text(chain, "table"), text(chain, "name"))
        else {
            continue;
        };
        let sees_ip = ["ip", "ip6", "inet"].contains(&family);
        if text(chain, "hook") != Some("forward") || !sees_ip || (family, table) == OWN {
            continue;
        }
        match tables.iter_mut().find(|known| known.family == family && known.name == table) {
            Some(known) => known.chains.push(name.to_owned()),
            None => tables.push(Table {
                family: family.to_owned(),
                name: table.to_owned(),
                chains: vec![name.to_owned()],
            }),
        }
    }
    tables
}

/// Those of a table's chains that drop pod traffic.
pub(super) fn findings(table: &Table, listing: &Value, traffic: &PodTraffic) -> Vec<Finding> {
    let rules = read(listing);
    let family = match table.family.as_str() {
        "ip" => Some(true),
        "ip6" => Some(false),
        _ => None,
    };
    let finding = |chain: &String| {
        let networks = traffic.lost_in(&rules, chain, family);
        let way_out = networks.iter().flat_map(|network| way_out(table, chain, *network)).collect();
        (!networks.is_empty()).then(|| Finding { chain: shown(table, chain), networks, way_out })
    };
    table.chains.iter().filter_map(finding).collect()
}

fn is_of_iptables(table: &Table, chain: &str) -> bool {
    table.family != "inet" && table.name == "filter" && chain == "FORWARD"
}

fn shown(table: &Table, chain: &str) -> String {
    if is_of_iptables(table, chain) {
        let program = if table.family == "ip" { "iptables" } else { "ip6tables" };
        return format!("chain {chain} of {program} (nftables)");
    }
    format!("chain {chain} of the nftables table {} {}", table.family, table.name)
}

fn way_out(table: &Table, chain: &str, network: IpNetwork) -> [String; 2] {
    let (program, protocol) =
        if network.is_ipv4() { ("iptables", "ip") } else { ("ip6tables", "ip6") };
    if is_of_iptables(table, chain) {
        return ["-s", "-d"].map(|side| format!("{program} -I FORWARD {side} {network} -j ACCEPT"));
    }
    let Table { family, name, .. } = table;
    ["saddr", "daddr"].map(|side| {
        format!("nft insert rule {family} {name} {chain} {protocol} {side} {network} accept")
    })
}

fn read(listing: &Value) -> Rules {
    let mut rules = Rules::default();
    for chain in objects(listing, "chain") {
        let Some(name) = text(chain, "name") else { continue };
        rules.chains.entry(name.to_owned()).or_default();
        if text(chain, "policy") == Some("drop") {
            rules.dropping.push(name.to_owned());
        }
    }
    for rule in objects(listing, "rule") {
        let Some(chain) = text(rule, "chain") else { continue };
        let statements = rule.get("expr").and_then(Value::as_array);
        let mut read = Rule::default();
        for statement in statements.into_iter().flatten() {
            read_statement(statement, &mut read);
        }
        rules.chains.entry(chain.to_owned()).or_default().push(read);
    }
    rules
}

fn read_statement(statement: &Value, rule: &mut Rule) {
    let Some((name, body)) = statement.as_object().and_then(|members| members.iter().next()) else {
        rule.conditions.push(Condition::Unknown);
        return;
    };
    let target = || text(body, "target").unwrap_or_default().to_owned();
    match name.as_str() {
        "accept" => rule.verdict = Some(Verdict::Accept),
        "drop" | "reject" => rule.verdict = Some(Verdict::Drop),
        "return" => rule.verdict = Some(Verdict::Return),
        "jump" => rule.verdict = Some(Verdict::Jump(target())),
        "goto" => rule.verdict = Some(Verdict::Goto(target())),
        "match" => rule.conditions.push(condition(body)),
        "counter" | "log" | "mangle" | "notrack" => {}
        "xt" if text(body, "name") == Some("comment") => {}
        _ => rule.conditions.push(Condition::Unknown),
    }
}

fn condition(body: &Value) -> Condition {
    let Some(values) = body.get("right").and_then(values) else { return Condition::Unknown };
    if !matches!(text(body, "op"), Some("==" | "in")) {
        return Condition::Unknown;
    }
    let left = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
    let names = || values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect();
    let networks = || values.iter().filter_map(|value| network(value)).collect();
    match (left("/left/payload/protocol"), left("/left/payload/field"), left("/left/meta/key")) {
        (Some("ip" | "ip6"), Some("saddr"), _) => Condition::Source(networks()),
        (Some("ip" | "ip6"), Some("daddr"), _) => Condition::Destination(networks()),
        (_, _, Some("iifname" | "iif")) => Condition::Input(names()),
        (_, _, Some("oifname" | "oif")) => Condition::Output(names()),
        (_, _, Some("nfproto")) if values.as_slice() == ["ipv4"] => Condition::Ipv4(true),
        (_, _, Some("nfproto")) if values.as_slice() == ["ipv6"] => Condition::Ipv4(false),
        _ => Condition::Unknown,
    }
}

/// The values that the right side of a match stands for: one, or those of an anonymous set.
fn values(right: &Value) -> Option<Vec<&Value>> {
    match right.get("set") {
        Some(Value::Array(members)) => Some(members.iter().collect()),
        Some(_) => None,
        None => Some(vec![right]),
    }
}

fn network(value: &Value) -> Option<IpNetwork> {
    if let Some(address) = value.as_str() {
        return address.parse().ok();
    }
    let address = value.pointer("/prefix/addr")?.as_str()?.parse().ok()?;
    let length = value.pointer("/prefix/len")?.as_u64()?;
    IpNetwork::new(address, u8::try_from(length).ok()?).ok()
}

fn objects<'a>(listing: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let objects = listing.get("nftables").and_then(Value::as_array);
    objects.into_iter().flatten().filter_map(move |object| object.get(kind))
}

fn text<'a>(object: &'a Value, member: &str) -> Option<&'a str> {
    object.get(member).and_then(Value::as_str)
}
