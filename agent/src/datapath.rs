//! The eBPF data path of this node: the programs at pods' interfaces, at the overlay and at the
//! sockets of the node's own processes, and what they know of the cluster.
//!
//! [`plan`] says what should be there, [`diff`] what is to be done; both are pure. Programs and maps
//! are pinned and outlive the agent: one that starts loads its programs against the maps that are
//! there and puts them in the place of the old ones, device by device, without a packet in between.
//!
//! Pods that come and go are the plugin's: it attaches the programs and enters the pod before the
//! pod starts. What it has recorded is compared here with what is there.

pub mod capacity;
mod cgroup;
pub mod diff;
mod kernel;
mod packet_log;
pub mod plan;
mod record;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map::Entry},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::watch;
use tracing::{debug, info, warn};
use weir_datapath::{
    Hook, LogLevel, MapRoom, Pins, Program, Upgrade, attach, attach_sockets,
    common::{Config, map::Map},
    detach, detach_sockets, load_with_logs,
    maps::ConfigMap,
    mount_bpffs, netns_cookie,
    upgrade::Completed,
};
use weir_netlink::Link;

pub(crate) use self::kernel::OfIp;
use self::{
    kernel::State,
    plan::{OfCluster, Surroundings},
};
use crate::options::Options;

/// Where systems have their BPF file system: made if it is missing.
const BPF_FS: &str = "/sys/fs/bpf";

/// An idle UDP flow keeps its backend for as long as the kernel's connection tracking would.
const UDP_IDLE_SECONDS: u32 = 120;

