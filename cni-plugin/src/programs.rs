//! The eBPF programs that the agent pins: the plugin attaches them, so that a pod has its Services
//! from its first packet on, and tells them where the pod is.
//!
//! Nothing is loaded here. Without pinned programs pods get plain bridge networking.

use std::{fs, io::ErrorKind, net::IpAddr, path::Path};

use tracing::{debug, info, warn};
use weir_datapath::{
    Hook, Pins, Program, attach_all,
    common::{Endpoint, Mac, V4, V6, map},
    list,
    maps::{Endpoints, Family},
};
use weir_netlink::{MacAddr, Netlink, link};

use crate::Error;

/// The folders that the agent makes before it pins anything.
const FOLDERS: [&str; 3] = ["links", "maps", "programs"];

/// What the agent has pinned, as far as a pod needs it.
#[derive(Debug)]
pub(crate) struct Programs {
    attached: [Program; 2],
    endpoints: EndpointMaps,
}

impl Programs {
    /// Opens what is pinned; nothing, if nothing is.
    ///
    /// What is there and cannot be used is an error: a pod without the programs would have no
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
            })
        };
        open().map(Some).map_err(unusable(pin_dir))
    }

    /// Attaches the programs to the host's end of a pod's veth, in the calling thread's network
    /// namespace.
    pub(crate) fn attach(&self, port: u32) -> Result<(), Error> {
        attach_all(port, &self.attached).map_err(refused("attach the eBPF programs"))?;
        Ok(())
    }

    /// Tells the programs where a pod's addresses lead.
    pub(crate) fn add_endpoint(&mut self, endpoint: &PodEndpoint) -> Result<(), Error> {
        self.endpoints.add(endpoint).map_err(refused("add the pod to the eBPF maps"))
    }
}

/// Where a pod's addresses lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodEndpoint {
    /// Index of the host's end of its veth.
    pub(crate) port: u32,
    /// Its hardware address.
    pub(crate) mac: MacAddr,
    /// The node's number of its network namespace, if it has one.
    pub(crate) netns: Option<u32>,
    /// Its addresses.
    pub(crate) ips: Vec<IpAddr>,
}

impl PodEndpoint {
    fn value(&self) -> Endpoint {
        let netns = Endpoint::netns_field(self.netns);
        Endpoint { ifindex: self.port, mac: Mac(self.mac.octets()), netns }
    }
}

/// The maps that say where pods are.
#[derive(Debug)]
pub(crate) struct EndpointMaps {
    v4: Endpoints<V4>,
    v6: Endpoints<V6>,
}

impl EndpointMaps {
    /// Opens the maps to take pods away; nothing, if they are not there. What cannot be used must
    /// not keep a pod from being deleted: the agent removes what is stale, too.
    pub(crate) fn find(pin_dir: &Path) -> Option<Self> {
        match Self::open(&Pins::new(pin_dir)) {
            Ok(maps) => Some(maps),
            Err(error) if error.is_not_found() => None,
            Err(error) => {
                let error = Error::from(error);
                warn!(%error, details = error.details(), "left the eBPF maps as they are");
                None
            }
        }
    }

    fn open(pins: &Pins) -> Result<Self, weir_datapath::Error> {
        let (v4, v6) = (map::ENDPOINTS_V4, map::ENDPOINTS_V6);
        Ok(Self { v4: Endpoints::open(pins, v4)?, v6: Endpoints::open(pins, v6)? })
    }

    fn add(&mut self, endpoint: &PodEndpoint) -> Result<(), weir_datapath::Error> {
        let value = endpoint.value();
        endpoint.ips.iter().try_for_each(|ip| match *ip {
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

    /// Removes the entries of these addresses that lead to `port`. One that leads elsewhere belongs
    /// to another pod.
    pub(crate) fn remove(&mut self, ips: &[IpAddr], port: u32) -> Result<(), Error> {
        for ip in ips {
            let found = self.get(*ip)?;
            if found.is_some_and(|found| found.ifindex == port) {
                match *ip {
                    IpAddr::V4(ip) => self.v4.remove(&ip.into())?,
                    IpAddr::V6(ip) => self.v6.remove(&ip.into())?,
                };
            }
        }
        Ok(())
    }

    /// Removes the entries that lead to a link that is not there any more.
    pub(crate) async fn remove_stale(&mut self, host: &Netlink) -> Result<(), Error> {
        // Before the links: an entry that comes later has a link that comes later.
        let (v4, v6) = (self.v4.entries()?, self.v6.entries()?);
        let links = link::list(host).await?;
        let is_stale = |found: &Endpoint| links.iter().all(|link| link.index != found.ifindex);
        remove_where(&mut self.v4, &v4, is_stale)?;
        remove_where(&mut self.v6, &v6, is_stale)
    }
}

fn remove_where<A: Family>(
    map: &mut Endpoints<A>,
    entries: &[(A, Endpoint)],
    is_stale: impl Fn(&Endpoint) -> bool,
) -> Result<(), Error> {
    for (ip, _) in entries.iter().filter(|(_, found)| is_stale(found)) {
        map.remove(ip)?;
        info!(%ip, "removed the eBPF entry of a pod that is gone");
    }
    Ok(())
}

/// What of the programs is not as `ADD` left it, if anything.
pub(crate) fn difference(pin_dir: &Path, endpoint: &PodEndpoint) -> Result<Option<String>, Error> {
    let Some(programs) = Programs::open(pin_dir)? else { return Ok(None) };
    for hook in Hook::POD {
        // A newer one may be pinned that the agent is about to put in its place.
        if list(endpoint.port, hook)?.is_none() {
            return Ok(Some(format!("the eBPF program {} is not attached", hook.program())));
        }
    }
    for ip in &endpoint.ips {
        if programs.endpoints.get(*ip)? != Some(endpoint.value()) {
            return Ok(Some(format!("the eBPF entry for {ip} is gone or another's")));
        }
    }
    Ok(None)
}

/// An agent that is about to load its programs for the first time has made its folders. Anything
/// else is not what this version knows.
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
