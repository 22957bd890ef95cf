//! The eBPF data path of this node: the programs at pods' interfaces, at the overlay and at the
//! sockets of the node's own processes, and the maps with pods and nodes.
//!
//! [`plan`] makes the desired state, [`diff`] computes the changes; both are pure. Programs and maps
//! are pinned and outlive the agent. An agent that starts loads its programs with the existing maps
//! and replaces the old programs device by device, without a gap for packets.
//!
//! The plugin handles the pods that are added and deleted: it attaches the programs and writes the
//! maps' entries before the pod starts. The agent compares the plugin's records with the kernel.

mod cgroup;
pub mod diff;
mod kernel;
mod operations;
mod packet_log;
pub mod plan;
mod record;

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::Entry},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::watch;
use tracing::{debug, info, warn};
use weir_datapath::{
    Hook, KeptPins, LogLevel, MapRoom, Pins, Program, Upgrade, attach, attach_sockets,
    common::{Config, map::Map, timeout},
    detach, detach_sockets, load_with_logs,
    maps::ConfigMap,
    mount_bpffs, netns_cookie,
    upgrade::Completed,
};
use weir_netlink::{
    Link,
    sysctl::{Outcome, loosen_rp_filter},
};
use weir_node::Namespace;

pub(crate) use self::kernel::OfIp;
pub use self::operations::Operations;
use self::{
    kernel::State,
    plan::{ClusterState, Inputs, PodState},
};
use crate::{map_capacity, options::Options};

/// The usual mount point of the BPF file system, which is mounted here if it is missing.
const BPF_FS: &str = "/sys/fs/bpf";

/// An idle UDP flow keeps its backend as long as the kernel's conntrack would keep its entry.
pub(crate) const UDP_IDLE_SECONDS: u32 = timeout::STREAM;

