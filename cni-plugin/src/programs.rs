//! The eBPF programs that the agent pins. The plugin attaches them and adds the pod to their maps, so
//! that the pod reaches Services from its first packet on.
//!
//! The plugin loads no program. Without pinned programs, pods get plain bridge networking.

use std::{fs, io::ErrorKind, net::IpAddr, path::Path};

use tracing::{debug, info, warn};
use weir_datapath::{
    Hook, Pins, Program, attach_all,
    common::{Endpoint, Mac, V4, V6, map},
    list,
    maps::{Endpoints, Family, Routers},
};
use weir_netlink::{MacAddr, Netlink, link, sysctl};

use crate::Error;

/// The folders that the agent makes before it pins anything.
const FOLDERS: [&str; 3] = ["links", "maps", "programs"];

/// The pinned programs and maps that a pod needs.
#[derive(Debug)]
pub(crate) struct Programs {
    attached: [Program; 2],
    endpoints: EndpointMaps,
    routers: Routers,
}

impl Programs {
    /// Opens the pinned programs and maps; `None` if nothing is pinned.
    ///
    /// Pinned programs that cannot be used are an error: a pod without them could not reach
    /// Services.
    pub(crate) fn open(pin_dir: &Path) -> Result<Option<Self>, Error> {
        let pins = Pins::new(pin_dir);
        if !pins.exist() {
            ensure_nothing_unknown(pin_dir)?;
            debug!(pin_dir = %pin_dir.display(), "no eBPF programs are pinned: plain bridge networking");
            return Ok(None);
        }
        let open = || {
            let [from_pod, to_pod] = Hook::POD;
            Ok(Self {
                attached: [Program::open(&pins, from_pod)?, Program::open(&pins, to_pod)?],
                endpoints: EndpointMaps::open(&pins)?,
                routers: Routers::open(&pins, map::ROUTERS)?,
            })
        };
        open().map(Some).map_err(unusable(pin_dir))
    }

    /// Attaches the programs to a host interface, in the calling thread's network namespace.
    pub(crate) fn attach(&self, port: u32) -> Result<(), Error> {
        attach_all(port, &self.attached).map_err(refused("attach the eBPF programs"))?;
        Ok(())
    }

    /// Adds a pod's addresses to the maps, and whether it routes. Call it before the pod can send: an
    /// index that has belonged to another pod says nothing of this one.
    pub(crate) fn add_endpoint(&mut self, endpoint: &PodEndpoint) -> Result<(), Error> {
        let refused = refused("add the pod to the eBPF maps");
        let mut set = || {
            if endpoint.routes {
                self.routers.set(&endpoint.port, &1)?;
            } else {
                self.routers.remove(&endpoint.port)?;
            }
            self.endpoints.add(endpoint)
        };
        set().map_err(refused)
    }
}

/// A pod in the maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodEndpoint {
    /// Index of its host interface.
    pub(crate) port: u32,
    /// Its MAC address.
    pub(crate) mac: MacAddr,
    /// The ID of its network namespace on the node, if it has one.
    pub(crate) netns: Option<u32>,
    /// Its addresses.
    pub(crate) ips: Vec<IpAddr>,
    /// Whether it may send with addresses of others.
    pub(crate) routes: bool,
}

impl PodEndpoint {
    fn value(&self) -> Endpoint {
        let netns = Endpoint::netns_field(self.netns);
        Endpoint { ifindex: self.port, mac: Mac(self.mac.octets()), netns }
    }

    /// The addresses that the pod sends with: its own, and the link-local one that the kernel gives it.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ips.iter().copied().chain([Mac(self.mac.octets()).link_local().into()])
    }
}

/// The maps of this node's pods.
#[derive(Debug)]
pub(crate) struct EndpointMaps {
    v4: Endpoints<V4>,
    v6: Endpoints<V6>,
    routers: Option<Routers>,
}

impl EndpointMaps {
    /// Opens the maps to remove pods; `None` if they do not exist. Maps that cannot be used must not
    /// prevent the deletion of a pod: the agent also removes stale entries.
    pub(crate) fn find(pin_dir: &Path) -> Option<Self> {
        match Self::open(&Pins::new(pin_dir)) {
            Ok(maps) => Some(maps),
            Err(error) if error.is_not_found() => None,
            Err(error) => {
                let error = Error::from(error);
                warn!(%error, details = error.details(), "cannot use the eBPF maps; their entries stay");
                None
            }
        }
    }

