//! The eBPF data path of this node: the programs at pods' interfaces, at the overlay and at the
//! sockets of the node's own processes, and what they know of the cluster.
//!
//! [`plan`] says what should be there, [`diff`] what is to be done; both are pure. Programs and maps
//! are pinned and outlive the agent: one that starts loads its programs against the maps that are
//! there and puts them in the place of the old ones, device by device, without a packet in between.
//!
//! Pods that come and go are the plugin's: it attaches the programs and enters the pod before the
//! pod starts. What it has recorded is compared here with what is there.

mod cgroup;
pub mod diff;
mod kernel;
pub mod plan;
mod record;

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use tokio::sync::watch;
use tracing::{debug, info, warn};
use weir_datapath::{
    Capacities, Hook, Pins, Program, attach, attach_sockets, common::Settings, detach,
    detach_sockets, load, maps::SettingsMap, mount_bpffs, netns_cookie,
};
use weir_netlink::Link;

use self::{
    kernel::State,
    plan::{Desired, Surroundings},
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
    settings: Settings,
    is_wanted: bool,
    loaded: Option<State>,
    programs: HashSet<(u32, Hook)>,
    announce: watch::Sender<bool>,
}

impl Datapath {
    /// The data path that the options ask for. Touches nothing yet.
    pub fn new(options: &Options) -> Self {
        let flags = if options.fast_path { Settings::FAST_PATH } else { 0 };
        let settings = Settings {
            flags,
            masquerade_mark: options.masquerade_mark,
            reply_mark: options.reply_mark,
            reject_mark: options.reject_mark,
            udp_idle: UDP_IDLE_SECONDS,
            ..Settings::default()
        };
        Self {
            pins: Pins::new(&options.pin_dir),
            run_dir: options.run_dir.clone(),
            cgroup: options.cgroup.clone(),
            settings,
            is_wanted: options.services,
            loaded: None,
            programs: HashSet::new(),
            announce: watch::Sender::new(false),
        }
    }

    /// Becomes true when the maps are there.
    pub fn loaded(&self) -> watch::Receiver<bool> {
        self.announce.subscribe()
    }

    /// Whether programs set marks.
    pub fn is_on(&self) -> bool {
        self.loaded.is_some()
    }

    /// Makes the data path what it should be. `links` are all of the node's; with `thorough`
    /// everything is compared with the kernel, otherwise what has changed since the last time.
    ///
    /// Call it in the node's network namespace.
    pub fn ensure(
        &mut self,
        surroundings: &Surroundings<'_>,
        links: &[Link],
        thorough: bool,
    ) -> Result<Operations, Error> {
        let records = record::list(&self.run_dir)?;
        let desired = plan::plan(surroundings, &records, links);
        if !self.is_wanted {
            return self.withdraw(&desired);
        }
        let mut operations = Operations::new();
        let is_new = self.loaded.is_none();
        if is_new {
            self.load(surroundings)?;
            *operations.entry("programs_load").or_default() += 1;
        }
        let Some(state) = &mut self.loaded else { return Ok(operations) };
        state.ensure(&desired, links, thorough || is_new, &mut operations)?;
        self.attach(&desired, thorough, &mut operations)?;
        self.announce.send_if_modified(|loaded| !std::mem::replace(loaded, true));
        Ok(operations)
    }

    /// Loads the programs against the maps that are there or are made, and tells them what does not
    /// change while the agent runs.
    fn load(&mut self, surroundings: &Surroundings<'_>) -> Result<(), Error> {
        if self.pins.folder().parent() == Some(Path::new(BPF_FS)) && mount_bpffs(Path::new(BPF_FS))?
        {
            info!("mounted a BPF file system at {BPF_FS}");
        }
        let loaded = load(&self.pins, &Capacities::default())?;
        let cookie = netns_cookie()?;
        if cookie.is_none() {
            debug!("this kernel does not tell a namespace's cookie: sockets of all are translated");
        }
        self.settings.netns_cookie = weir_datapath::common::halves(cookie.unwrap_or_default());
        self.settings.tunnel_port = surroundings.tunnel_port().into();
        let mut map = SettingsMap::open(&self.pins)?;
        if map.get()? != self.settings {
            map.set(self.settings)?;
        }
        self.attach_sockets()?;
        info!(
            programs = loaded.programs.len(),
            pin_dir = %self.pins.folder().display(),
            fast_path = self.settings.has(Settings::FAST_PATH),
            "loaded the eBPF programs"
        );
        self.loaded = Some(State::open(&self.pins)?);
        Ok(())
    }

    fn attach_sockets(&self) -> Result<(), Error> {
        let folder = cgroup::root(self.cgroup.as_deref())?;
        attach_sockets(&self.pins, &folder)?;
        info!(cgroup = %folder.display(), "the node's processes reach Services by their sockets");
        Ok(())
    }

    fn attach(
        &mut self,
        desired: &Desired,
        thorough: bool,
        operations: &mut Operations,
    ) -> Result<(), Error> {
        let mut programs = BTreeMap::new();
        let mut there = HashSet::new();
        for place in &desired.places {
            let (link, hook) = *place;
            if !thorough && self.programs.contains(place) {
                there.insert(*place);
                continue;
            }
            let program = match programs.entry(hook.program()) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(Program::open(&self.pins, hook)?)
                }
            };
            match attach(link, program) {
                Ok(changed) => {
                    there.insert(*place);
                    if changed {
                        debug!(link, program = hook.program(), "attached a program");
                        *operations.entry("program_attach").or_default() += 1;
                    }
                }
                // It went since the links were listed.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        for (link, hook) in &desired.vacant {
            if thorough && detach(*link, *hook)? {
                *operations.entry("program_detach").or_default() += 1;
            }
        }
        self.programs = there;
        Ok(())
    }

    /// Takes away what an agent with other options has left.
    fn withdraw(&mut self, desired: &Desired) -> Result<Operations, Error> {
        let mut operations = Operations::new();
        if !self.pins.exist() {
            return Ok(operations);
        }
        detach_sockets(&self.pins)?;
        for (link, hook) in desired.places.iter().chain(&desired.vacant) {
            match detach(*link, *hook) {
                Ok(true) => *operations.entry("program_detach").or_default() += 1,
                Ok(false) => {}
                Err(error) => warn!(link, %error, "a program stays attached"),
            }
        }
        self.pins.remove()?;
        info!("Services are not wanted: removed the eBPF programs");
        Ok(operations)
    }
}
