//! `weir trace`: what would become of a packet that a pod sends.
//!
//! The pod's real program is run on a packet that nobody sends (`attempt`), and what it did is put
//! into words (`explain`). What it has written into the flow table is taken out again.

mod attempt;
mod explain;
mod packet;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::Args;
use weir_datapath::Pins;
use weir_datapath::common::{V4, V6};
use weir_netlink::{Netlink, link};

use self::attempt::Attempt;
use self::explain::Surroundings;
use crate::node::maps::{self, Programmed};
use crate::node::names::Names;
use crate::node::records::{self, Record};
use crate::options::{AgentAddress, Place};
use crate::output::{Output, say, say_json};
use crate::protocol::Protocol;

/// Options of `weir trace`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Who sends: NAMESPACE/NAME of a pod of this node, its address, or how its container's ID begins
    pod: String,
    /// Where to: ADDRESS:PORT/PROTOCOL; without a protocol it is tcp
    destination: Destination,
    /// For people or for programs
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    agent: AgentAddress,
}

/// Where a packet is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Destination {
    address: IpAddr,
    port: u16,
    protocol: Protocol,
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (at, protocol) = match text.split_once('/') {
            Some((at, protocol)) => (at, protocol.parse()?),
            None => (text, Protocol::TCP),
        };
        let at: SocketAddr = at.parse().map_err(|_| {
            format!("{at:?} is no ADDRESS:PORT, such as 10.96.0.10:53 or [fd00::a]:53")
        })?;
        Ok(Self { address: at.ip(), port: at.port(), protocol })
    }
}

/// The pod that sends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sender {
    name: String,
    address: IpAddr,
    ifindex: u32,
    mac: [u8; 6],
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}

/// Tries a packet, and says what became of it.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let pins = options.place.pins();
    if !pins.exist() {
        bail!("no programs are pinned in {}: pods have none", pins.folder().display());
    }
    let local = maps::endpoints(&pins)?;
    let records = records::list(&options.place.run_dir)?;
    let destination = options.destination;
    let sender = find_sender(&options.pod, destination.address.is_ipv4(), &records, &local)?;
    let netlink = Netlink::open()?;
    let links = link::list(&netlink).await?;
    if !links.iter().any(|link| link.index == sender.ifindex) {
        bail!("the interface of {} is gone", sender.name);
    }
    let names = Names::ask(options.agent.health_address).await;
    let attempt = attempt(&pins, &sender, &destination)?;
    let surroundings = Surroundings {
        devices: links.iter().map(|link| (link.index, link.name.clone())).collect(),
        pods: pods(&records, &local),
        routes: maps::routes(&pins)?,
        programmed: Programmed::read(&pins)?,
        names,
        masquerade_mark: weir_datapath::maps::ConfigMap::open(&pins)?.get()?.masquerade_mark,
    };
    let story = explain::explain(&sender, &destination, &attempt, &surroundings);
    match options.output {
        Output::Json => say_json(&story),
        Output::Text => say(&story.text()),
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

/// The one pod that is meant.
fn find_sender(
    who: &str,
    ipv4: bool,
    records: &[Record],
    local: &HashMap<IpAddr, (u32, [u8; 6])>,
) -> Result<Sender> {
    let matching: Vec<_> = records.iter().filter(|record| record.is(who)).collect();
    let (name, address) = match matching.as_slice() {
        [record] => {
            let address = record.ips().find(|ip| ip.is_ipv4() == ipv4).with_context(|| {
                let family = if ipv4 { "IPv4" } else { "IPv6" };
                format!("pod {} has no {family} address", record.name())
            })?;
            (record.name(), address)
        }
        [] => {
            let address: IpAddr =
                who.parse().ok().with_context(|| format!("this node has no pod {who}"))?;
            (who.to_owned(), address)
        }
        several => {
            let names: Vec<_> = several.iter().map(|record| record.name()).collect();
            bail!("{who} may be any of {}", names.join(", "));
        }
    };
    let (ifindex, mac) = *local
        .get(&address)
        .with_context(|| format!("the map of this node's pods does not know {address}"))?;
    Ok(Sender { name, address, ifindex, mac })
}

/// Names of this node's pods, by address.
fn pods(
    records: &[Record],
    local: &HashMap<IpAddr, (u32, [u8; 6])>,
) -> HashMap<IpAddr, (u32, String)> {
    let name = |ip: &IpAddr| {
        let record = records.iter().find(|record| record.ips().any(|own| own == *ip));
        record.map_or_else(|| ip.to_string(), Record::name)
    };
    local.iter().map(|(ip, (ifindex, _))| (*ip, (*ifindex, name(ip)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_an_address_with_a_port_and_perhaps_a_protocol() {
        let read = |text: &str| text.parse::<Destination>();
        let dns = read("[fd96::a]:53/UDP").unwrap();
        assert_eq!((dns.port, dns.protocol), (53, Protocol::UDP));
        assert_eq!(read("10.96.0.1:443").unwrap().protocol, Protocol::TCP);
        for wrong in ["10.96.0.1", "fd96::a:53/x", "web:80", "10.96.0.1:80/icmp"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