    fn open(pins: &Pins) -> Result<Self, weir_datapath::Error> {
        let (v4, v6) = (map::ENDPOINTS_V4, map::ENDPOINTS_V6);
        let routers = match Routers::open(pins, map::ROUTERS) {
            Ok(routers) => Some(routers),
            // An agent of an earlier release has no such map.
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        Ok(Self { v4: Endpoints::open(pins, v4)?, v6: Endpoints::open(pins, v6)?, routers })
    }

    fn add(&mut self, endpoint: &PodEndpoint) -> Result<(), weir_datapath::Error> {
        let value = endpoint.value();
        endpoint.addresses().try_for_each(|ip| match ip {
            IpAddr::V4(ip) => self.v4.set(&ip.into(), &value),
            IpAddr::V6(ip) => self.v6.set(&ip.into(), &value),
        })
    }

    fn get(&self, ip: IpAddr) -> Result<Option<Endpoint>, weir_datapath::Error> {
        match ip {
            IpAddr::V4(ip) => self.v4.get(&ip.into()),
            IpAddr::V6(ip) => self.v6.get(&ip.into()),
        }
    }

    /// Removes the entries of these addresses that lead to `port`. Other entries belong to other pods.
    pub(crate) fn remove(&mut self, ips: &[IpAddr], port: u32) -> Result<(), Error> {
        for ip in ips {
            let Some(found) = self.get(*ip)? else { continue };
            if found.ifindex == port {
                self.remove_one(*ip)?;
                let link_local = IpAddr::from(found.mac.link_local());
                if self.get(link_local)?.is_some_and(|found| found.ifindex == port) {
                    self.remove_one(link_local)?;
                }
            }
        }
        Ok(())
    }

    /// Forgets that the pod at a port routes. Only while no other pod can have the port's index.
    pub(crate) fn remove_router(&mut self, port: u32) -> Result<(), Error> {
        if let Some(routers) = &mut self.routers {
            routers.remove(&port)?;
        }
        Ok(())
    }

    fn remove_one(&mut self, ip: IpAddr) -> Result<bool, weir_datapath::Error> {
        match ip {
            IpAddr::V4(ip) => self.v4.remove(&ip.into()),
            IpAddr::V6(ip) => self.v6.remove(&ip.into()),
        }
    }

    /// Removes the entries that lead to a link that does not exist.
    pub(crate) async fn remove_stale(&mut self, host: &Netlink) -> Result<(), Error> {
        // Read before the links: the link of an entry in this list exists before the list of links is read.
        let (v4, v6) = (self.v4.entries()?, self.v6.entries()?);
        let routers = self.routers.as_ref().map(Routers::entries).transpose()?.unwrap_or_default();
        let links = link::list(host).await?;
        let is_gone = |index: u32| links.iter().all(|link| link.index != index);
        let is_stale = |found: &Endpoint| is_gone(found.ifindex);
        remove_where(&mut self.v4, &v4, is_stale)?;
        remove_where(&mut self.v6, &v6, is_stale)?;
        for (port, _) in routers.into_iter().filter(|(port, _)| is_gone(*port)) {
            self.remove_router(port)?;
            info!(port, "removed the eBPF map entry of a deleted pod that routed");
        }
        Ok(())
    }
}

fn remove_where<A: Family>(
    map: &mut Endpoints<A>,
    entries: &[(A, Endpoint)],
    is_stale: impl Fn(&Endpoint) -> bool,
) -> Result<(), Error> {
    for (ip, _) in entries.iter().filter(|(_, found)| is_stale(found)) {
        map.remove(ip)?;
        info!(%ip, "removed the eBPF map entry of a deleted pod");
    }
    Ok(())
}

/// The first difference between the programs and maps and what `ADD` left, if any.
pub(crate) fn difference(pin_dir: &Path, endpoint: &PodEndpoint) -> Result<Option<String>, Error> {
    let Some(programs) = Programs::open(pin_dir)? else { return Ok(None) };
    for hook in Hook::POD {
        // Another ID is fine: the agent may be about to replace the program by a newer pinned one.
        if list(endpoint.port, hook)?.is_none() {
            return Ok(Some(format!("the eBPF program {} is not attached", hook.program())));
        }
    }
    for ip in endpoint.addresses() {
        if programs.endpoints.get(ip)? != Some(endpoint.value()) {
            return Ok(Some(format!(
                "the eBPF map entry for {ip} is gone or leads to another interface"
            )));
        }
    }
    let found = programs.routers.get(&endpoint.port)?.is_some();
    Ok((found != endpoint.routes).then(|| {
        let (is, is_not) = if found { ("may", "must not") } else { ("may not", "must") };
        format!("the pod {is} send with addresses of others, and by routingNamespaces it {is_not}")
    }))
}

/// Lets packets of a pod that routes pass the node's own check of sources: a strict one (`rp_filter` 1)
/// on the bridge drops those whose sources are not behind the bridge. A node without IPv4 has none.
pub(crate) fn loosen_source_check(bridge: &str) -> Result<(), Error> {
    if sysctl::loosen_rp_filter(bridge)? == sysctl::Outcome::Changed {
        info!(bridge, "set rp_filter to 2: a pod sends with addresses of others");
    }
    Ok(())
}

/// Whether the pin directory has only the folders of an agent that is about to load its programs for
/// the first time. Other content is unknown to this version.
fn ensure_nothing_unknown(pin_dir: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(pin_dir) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(());
        }
        Err(error) => return Err(Error::file("read", pin_dir)(error)),
    };
    for entry in entries {
        let name = entry.map_err(Error::file("read", pin_dir))?.file_name();
        if !FOLDERS.iter().any(|known| name == *known) {
            return Err(Error::Programs { path: pin_dir.to_owned(), source: None });
        }
    }
    Ok(())
}

fn unusable(pin_dir: &Path) -> impl FnOnce(weir_datapath::Error) -> Error {
    move |source| Error::Programs { path: pin_dir.to_owned(), source: Some(source) }
}

fn refused(action: &'static str) -> impl FnOnce(weir_datapath::Error) -> Error {
    move |source| Error::Datapath { action, source }
}
