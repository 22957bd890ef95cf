//! `CHECK`: compares the kernel with the result of `ADD`, and reports the first difference.

use std::path::Path;

use ipnetwork::IpNetwork;
use weir_netlink::{Link, MacAddr, Netlink, Netns, address, fdb, link, route};
use weir_node::{Attachment, may_route};

use crate::{
    Error,
    add::open_inside,
    attributes::RouteAttributes,
    config::NetworkConfig,
    node::{gateways, missing_gateways},
    parameters,
    previous::{Previous, PreviousInterface},
    programs::{self, PodEndpoint},
    record::Records,
    store::Store,
};

/// Succeeds if everything is as `ADD` left it.
pub(crate) async fn check(
    config: &NetworkConfig,
    attachment: &Attachment,
    netns: &Path,
) -> Result<(), Error> {
    let previous = Previous::of(config)?;
    let (expected, mut addresses) = previous.of_container(&attachment.ifname)?;
    // The result may leave out what ADD gave to the pod, and the record does not.
    let record = Records::new(&config.run_dir).find(attachment);
    addresses.extend(record.iter().flat_map(|record| record.addresses.iter().copied()));
    let netns = Netns::open(netns).map_err(Error::Namespace)?;
    let host = Netlink::open()?;
    let inside = open_inside(&netns)?;
    check_pod(&inside, (expected, &addresses), &previous.routes).await?;
    let difference = netns.run(|| parameters::difference(&attachment.ifname));
    if let Some(difference) = difference.map_err(Error::Namespace)?? {
        let subject = format!("interface {} of the container", attachment.ifname);
        return Err(differs(&subject, difference));
    }
    check_host(&host, config, attachment, &previous).await?;
    check_reservations(config, attachment, &addresses)
}

async fn check_pod(
    inside: &Netlink,
    (expected, addresses): (&PreviousInterface, &[IpNetwork]),
    routes: &[RouteAttributes],
) -> Result<(), Error> {
    let subject = format!("interface {} of the container", expected.name);
    let interface = find(inside, &expected.name, &subject).await?;
    compare(&interface, expected, &subject)?;

    let present = address::list(inside, interface.index).await?;
    let is_present = |wanted: &IpNetwork| present.iter().any(|found| found.network == *wanted);
    if let Some(gone) = addresses.iter().find(|wanted| !is_present(wanted)) {
        return Err(differs(&subject, format!("address {gone} is gone")));
    }
    for expected in routes {
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
    let subject = format!("bridge {}", config.bridge);
    let bridge = find(host, &config.bridge, &subject).await?;
    if let Some(expected) = previous.on_host(&bridge.name) {
        // The MTU of the bridge follows the node's and may differ from that of pods.
        compare(&bridge, &expected.without_mtu(), &subject)?;
    }
    if let Some(mac) = bridge.mac
        && !fdb::find_fixed(host, bridge.index, mac).await?.is_some_and(|entry| entry.is_local)
    {
        let problem = format!("its own FDB entry for {mac} is gone or leads to a port");
        return Err(differs(&subject, problem));
    }
    let sets = config.ipam.range_sets()?;
    if let Some(gateway) = missing_gateways(host, &bridge, &gateways(&sets)).await?.first() {
        return Err(differs(&subject, format!("its address {gateway} is gone")));
    }

    let name = attachment.host_interface();
    let subject = format!("host interface {name}");
    let port = find(host, &name, &subject).await?;
    if let Some(expected) = previous.on_host(&name) {
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
    let Ok(mac) = record.mac.parse::<MacAddr>() else {
        return Err(differs(
            &subject,
            format!("its record has the invalid MAC address {:?}", record.mac),
        ));
    };
    let entry = fdb::find_fixed(host, bridge.index, mac).await?;
    if entry.is_none_or(|entry| entry.link != port.index) {
        let problem = format!("the static FDB entry for {mac} is gone or leads to another port");
        return Err(differs(&subject, problem));
    }
    let netns = port.peer_netns;
    let routes = may_route(&record.pod, &config.routing_namespaces()?);
    let ips = record.ips().collect();
    let endpoint = PodEndpoint { port: port.index, mac, netns, ips, routes };
    match programs::difference(&config.pin_dir, &endpoint)? {
        Some(difference) => Err(differs(&subject, difference)),
        None => Ok(()),
    }
}

fn check_reservations(
    config: &NetworkConfig,
    attachment: &Attachment,
    addresses: &[IpNetwork],
) -> Result<(), Error> {
    let store = Store::new(&config.ipam.data_dir, &config.name);
    for ip in addresses.iter().map(IpNetwork::ip) {
        if !store.is_owned_by(ip, attachment) {
            let subject = format!("reservation of {ip}");
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
    if let (Some(mac), Some(found)) = (expected.mac()?, link.mac)
        && mac != found
    {
        return Err(differs(subject, format!("its MAC address is {found}, not {mac}")));
    }
    Ok(())
}

fn differs(subject: &str, difference: String) -> Error {
    Error::Difference { subject: subject.to_owned(), difference }
}
