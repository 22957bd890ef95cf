//! `CHECK`: compares the kernel with the result of `ADD`, and reports the first difference.

use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::Value;
use weir_netlink::{Link, MacAddr, Netlink, Netns, address, fdb, link, route};
use weir_node::Attachment;

use crate::{
    Error,
    add::open_inside,
    attributes::RouteAttributes,
    config::NetworkConfig,
    node::{gateways, missing_gateways},
    programs::{self, PodEndpoint},
    record::Records,
    store::Store,
};

/// The part of the previous result that is compared.
#[derive(Debug, Deserialize)]
struct Previous {
    #[serde(default)]
    interfaces: Vec<PreviousInterface>,
    #[serde(default)]
    ips: Vec<PreviousIp>,
    #[serde(default)]
    routes: Vec<RouteAttributes>,
}

#[derive(Debug, Clone, Deserialize)]
struct PreviousInterface {
    name: String,
    mac: Option<String>,
    mtu: Option<u32>,
    sandbox: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct PreviousIp {
    address: IpNetwork,
    interface: Option<usize>,
}

/// Succeeds if everything is as `ADD` left it.
pub(crate) async fn check(
    config: &NetworkConfig,
    attachment: &Attachment,
    netns: &Path,
) -> Result<(), Error> {
    let previous = previous(config)?;
    let netns = Netns::open(netns).map_err(Error::Namespace)?;
    let host = Netlink::open()?;
    let inside = open_inside(&netns)?;
    check_pod(&inside, attachment, &previous).await?;
    check_host(&host, config, attachment, &previous).await?;
    check_reservations(config, attachment, &previous)
}

fn previous(config: &NetworkConfig) -> Result<Previous, Error> {
    let value = config.previous.clone().filter(|value| *value != Value::Null);
    let value = value.ok_or_else(|| Error::config("prevResult", "it is missing"))?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        Error::config(format!("prevResult.{}", error.path()), error.inner().to_string())
    })
}

async fn check_pod(
    inside: &Netlink,
    attachment: &Attachment,
    previous: &Previous,
) -> Result<(), Error> {
    let ifname = &attachment.ifname;
    let subject = format!("interface {ifname} of the container");
    let index = previous
        .interfaces
        .iter()
        .position(|interface| interface.sandbox.is_some() && interface.name == *ifname);
    let expected = index.and_then(|index| previous.interfaces.get(index)).ok_or_else(|| {
        Error::config("prevResult.interfaces", format!("it has no {ifname} in a sandbox"))
    })?;
    let interface = find(inside, ifname, &subject).await?;
    compare(&interface, expected, &subject)?;

    let present = address::list(inside, interface.index).await?;
    let of_pod = previous.ips.iter().filter(|ip| ip.interface.is_none() || ip.interface == index);
    for ip in of_pod {
        if !present.iter().any(|address| address.network == ip.address) {
            return Err(differs(&subject, format!("address {} is gone", ip.address)));
        }
    }
    for expected in &previous.routes {
        let table = expected.table.unwrap_or(route::TABLE_MAIN);
        let present = route::list(inside, table).await?;
        let is_there = present.iter().any(|route| {
            route.destination == expected.dst
                && route.link == interface.index
                && expected.gw.is_none_or(|gateway| route.gateway == Some(gateway))
        });
        if !is_there {
            return Err(differs(&subject, format!("the route to {} is gone", expected.dst)));
        }
    }
    Ok(())
}

async fn check_host(
    host: &Netlink,
    config: &NetworkConfig,
    attachment: &Attachment,
    previous: &Previous,
) -> Result<(), Error> {
    let on_host = |name: &str| {
        previous.interfaces.iter().find(|interface| {
            interface.sandbox.as_ref().is_none_or(|path| path.as_os_str().is_empty())
                && interface.name == name
        })
    };
    let subject = format!("bridge {}", config.bridge);
    let bridge = find(host, &config.bridge, &subject).await?;
    if let Some(expected) = on_host(&bridge.name) {
        // The MTU of the bridge follows the node's and may differ from that of pods.
        compare(&bridge, &PreviousInterface { mtu: None, ..expected.clone() }, &subject)?;
    }
    let sets = config.ipam.range_sets()?;
    if let Some(gateway) = missing_gateways(host, &bridge, &gateways(&sets)).await?.first() {
        return Err(differs(&subject, format!("its address {gateway} is gone")));
    }

    let name = attachment.host_interface();
    let subject = format!("host interface {name}");
    let port = find(host, &name, &subject).await?;
    if let Some(expected) = on_host(&name) {
        compare(&port, expected, &subject)?;
    }
    if port.controller != Some(bridge.index) {
        return Err(differs(&subject, format!("it is not a port of {}", config.bridge)));
    }
    if port.hairpin != Some(config.hairpin) {
        return Err(differs(
            &subject,
            "its hairpin mode differs from the configuration".to_owned(),
        ));
    }
    let Some(record) = Records::new(&config.run_dir).find(attachment) else {
        return Err(differs(&subject, "its endpoint record is gone".to_owned()));
    };
    if port.mtu != record.mtu {
        return Err(differs(&subject, format!("its MTU is {}, not {}", port.mtu, record.mtu)));
    }
    let entries = fdb::list_static(host, port.index).await?;
    if !entries.iter().any(|mac| mac.to_string() == record.mac) {
        return Err(differs(&subject, format!("the static FDB entry for {} is gone", record.mac)));
    }
    let Ok(mac) = record.mac.parse::<MacAddr>() else {
        return Err(differs(
            &subject,
            format!("its record has the invalid MAC address {:?}", record.mac),
        ));
    };
    let netns = port.peer_netns;
    let endpoint = PodEndpoint { port: port.index, mac, netns, ips: record.ips().collect() };
    match programs::difference(&config.pin_dir, &endpoint)? {
        Some(difference) => Err(differs(&subject, difference)),
        None => Ok(()),
    }
}

fn check_reservations(
    config: &NetworkConfig,
    attachment: &Attachment,
    previous: &Previous,
) -> Result<(), Error> {
    let store = Store::new(&config.ipam.data_dir, &config.name);
    for ip in &previous.ips {
        if !store.is_owned_by(ip.address.ip(), attachment) {
            let subject = format!("reservation of {}", ip.address.ip());
            return Err(differs(&subject, "it does not belong to this container".to_owned()));
        }
    }
    Ok(())
}

async fn find(netlink: &Netlink, name: &str, subject: &str) -> Result<Link, Error> {
    link::find(netlink, name).await?.ok_or_else(|| differs(subject, "it is gone".to_owned()))
}

fn compare(link: &Link, expected: &PreviousInterface, subject: &str) -> Result<(), Error> {
    if !link.is_up {
        return Err(differs(subject, "it is down".to_owned()));
    }
    if let Some(mtu) = expected.mtu.filter(|mtu| *mtu != 0 && *mtu != link.mtu) {
        return Err(differs(subject, format!("its MTU is {}, not {mtu}", link.mtu)));
    }
    let mac = expected.mac.as_deref().and_then(|text| text.parse::<MacAddr>().ok());
    if let (Some(mac), Some(found)) = (mac, link.mac)
        && mac != found
    {
        return Err(differs(subject, format!("its MAC address is {found}, not {mac}")));
    }
    Ok(())
}

fn differs(subject: &str, difference: String) -> Error {
    Error::Difference { subject: subject.to_owned(), difference }
}
