//! `ADD`: gives a container its interface.
//!
//! [`Made`] records each change; on an error, the changes are undone in reverse order.

use std::{net::IpAddr, path::Path};

use tracing::{debug, info, warn};
use weir_netlink::{
    Link, MacAddr, Netlink, Netns,
    link::{self, LinkChange},
    veth::{self, VethSpec},
};
use weir_node::{Attachment, EndpointRecord, PodIdentity, endpoint::LAYOUT, may_route};

use crate::{
    Error,
    addresses::{AddressChoice, Requests},
    attributes::RouteAttributes,
    config::{NetworkConfig, PodConfig},
    forwarding,
    invocation::Arguments,
    mac::ChosenMac,
    mtu, node,
    output::{AddResult, Interface},
    parameters,
    pod::{self, Assignment},
    programs::{EndpointMaps, PodEndpoint, Programs, loosen_source_check},
    range::RangeSet,
    record::{Claim, Records},
    store::Store,
};

/// Longest alias of a link in bytes: `IFALIASZ` is 256, and the kernel counts the attribute's terminating zero
/// and its own.
const ALIAS_MAX: usize = 254;

/// A validated `ADD`.
pub(crate) struct Add<'a> {
    pub(crate) config: &'a NetworkConfig,
    pub(crate) pod: &'a PodConfig,
    pub(crate) attachment: &'a Attachment,
    pub(crate) netns_path: &'a Path,
    pub(crate) arguments: &'a Arguments,
}

/// The changes made so far.
#[derive(Debug, Default)]
struct Made {
    ips: Vec<IpAddr>,
    has_veth: bool,
    /// Index of the host interface, once map entries may refer to it.
    endpoint: Option<u32>,
}

impl Add<'_> {
    /// Adds the attachment, or undoes its changes on an error.
    pub(crate) async fn run(&self) -> Result<AddResult, Error> {
        let config = self.config;
        let sets = config.ipam.range_sets()?;
        let choice = AddressChoice::new(config, self.attachment, &sets, &self.requests())?;
        let programs = Programs::open(&config.pin_dir)?;
        let netns = Netns::open(self.netns_path).map_err(Error::Namespace)?;
        let host = Netlink::open()?;
        let inside = open_inside(&netns)?;
        let mtu = mtu::resolve(&host, config, &sets).await?;
        choice.check(&host).await?;

        let claim = Records::new(&config.run_dir).claim(self.attachment)?;
        let mut made = Made::default();
        let parts = Parts { add: self, sets: &sets, choice: &choice, netns: &netns, mtu };
        match parts.make(&host, &inside, programs, &claim, &mut made).await {
            Ok(result) => Ok(result),
            Err(cause) => {
                self.undo(&host, &claim, made).await;
                Err(cause)
            }
        }
    }

    /// The requests of `CNI_ARGS` and of the configuration. For the MAC address, the latter takes
    /// precedence.
    fn requests(&self) -> Requests {
        let (arguments, runtime) = (self.arguments, &self.pod.runtime);
        Requests {
            ips: arguments.ips.iter().chain(&runtime.ips).copied().collect(),
            mac: runtime.mac.or(arguments.mac),
        }
    }

    async fn undo(&self, host: &Netlink, claim: &Claim, made: Made) {
        let Made { ips, has_veth, endpoint } = made;
        if let Some(port) = endpoint
            && let Some(mut maps) = EndpointMaps::find(&self.config.pin_dir)
        {
            report(maps.remove(&ips, port));
            // Before the port is deleted, and another link can get its index.
            report(maps.remove_router(port));
        }
        if has_veth {
            let name = self.attachment.host_interface();
            report(link::delete(host, &name).await.map(|_| ()).map_err(Error::from));
        }
        if !ips.is_empty() {
            let store = Store::new(&self.config.ipam.data_dir, &self.config.name);
            report(store.lock().and_then(|store| {
                ips.iter().try_for_each(|ip| store.release(*ip, self.attachment).map(|_| ()))
            }));
        }
        report(claim.withdraw());
    }
}