/// Why the data path is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The programs, their maps or their places.
    #[error("the eBPF programs cannot be used")]
    Datapath(#[from] weir_datapath::Error),
    /// The plugin's records.
    #[error("read the endpoint records in {}", path.display())]
    Records {
        /// Their directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no place for the programs at sockets.
    #[error("find the root of the cgroups (version 2); see --cgroup")]
    Cgroup(#[from] cgroup::Error),
}

/// What was done, by kind, for metrics and the log.
pub type Operations = BTreeMap<&'static str, u64>;

/// The data path, as the agent keeps it.
#[derive(Debug)]
pub struct Datapath {
    pins: Pins,
    run_dir: PathBuf,
    cgroup: Option<PathBuf>,
    settings: Config,
    log_level: LogLevel,
    capacities: Vec<(Map, u32)>,
    rooms: Vec<MapRoom>,
    is_wanted: bool,
    loaded: Option<State>,
    /// Nothing of an earlier release is attached or pinned.
    is_upgraded: bool,
    /// Where programs for the cluster are.
    programs: HashSet<(u32, Hook)>,
    /// The kernel's numbers of the programs.
    numbers: Arc<BTreeSet<u32>>,
    announce: watch::Sender<bool>,
}

impl Datapath {
    /// The data path that the options ask for. Touches nothing yet.
    pub fn new(options: &Options) -> Self {
        let flags = if options.fast_path { Config::FAST_PATH } else { 0 };
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
            capacities: capacity::wanted(memory(), &options.map_capacity),
            rooms: Vec::new(),
            is_wanted: options.services,
            loaded: None,
            is_upgraded: false,
            programs: HashSet::new(),
            numbers: Arc::default(),
            announce: watch::Sender::new(false),
        }
    }

    /// Becomes true when the maps are there.
    pub fn loaded(&self) -> watch::Receiver<bool> {
        self.announce.subscribe()
    }

    /// The maps and the room that they have; none before they are loaded.
    pub fn rooms(&self) -> &[MapRoom] {
        &self.rooms
    }

    /// Whether programs set marks.
    pub fn is_on(&self) -> bool {
        self.loaded.is_some()
    }

    /// The kernel's numbers of the programs that are attached; none before they are loaded.
    pub fn numbers(&self) -> Arc<BTreeSet<u32>> {
        Arc::clone(&self.numbers)
    }

    /// Attaches what is missing at these links.
    ///
    /// Call it in the node's network namespace.
    pub fn restore(&mut self, links: &[Link]) -> Result<Operations, Error> {
        let mut operations = Operations::new();
        if !self.is_on() || links.is_empty() {
            return Ok(operations);
        }
        let is_there = |place: &(u32, Hook)| links.iter().any(|link| link.index == place.0);
        let mut places = plan::of_pods(&record::list(&self.run_dir)?, links).places;
        places.extend(self.programs.iter().copied().filter(is_there));
        self.attach(&places, &mut operations)?;
        Ok(operations)
    }

    /// Makes the data path what it should be: for the cluster always, and with `links`, all of the
    /// node's, everything.
    ///
    /// Call it in the node's network namespace.
    pub fn ensure(
        &mut self,
        surroundings: &Surroundings<'_>,
        links: Option<&[Link]>,
    ) -> Result<Operations, Error> {
        let cluster = plan::of_cluster(surroundings);
        let mut operations = Operations::new();
        if self.loaded.is_none() {
            self.load(surroundings)?;
            *operations.entry("programs_load").or_default() += 1;
            self.announce.send_replace(true);
        }
        let Some(state) = &mut self.loaded else { return Ok(operations) };
        let thorough = links.is_some();
        state.ensure_cluster(&cluster.destinations, thorough, &mut operations)?;
        if let Some(links) = links {
            // Entries of maps before programs: these use them at once.
            let pods = plan::of_pods(&record::list(&self.run_dir)?, links);
            state.ensure_pods(&pods, links, &mut operations)?;
            self.complete_upgrade(links, &mut operations)?;
            self.attach(&pods.places, &mut operations)?;
        }
        self.attach_overlay(&cluster, thorough, &mut operations)?;
        Ok(operations)
    }

    /// Replaces the programs that an earlier release has attached, and removes its pins. `links` are
    /// all of the node's.
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
            info!(programs, entries, pins, "took over from an earlier release");
            *operations.entry("program_attach").or_default() += programs as u64;
            *operations.entry("pin_remove").or_default() += pins as u64;
        }
        self.is_upgraded = true;
        Ok(())
    }

    /// Whether it is to be there.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Loads the programs against the maps that are there or are made, and tells them what does not
    /// change while the agent runs.
    fn load(&mut self, surroundings: &Surroundings<'_>) -> Result<(), Error> {
        if self.pins.folder().parent() == Some(Path::new(BPF_FS)) && mount_bpffs(Path::new(BPF_FS))?
        {
            info!("mounted a BPF file system at {BPF_FS}");
        }
        let capacities = capacity::capacities(&self.capacities);
        let (loaded, logs) = load_with_logs(&self.pins, &capacities, self.log_level)?;
        if let Some(logs) = logs {
            packet_log::follow(logs);
        }
        for (MapRoom { map, entries }, wanted) in capacity::kept(&self.capacities, &loaded.maps) {
            warn!(
                map = map.name,
                entries,
                wanted,
                "a map that is pinned keeps the room that it has: to give it other room, remove {} \
                 and start the agent again, which interrupts what goes through Services",
                self.pins.map(map).display()
            );
        }
        self.rooms = loaded.maps;
        let cookie = netns_cookie()?;
        if cookie.is_none() {
            debug!("this kernel does not tell a namespace's cookie: the machine's first is taken");
        }
        self.settings.netns_cookie = weir_datapath::common::halves(cookie.unwrap_or_default());
        self.settings.tunnel_port = surroundings.tunnel_port().into();
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
        self.loaded = Some(State::open(&self.pins)?);
        self.numbers = Arc::new(loaded.programs.iter().map(|program| program.id).collect());
        Ok(())
    }

    fn attach_sockets(&self) -> Result<(), Error> {
        let folder = cgroup::root(self.cgroup.as_deref())?;
        attach_sockets(&self.pins, &folder)?;
        info!(cgroup = %folder.display(), "the node's processes reach Services by their sockets");
        Ok(())
    }

    fn attach_overlay(
        &mut self,
        cluster: &OfCluster,
        thorough: bool,
        operations: &mut Operations,
    ) -> Result<(), Error> {
        let known = std::mem::take(&mut self.programs);
        let (there, doubtful): (Vec<_>, Vec<_>) =
            cluster.places.iter().partition(|place| !thorough && known.contains(place));
        self.programs.extend(there);
        let attached = self.attach(&doubtful, operations)?;
        self.programs.extend(attached);
        for (link, hook) in &cluster.vacant {
            if thorough && detach(*link, *hook)? {
                *operations.entry("program_detach").or_default() += 1;
            }
        }
        Ok(())
    }

    /// Attaches programs wherever they are not. Tells where they are: a device may have gone. One
    /// that cannot have them keeps no other from being tried.
    fn attach(
        &self,
        places: &[(u32, Hook)],
        operations: &mut Operations,
    ) -> Result<Vec<(u32, Hook)>, Error> {
        let mut programs = HashMap::new();
        let mut there = Vec::new();
        let mut failed = None;
        for (link, hook) in places {
            let program = match programs.entry(*hook) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(Program::open(&self.pins, *hook)?),
            };
            match attach(*link, program) {
                Ok(changed) => {
                    there.push((*link, *hook));
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
            None => Ok(there),
        }
    }

    /// Takes away what an agent with other options has left. `links` are all of the node's.
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
        info!("Services are not wanted: removed the eBPF programs");
        Ok(operations)
    }
}

/// The machine's memory in bytes.
fn memory() -> u64 {
    let found = rustix::system::sysinfo();
    found.totalram.saturating_mul(found.mem_unit.into())
}
