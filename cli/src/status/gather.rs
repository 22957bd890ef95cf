//! Reads the facts.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::net::SocketAddr;

use anyhow::Result;
use weir_datapath::{Hook, Pins};
use weir_netlink::{Link, LinkKind, Netlink, link};
use weir_node::{EndpointRecord, names::TUNNEL_PREFIX, subnet_env};

use super::facts::{
    AgentFacts, Attachment, Concern, Facts, MtuFacts, Peers, PodFacts, Refused, Tunnel, Waiting,
};
use super::forwarding;
use crate::endpoints::in_map;
use crate::leftovers::{self, Owner};
use crate::node::programs::{Found, Pinned};
use crate::node::records;
use crate::node::{agent, maps, programs};
use crate::options;

/// Reads all facts.
pub(super) async fn gather(paths: &options::NodePaths, address: SocketAddr) -> Result<Facts> {
    let netlink = Netlink::open()?;
    let links = link::list(&netlink).await?;
    let records = records::list(&paths.run_dir)?;
    let pins = paths.pins();
    let mut facts = Facts {
        agent: ask_agent(address).await,
        serves: pins.exist(),
        mtu: mtu(paths, &links),
        forwarding: forwarding::read_faults(paths, &netlink).await?,
        ..Facts::default()
    };
    if facts.serves {
        datapath(&pins, &records, &links, &mut facts)?;
    }
    let in_maps = if facts.serves && facts.foreign_maps.is_none() {
        Some(maps::endpoints(&pins)?)
    } else {
        None
    };
    if in_maps.is_some() {
        facts.routing = routing(&maps::routers(&pins)?, &records);
    }
    facts.pods = records
        .iter()
        .map(|record| PodFacts {
            pod: record.pod_name(),
            interface: record.host_interface.clone(),
            mtu: links.iter().find(|link| link.name == record.host_interface).map(|link| link.mtu),
            map_entry: in_maps.as_ref().map(|map| in_map(record, map)),
        })
        .collect();
    for owner in [Owner::KubeProxy, Owner::Flannel] {
        // A program that fails, such as nft, must not hide what else is wrong.
        let notes = match leftovers::find(owner, paths, &netlink).await {
            Ok(found) => {
                facts.leftovers.extend(found.leftovers.into_iter().map(|left| (owner, left)));
                found.notes
            }
            Err(error) => vec![format!("what {owner} may have left: {error:#}")],
        };
        for note in notes {
            if !facts.notes.contains(&note) {
                facts.notes.push(note);
            }
        }
    }
    Ok(facts)
}

/// The names of pods that route.
fn routing(routers: &BTreeSet<u32>, records: &[EndpointRecord]) -> Vec<String> {
    let name = |index: &u32| {
        let record = records.iter().find(|record| record.host_ifindex == *index);
        record.map_or_else(|| format!("#{index}"), EndpointRecord::pod_name)
    };
    routers.iter().map(name).collect()
}

fn datapath(
    pins: &Pins,
    records: &[EndpointRecord],
    links: &[Link],
    facts: &mut Facts,
) -> Result<()> {
    facts.programs = weir_datapath::list_pinned(pins)?;
    facts.sockets = weir_datapath::list_sockets(pins)?;
    let pinned: Pinned = facts.programs.iter().copied().collect();
    let by_name: HashMap<_, _> = links.iter().map(|link| (link.name.as_str(), link)).collect();
    for record in records {
        let Some(link) = by_name.get(record.host_interface.as_str()) else { continue };
        for hook in Hook::POD {
            facts.attachments.push(Attachment {
                device: link.name.clone(),
                pod: Some(record.pod_name()),
                program: hook.program(),
                found: programs::find(link.index, hook, &pinned)?,
            });
        }
    }
    let of_pods: HashSet<_> = records.iter().map(|record| record.host_interface.as_str()).collect();
    for link in links.iter().filter(|link| !of_pods.contains(link.name.as_str())) {
        facts.attachments.extend(of_the_node(link, &pinned)?);
    }
    if !facts.attachments.iter().any(|place| is_of_uplink(place.program)) {
        // Only the agent knows the devices of the uplink.
        let missing = |hook: Hook| Attachment {
            device: "the uplink".to_owned(),
            pod: None,
            program: hook.program(),
            found: Found::Missing,
        };
        facts.attachments.extend(Hook::UPLINK.map(missing));
    }
    let missing = weir_datapath::common::map::ALL.iter().map(|map| pins.map(*map));
    facts.foreign_maps =
        missing.into_iter().find(|path| !path.exists()).map(|path| path.display().to_string());
    if facts.foreign_maps.is_none() {
        facts.maps = maps::fill(pins)?;
    }
    Ok(())
}