/// An error while undoing must not hide the cause, so it is only logged.
fn report(outcome: Result<(), Error>) {
    if let Err(error) = outcome {
        warn!(%error, details = error.details(), "could not undo all changes of a failed ADD; DEL will");
    }
}

/// An `ADD` with everything that was read before the first change.
struct Parts<'a> {
    add: &'a Add<'a>,
    sets: &'a [RangeSet],
    choice: &'a AddressChoice<'a>,
    netns: &'a Netns,
    mtu: u32,
}

impl Parts<'_> {
    async fn make(
        &self,
        host: &Netlink,
        inside: &Netlink,
        programs: Option<Programs>,
        claim: &Claim,
        made: &mut Made,
    ) -> Result<AddResult, Error> {
        let Add { config, attachment, arguments, .. } = self.add;
        let bridge = node::ensure_bridge(host, config, self.sets, self.mtu).await?;
        let (assigned, chosen) = self.choice.assign(host, &bridge, &mut made.ips).await?;
        let routes = pod::routes(&self.add.pod.routes, config.default_gateway, &assigned);
        let mac = chosen.address;

        self.netns.run(parameters::ensure_defaults).map_err(Error::Namespace)??;
        self.create_veth(host, inside, &bridge, mac).await?;
        made.has_veth = true;
        let port = self.find_port(host).await?;
        if let Some(mut programs) = programs {
            let routes = may_route(&arguments.pod, &self.add.pod.routing_namespaces);
            if routes {
                loosen_source_check(&bridge.name)?;
            }
            // While both ends are down: the pod's first packet reaches Services, and the kernel need not
            // stop a device to attach filters.
            programs.attach(port.index)?;
            made.endpoint = Some(port.index);
            let ips = assigned.iter().map(|assignment| assignment.network.ip()).collect();
            let (port, netns) = (port.index, port.peer_netns);
            programs.add_endpoint(&PodEndpoint { port, mac, netns, ips, routes })?;
        }
        self.start_port(host, &bridge, &port, &chosen).await?;
        let interface = (attachment.ifname.as_str(), port.peer.ok_or_else(|| gone(attachment))?);
        pod::configure(self.netns, inside, interface, &assigned, &routes).await?;
        // Both ends' carriers have taken effect: the pod's first packet is not lost.
        link::wait_until_running(host, &port.name).await?;
        link::wait_until_running(inside, &attachment.ifname).await?;

        let record = self.record(&bridge, &port, mac, &assigned);
        claim.complete(&record)?;
        self.log_port_mappings();
        info!(
            pod = alias(&arguments.pod, attachment),
            addresses = ?record.ips().collect::<Vec<_>>(),
            port = port.name,
            "added"
        );
        Ok(self.result(&bridge, &port, mac, &assigned, routes))
    }

    async fn create_veth(
        &self,
        host: &Netlink,
        inside: &Netlink,
        bridge: &Link,
        mac: MacAddr,
    ) -> Result<(), Error> {
        let attachment = self.add.attachment;
        let name = attachment.host_interface();
        let spec = VethSpec {
            name: &name,
            controller: bridge.index,
            mtu: self.mtu,
            peer_name: &attachment.ifname,
            peer_mac: mac,
            peer_netns: self.netns,
        };
        match veth::create(host, &spec).await {
            Err(error) if error.is_already_there() => {
                // One of the two names is taken: find out which one.
                if link::find(inside, &attachment.ifname).await?.is_some() {
                    return Err(Error::InterfaceTaken { ifname: attachment.ifname.clone() });
                }
                let Attachment { container_id, ifname } = attachment.clone();
                Err(Error::AlreadyAdded { container_id, ifname })
            }
            Err(error) if error.is_bridge_full() => {
                Err(Error::BridgeFull { bridge: bridge.name.clone() })
            }
            outcome => Ok(outcome?),
        }
    }

    /// The host interface as the kernel created it.
    async fn find_port(&self, host: &Netlink) -> Result<Link, Error> {
        let name = self.add.attachment.host_interface();
        link::find(host, &name).await?.ok_or_else(|| Error::Difference {
            subject: format!("host interface {name}"),
            difference: "it was deleted during ADD".to_owned(),
        })
    }

    /// Brings the host interface up, with the pod's name as its alias. It has no carrier yet.
    async fn start_port(
        &self,
        host: &Netlink,
        bridge: &Link,
        port: &Link,
        mac: &ChosenMac,
    ) -> Result<(), Error> {
        let Add { config, attachment, arguments, .. } = self.add;
        let change = LinkChange {
            up: Some(true),
            alias: Some(alias(&arguments.pod, attachment)),
            hairpin: Some(config.hairpin),
            // The pod's entry is static. Others, however many a pod sends from, would fill the kernel's
            // memory.
            learning: Some(false),
            link_local: Some(false),
            ..LinkChange::default()
        };
        link::change(host, port.index, &change).await?;
        forwarding::take(host, &Records::new(&config.run_dir), bridge, port.index, mac).await
    }

    fn record(
        &self,
        bridge: &Link,
        port: &Link,
        mac: MacAddr,
        assigned: &[Assignment],
    ) -> EndpointRecord {
        let Add { config, attachment, arguments, netns_path, pod } = self.add;
        EndpointRecord {
            version: LAYOUT,
            network: config.name.clone(),
            attachment: (*attachment).clone(),
            netns: netns_path.to_path_buf(),
            host_interface: port.name.clone(),
            host_ifindex: port.index,
            bridge: bridge.name.clone(),
            mac: mac.to_string(),
            addresses: assigned.iter().map(|assignment| assignment.network).collect(),
            mtu: self.mtu,
            pod: arguments.pod.clone(),
            port_mappings: pod.runtime.port_mappings.clone(),
        }
    }

    fn log_port_mappings(&self) {
        for mapping in &self.add.pod.runtime.port_mappings {
            warn!(
                host_port = mapping.host_port,
                protocol = ?mapping.protocol,
                "hostPort is recorded but not implemented yet: the node's port does not lead to the pod"
            );
        }
    }

    fn result(
        &self,
        bridge: &Link,
        port: &Link,
        mac: MacAddr,
        assigned: &[Assignment],
        routes: Vec<RouteAttributes>,
    ) -> AddResult {
        let Add { pod, attachment, netns_path, .. } = self.add;
        debug!(?routes, "routes of the pod");
        let interface = |link: &Link| Interface {
            name: link.name.clone(),
            mac: link.mac,
            mtu: link.mtu,
            sandbox: None,
        };
        let of_pod = Interface {
            name: attachment.ifname.clone(),
            mac: Some(mac),
            mtu: self.mtu,
            sandbox: Some(netns_path.to_path_buf()),
        };
        AddResult {
            interfaces: [interface(bridge), interface(port), of_pod],
            ips: assigned.to_vec(),
            routes,
            dns: pod.dns.clone(),
        }
    }
}

fn gone(attachment: &Attachment) -> Error {
    Error::Difference {
        subject: format!("interface {} of the container", attachment.ifname),
        difference: "it is gone".to_owned(),
    }
}

/// Opens a socket in the container's namespace, which must not be the host's.
pub(crate) fn open_inside(netns: &Netns) -> Result<Netlink, Error> {
    let own = Netns::current().map_err(Error::Namespace)?;
    if own.is_same_as(netns).map_err(Error::Namespace)? {
        return Err(Error::HostNamespace);
    }
    Netlink::open_in(netns).map_err(Error::Namespace)
}

/// The alias of the host interface: the pod, or the container if the runtime named no pod.
fn alias(pod: &PodIdentity, attachment: &Attachment) -> String {
    let mut alias = match (&pod.namespace, &pod.name) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (None, Some(name)) => name.clone(),
        _ => attachment.container_id.clone(),
    };
    alias.truncate(alias.floor_char_boundary(ALIAS_MAX));
    alias
}