/// Why the data path could not be updated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The programs, their maps or their attachment.
    #[error("the eBPF programs cannot be used")]
    Datapath(#[from] weir_datapath::Error),
    /// The plugin's records could not be read.
    #[error("the endpoint records cannot be read")]
    Records(#[from] weir_node::endpoint::ReadError),
    /// No cgroup was found for the programs at sockets.
    #[error("find the root of the cgroups (version 2); see --cgroup")]
    Cgroup(#[from] cgroup::Error),
}

/// The data path and its state.
#[derive(Debug)]
pub struct Datapath {
    pins: Pins,
    run_dir: PathBuf,
    cgroup: Option<PathBuf>,
    settings: Config,
    log_level: LogLevel,
    capacities: Vec<(Map, u32)>,
    rooms: Vec<MapRoom>,
    /// The namespaces whose pods may send with addresses of others.
    routing: Vec<Namespace>,
    bridge: String,
    strict_check: Option<weir_netlink::Error>,
    is_wanted: bool,
    loaded: Option<State>,
    /// What is pinned since the programs are loaded.
    kept: Option<KeptPins>,
    /// Whether nothing of an earlier release is attached or pinned any more.
    is_upgraded: bool,
    /// Where the programs of the overlay and the uplinks are attached.
    programs: HashSet<(u32, Hook)>,
    /// The kernel's ids of the programs.
    program_ids: Arc<BTreeSet<u32>>,
    announce: watch::Sender<bool>,
}

impl Datapath {
    /// The data path that the options describe. Changes nothing yet.
    pub fn new(options: &Options) -> Self {
        let mut flags = 0;
        for (is_on, flag) in [
            (options.fast_path, Config::FAST_PATH),
            (options.pod_source_check, Config::SOURCE_CHECK),
        ] {
            flags |= if is_on { flag } else { 0 };
        }
        let settings = Config {
            flags,
            masquerade_mark: options.masquerade_mark,
            reply_mark: options.reply_mark,
            reject_mark: options.reject_mark,
            udp_idle: UDP_IDLE_SECONDS,
            ..Config::default()
        };
        Self {
            pins: Pins::new(&options.pin_dir),
            run_dir: options.run_dir.clone(),
            cgroup: options.cgroup.clone(),
            settings,
            log_level: options.packet_log.into(),
            capacities: map_capacity::wanted(memory(), &options.map_capacity),
            rooms: Vec::new(),
            routing: options.routing_namespaces.clone(),
            bridge: options.bridge.clone(),
            strict_check: None,
            is_wanted: options.services,
            loaded: None,
            kept: None,
            is_upgraded: false,
            programs: HashSet::new(),
            program_ids: Arc::default(),
            announce: watch::Sender::new(false),
        }
    }

    /// Becomes true when the maps exist.
    pub fn loaded(&self) -> watch::Receiver<bool> {
        self.announce.subscribe()
    }

    /// The maps and their capacities; empty before they are loaded.
    pub fn rooms(&self) -> &[MapRoom] {
        &self.rooms
    }

    /// Whether the programs are loaded. Loaded programs may set marks.
    pub fn is_on(&self) -> bool {
        self.loaded.is_some()
    }

    /// The kernel's ids of the loaded programs; empty before they are loaded.
    pub fn program_ids(&self) -> Arc<BTreeSet<u32>> {
        Arc::clone(&self.program_ids)
    }

    /// Attaches the programs that are missing at these links.
    ///
    /// Call it in the node's network namespace.
    pub fn restore(&mut self, links: &[Link]) -> Result<Operations, Error> {
        let mut operations = Operations::new();
        if !self.is_on() || links.is_empty() {
            return Ok(operations);
        }
        self.restore_pins(&mut operations)?;
        let is_included = |place: &(u32, Hook)| links.iter().any(|link| link.index == place.0);
        let mut places =
            plan::plan_pods(&record::list(&self.run_dir)?, links, &self.routing).places;
        places.extend(self.programs.iter().copied().filter(is_included));
        self.attach(&places, &mut operations)?;
        Ok(operations)
    }

    /// Updates the data path to the desired state. With `links`, which are all links of the node, it
    /// compares everything. Otherwise it updates only what depends on other nodes.
    ///
    /// Call it in the node's network namespace.
    pub fn ensure(
        &mut self,
        inputs: &Inputs<'_>,
        links: Option<&[Link]>,
    ) -> Result<Operations, Error> {
        let cluster = plan::plan_cluster(inputs);
        let mut operations = Operations::new();
        if self.loaded.is_none() {
            self.load(inputs)?;
            *operations.entry("programs_load").or_default() += 1;
            self.announce.send_replace(true);
        }
        self.restore_pins(&mut operations)?;
        let Some(state) = &mut self.loaded else { return Ok(operations) };
        let thorough = links.is_some();
        state.ensure_cluster(&cluster.destinations, thorough, &mut operations)?;
        if let Some(links) = links {
            // The entries of the maps come first: attached programs use them at once.
            let pods = plan::plan_pods(&record::list(&self.run_dir)?, links, &self.routing);
            state.ensure_pods(&pods, links, &mut operations)?;
            self.loosen_source_check(&pods, &mut operations);
            self.complete_upgrade(links, &mut operations)?;
            self.attach(&pods.places, &mut operations)?;
        }
        self.attach_overlay(&cluster, thorough, &mut operations)?;
        Ok(operations)
    }

    /// Makes pins again that another program has removed.
    fn restore_pins(&self, operations: &mut Operations) -> Result<(), Error> {
        let Some(kept) = &self.kept else { return Ok(()) };
        self.ensure_bpffs()?;
        let count = kept.restore()?;
        if count > 0 {
            warn!(
                count,
                pin_dir = %self.pins.folder().display(),
                "pinned programs and maps again: somebody has removed their pins"
            );
            *operations.entry("pin_restore").or_default() += count as u64;
        }
        Ok(())
    }

    /// Mounts the BPF file system if it is not mounted where it usually is.
    fn ensure_bpffs(&self) -> Result<(), Error> {
        if self.pins.folder().parent() == Some(Path::new(BPF_FS)) && mount_bpffs(Path::new(BPF_FS))?
        {
            info!("mounted a BPF file system at {BPF_FS}");
        }
        Ok(())
    }

    /// Lets packets of pods that route pass the node's own check of sources. A strict one on the bridge
    /// drops those whose sources are not behind the bridge.
    fn loosen_source_check(&mut self, pods: &PodState, operations: &mut Operations) {
        self.strict_check = None;
        if !pods.routers.values().any(|routes| *routes) {
            return;
        }
        match loosen_rp_filter(&self.bridge) {
            Ok(Outcome::Kept) => {}
            Ok(Outcome::Changed) => {
                info!(bridge = self.bridge, "set rp_filter to 2: pods route for others");
                *operations.entry("rp_filter_set").or_default() += 1;
            }
            Err(error) => self.strict_check = Some(error),
        }
    }

    /// Why the node's own check of sources on the bridge cannot be made loose for pods that route.
    pub fn strict_check(&self) -> Option<&weir_netlink::Error> {
        self.strict_check.as_ref()
    }

    /// Replaces the programs that an earlier release has attached, and removes its pins. `links` are
    /// all links of the node.
    fn complete_upgrade(
        &mut self,
        links: &[Link],
        operations: &mut Operations,
    ) -> Result<(), Error> {
        if self.is_upgraded {
            return Ok(());
        }
        let upgrade = Upgrade::new(&self.pins);
        if upgrade.is_pending()? {
            let Completed { programs, entries, pins } =
                upgrade.complete(links.iter().map(|link| link.index))?;
            info!(programs, entries, pins, "replaced the programs and pins of an earlier release");
            *operations.entry("program_attach").or_default() += programs as u64;
            *operations.entry("pin_remove").or_default() += pins as u64;
        }
        self.is_upgraded = true;
        Ok(())
    }

    /// Whether the options enable the data path.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Loads the programs and the maps, and writes the settings that do not change while the agent
    /// runs.
    fn load(&mut self, inputs: &Inputs<'_>) -> Result<(), Error> {
        self.ensure_bpffs()?;
        let capacities = map_capacity::capacities(&self.capacities);
        let (loaded, logs) = load_with_logs(&self.pins, &capacities, self.log_level)?;
        if let Some(logs) = logs {
            packet_log::follow(logs);
        }
        for (MapRoom { map, entries }, wanted) in map_capacity::kept(&self.capacities, &loaded.maps)
        {
            warn!(
                map = map.name,
                entries,
                wanted,
                "a pinned map keeps the room that it has: to change it, remove {} and restart the \
                 agent, which interrupts connections through Services",
                self.pins.map(map).display()
            );
        }
        self.rooms = loaded.maps;
        let cookie = netns_cookie()?;
        if cookie.is_none() {
            debug!("the kernel does not support namespace cookies: assuming the initial namespace");
        }
        self.settings.netns_cookie = weir_datapath::common::halves(cookie.unwrap_or_default());
        self.settings.tunnel_port = inputs.tunnel_port().into();
        let mut map = ConfigMap::open(&self.pins)?;
        if map.get()? != self.settings {
            map.set(self.settings)?;
        }
        self.attach_sockets()?;
        info!(
            programs = loaded.programs.len(),
            pin_dir = %self.pins.folder().display(),
            fast_path = self.settings.has(Config::FAST_PATH),
            "loaded the eBPF programs"
        );
        self.kept = Some(KeptPins::open(&self.pins)?);
        self.loaded = Some(State::open(&self.pins)?);
        self.program_ids = Arc::new(loaded.programs.iter().map(|program| program.id).collect());
        Ok(())
    }

    fn attach_sockets(&self) -> Result<(), Error> {
        let folder = cgroup::root(self.cgroup.as_deref())?;
        attach_sockets(&self.pins, &folder)?;
        info!(cgroup = %folder.display(), "attached the programs for sockets of the node's processes");
        Ok(())
    }

    fn attach_overlay(
        &mut self,
        cluster: &ClusterState,
        thorough: bool,
        operations: &mut Operations,
    ) -> Result<(), Error> {
        let known = std::mem::take(&mut self.programs);
        let (attached, unknown): (Vec<_>, Vec<_>) =
            cluster.places.iter().partition(|place| !thorough && known.contains(place));
        self.programs.extend(attached);
        let attached = self.attach(&unknown, operations)?;
        self.programs.extend(attached);
        for (link, hook) in &cluster.vacant {
            if thorough && detach(*link, *hook)? {
                *operations.entry("program_detach").or_default() += 1;
            }
        }
        Ok(())
    }

    /// Attaches the programs that are missing at these places. Returns the places that have one: a
    /// device may have been deleted. After an error, the other places are still tried.
    fn attach(
        &self,
        places: &[(u32, Hook)],
        operations: &mut Operations,
    ) -> Result<Vec<(u32, Hook)>, Error> {
        let mut programs = HashMap::new();
        let mut attached = Vec::new();
        let mut failed = None;
        for (link, hook) in places {
            let program = match programs.entry(*hook) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(Program::open(&self.pins, *hook)?),
            };
            match attach(*link, program) {
                Ok(changed) => {
                    attached.push((*link, *hook));
                    if changed {
                        debug!(link, program = hook.program(), "attached a program");
                        *operations.entry("program_attach").or_default() += 1;
                    }
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(attached),
        }
    }

    /// Removes what an agent with other options has left. `links` are all links of the node.
    pub fn withdraw(&mut self, links: &[Link]) -> Result<Operations, Error> {
        let mut operations = Operations::new();
        if !self.pins.exist_of_any_release() {
            return Ok(operations);
        }
        detach_sockets(&self.pins)?;
        for (link, hook) in links.iter().flat_map(|link| Hook::ALL.map(|hook| (link.index, hook))) {
            match detach(link, hook) {
                Ok(true) => *operations.entry("program_detach").or_default() += 1,
                Ok(false) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.pins.remove()?;
        info!("Services are disabled: removed the eBPF programs");
        Ok(operations)
    }
}

/// The machine's memory in bytes.
fn memory() -> u64 {
    let found = rustix::system::sysinfo();
    found.totalram.saturating_mul(found.mem_unit.into())
}
