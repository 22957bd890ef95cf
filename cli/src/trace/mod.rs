//! `weir trace`: what would happen to a packet from a pod.
//!
//! `attempt` runs the pod's program on a packet that is not sent, and removes what the program has written
//! to the maps. `explain` describes the outcome.

mod attempt;
mod explain;
mod packet;
mod request;

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use clap::Args;
use weir_datapath::Pins;
use weir_datapath::common::{V4, V6};
use weir_netlink::{Netlink, link};
use weir_node::EndpointRecord;

use self::attempt::Attempt;
use self::explain::Node;
use self::request::{Destination, Sender};
use crate::node::maps::{self, Programmed};
use crate::node::names::Names;
use crate::node::records;
use crate::options::{AgentAddress, NodePaths};
use crate::output::{Output, print_json, print_text};

/// Options of `weir trace`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The sending pod of this node: NAMESPACE/NAME, its address, or the beginning of its container's ID
    pod: String,
    /// The destination: ADDRESS:PORT/PROTOCOL; the default protocol is tcp
    destination: Destination,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    paths: NodePaths,
    #[command(flatten)]
    agent: AgentAddress,
}

/// Traces a packet, and prints the outcome.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let pins = options.paths.pins();
    if !pins.exist() {
        bail!("no programs are pinned in {}: pods have no programs", pins.folder().display());
    }
    let local = maps::endpoints(&pins)?;
    let records = records::list(&options.paths.run_dir)?;
    let destination = options.destination;
    let sender = find_sender(&options.pod, destination.address.is_ipv4(), &records, &local)?;
    let netlink = Netlink::open()?;
    let links = link::list(&netlink).await?;
    if !links.iter().any(|link| link.index == sender.ifindex) {
        bail!("the interface of {} is gone", sender.name);
    }
    let names = Names::fetch(options.agent.health_address).await;
    let attempt = attempt(&pins, &sender, &destination)?;
    let node = Node {
        devices: links.iter().map(|link| (link.index, link.name.clone())).collect(),
        pods: pods(&records, &local),
        routes: maps::routes(&pins)?,
        programmed: Programmed::read(&pins)?,
        names,
        masquerade_mark: weir_datapath::maps::ConfigMap::open(&pins)?.get()?.masquerade_mark,
    };
    let trace = explain::explain(&sender, &destination, &attempt, &node);
    match options.output {
        Output::Json => print_json(&trace),
        Output::Text => print_text(&trace.text()),
    }
}

fn attempt(pins: &Pins, sender: &Sender, destination: &Destination) -> Result<Attempt> {
    match (sender.address, destination.address) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            attempt::run(pins, sender, (V4::from(from), V4::from(to)), destination)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            attempt::run(pins, sender, (V6::from(from), V6::from(to)), destination)
        }
        _ => bail!("{} has no address of the family of {}", sender.name, destination.address),
    }
}

/// Finds the pod.
fn find_sender(
    who: &str,
    ipv4: bool,
    records: &[EndpointRecord],
    local: &HashMap<IpAddr, (u32, [u8; 6])>,
) -> Result<Sender> {
    let matching: Vec<_> = records.iter().filter(|record| records::is_named(record, who)).collect();
    let (name, address) = match matching.as_slice() {
        [record] => {
            let address = record.ips().find(|ip| ip.is_ipv4() == ipv4).with_context(|| {
                let family = if ipv4 { "IPv4" } else { "IPv6" };
                format!("pod {} has no {family} address", record.pod_name())
            })?;
            (record.pod_name(), address)
        }
        [] => {
            let address: IpAddr =
                who.parse().ok().with_context(|| format!("pod {who} is not on this node"))?;
            (who.to_owned(), address)
        }
        several => {
            let names: Vec<_> = several.iter().map(|record| record.pod_name()).collect();
            bail!("{who} is ambiguous: {}", names.join(", "));
        }
    };
    let (ifindex, mac) = *local
        .get(&address)
        .with_context(|| format!("{address} is not in the map of this node's pods"))?;
    Ok(Sender { name, address, ifindex, mac })
}

/// Names of this node's pods, by address.
fn pods(
    records: &[EndpointRecord],
    local: &HashMap<IpAddr, (u32, [u8; 6])>,
) -> HashMap<IpAddr, (u32, String)> {
    let name = |ip: &IpAddr| {
        let record = records.iter().find(|record| record.ips().any(|own| own == *ip));
        record.map_or_else(|| ip.to_string(), EndpointRecord::pod_name)
    };
    local.iter().map(|(ip, (ifindex, _))| (*ip, (*ifindex, name(ip)))).collect()
}