/// The attachments of a device that is not of a pod. The tunnel always has a program. An uplink has both
/// of its own, and with routes instead of a tunnel that of the overlay too.
fn of_the_node(link: &Link, pinned: &Pinned) -> Result<Vec<Attachment>> {
    let mut places = Vec::new();
    for hook in Hook::NODE {
        let found = programs::find(link.index, hook, pinned)?;
        let (device, program) = (link.name.clone(), hook.program());
        places.push(Attachment { device, pod: None, program, found });
    }
    let is_uplink =
        places.iter().any(|place| is_of_uplink(place.program) && place.found != Found::Missing);
    places.retain(|place| {
        let belongs = if is_of_uplink(place.program) { is_uplink } else { is_tunnel(link) };
        belongs || place.found != Found::Missing
    });
    Ok(places)
}

fn is_of_uplink(program: &str) -> bool {
    Hook::UPLINK.iter().any(|hook| hook.program() == program)
}

fn is_tunnel(link: &Link) -> bool {
    link.kind == Some(LinkKind::Vxlan) && link.name.starts_with(TUNNEL_PREFIX)
}

fn mtu(paths: &options::NodePaths, links: &[Link]) -> MtuFacts {
    let text = fs::read_to_string(subnet_env::path(&paths.run_dir)).unwrap_or_default();
    // The plugin reports a value that is not a number.
    let wanted = subnet_env::read_mtu(&text).unwrap_or_default();
    let bridge = links.iter().find(|link| link.name == paths.bridge).map(|link| link.mtu);
    let tunnel = links
        .iter()
        .find(|link| is_tunnel(link))
        .map(|link| Tunnel { device: link.name.clone(), mtu: link.mtu });
    MtuFacts { wanted, bridge, tunnel }
}

async fn ask_agent(address: SocketAddr) -> AgentFacts {
    let mut facts = AgentFacts { address: address.to_string(), ..AgentFacts::default() };
    match agent::get(address, "/healthz").await {
        Ok(response) if !response.is_ok => facts.stuck = Some(response.body.trim().to_owned()),
        Ok(_) => {}
        Err(error) => {
            facts.silence = Some(format!("{:#}", anyhow::Error::from(error)));
            return facts;
        }
    }
    if let Ok(response) = agent::get(address, "/readyz").await {
        facts.waiting = waiting(&response.body);
    }
    if let Ok(response) = agent::get(address, "/concerns").await {
        facts.concerns = serde_json::from_str::<Vec<Concern>>(&response.body).unwrap_or_default();
    }
    if let Ok(response) = agent::get(address, "/metrics").await {
        facts.version = label(&response.body, "weir_build_info", "version");
        let number = |name: &str| value(&response.body, name);
        let peers = number("weir_peers_known").zip(number("weir_peers_programmed"));
        facts.peers = peers.map(|(known, programmed)| Peers { known, programmed });
        let refused =
            |from| number(&format!("weir_tunnel_packets_refused_total{{from=\"{from}\"}}"));
        let refused = refused("pods").zip(refused("others"));
        facts.refused = refused.map(|(from_pods, from_others)| Refused { from_pods, from_others });
    }
    facts
}

/// The lines of `/readyz` about unmet conditions.
fn waiting(body: &str) -> Vec<Waiting> {
    let unmet = |line: &str| {
        let (condition, reason) = line.strip_prefix("waiting ")?.split_once(": ")?;
        Some(Waiting { condition: condition.to_owned(), reason: reason.to_owned() })
    };
    body.lines().filter_map(unmet).collect()
}

/// The value of a metric; the name includes the labels, if there are any.
fn value(metrics: &str, name: &str) -> Option<u64> {
    let of_name = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    metrics.lines().find_map(of_name)
}

/// The value of a label of a metric.
fn label(metrics: &str, name: &str, label: &str) -> Option<String> {
    let labels = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('{'))?;
    let (_, rest) = labels.split_once(&format!("{label}=\""))?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmet_conditions_of_the_agent_are_read() {
        let body = "ok cluster-seen\nwaiting peers-programmed: 2 of 3 peers are in the kernel\n";
        let [only] = waiting(body).try_into().unwrap();
        assert_eq!(only.condition, "peers-programmed");
        assert_eq!(only.reason, "2 of 3 peers are in the kernel");
    }

    #[test]
    fn metrics_are_read_by_their_whole_name() {
        let text =
            "weir_peers_known_max 9\nweir_peers_known 3\nweir_build_info{version=\"0.1.0\"} 1\n";
        assert_eq!(value(text, "weir_peers_known"), Some(3));
        assert_eq!(label(text, "weir_build_info", "version").as_deref(), Some("0.1.0"));
        assert_eq!(value(text, "weir_peers"), None);
        let labelled = "weir_total{from=\"pods\"} 4\nweir_total{from=\"others\"} 5\n";
        assert_eq!(value(labelled, "weir_total{from=\"others\"}"), Some(5));
    }
}
