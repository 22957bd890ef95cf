//! How the agent is doing: what its reconciler tells, and what probes and scrapers are answered.
//!
//! - `/healthz`: 200 while the reconciler goes on making passes, whatever they find. A pass that
//!   fails is no reason to start the agent again; one that never ends is.
//! - `/readyz`: 200 once every [`Condition`] is met. The body has a line for each, and says of those
//!   that are not met what they wait for.
//! - `/metrics`: see [`crate::metrics`].
//! - `/services`, `/concerns`: names of Services and standing concerns, as JSON for `weir`.

mod report;
mod server;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use weir_datapath::MapRoom;

pub use self::server::serve;
use weir_cluster::Published;
use weir_services::status::Status;

use crate::{events::Concern, metrics::Metrics};

/// What has to be so before the node can serve pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The source has published a complete snapshot. Known from its channel.
    ClusterSeen,
    /// This node has subnets for its pods.
    SubnetsAssigned,
    /// Every known peer is in the kernel. Known from the passes.
    PeersProgrammed,
    /// The eBPF programs are loaded and attached, if they are wanted.
    ProgramsAttached,
    /// What is known of Services is in the maps, if they are wanted.
    ServicesProgrammed,
    /// The CNI configuration is written.
    ConfigurationWritten,
}

impl Condition {
    const ALL: [Self; 6] = [
        Self::ClusterSeen,
        Self::SubnetsAssigned,
        Self::PeersProgrammed,
        Self::ProgramsAttached,
        Self::ServicesProgrammed,
        Self::ConfigurationWritten,
    ];
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClusterSeen => "cluster-seen",
            Self::SubnetsAssigned => "subnets-assigned",
            Self::PeersProgrammed => "peers-programmed",
            Self::ProgramsAttached => "programs-attached",
            Self::ServicesProgrammed => "services-programmed",
            Self::ConfigurationWritten => "configuration-written",
        })
    }
}

/// A pass of the reconciler that has ended.
#[derive(Debug, Clone)]
pub struct Pass {
    /// How long it took.
    pub took: Duration,
    /// Other nodes that are known.
    pub peers_known: usize,
    /// Those of them that are in the kernel.
    pub peers_programmed: usize,
    /// How many changes of which kind it made (`route_add`, `fdb_delete`, …).
    pub operations: BTreeMap<&'static str, u64>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// The state that the reconciler writes and the server reads.
#[derive(Debug)]
pub struct Health {
    metrics: Metrics,
    source: watch::Receiver<Published>,
    started: Instant,
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last_beat: Instant,
    last_error: Option<String>,
    unmet: BTreeMap<Condition, String>,
    worries: Vec<report::Worry>,
}

impl Health {
    /// Health of an agent that starts now, whose source publishes on `source`, and whose reconciler
    /// is taken for dead when it gives no sign of life for as long as `patience`.
    pub fn new(source: watch::Receiver<Published>, patience: Duration) -> Self {
        let now = Instant::now();
        let unmet = Condition::ALL.map(|condition| (condition, "not yet".to_owned()));
        let state =
            State { last_beat: now, last_error: None, unmet: unmet.into(), worries: Vec::new() };
        Self {
            metrics: Metrics::default(),
            source,
            started: now,
            patience,
            state: Mutex::new(state),
        }
    }

    /// The reconciler lives, though it may have nothing to do.
    pub fn beat(&self) {
        self.state().last_beat = Instant::now();
    }

    /// The reconciler ended a pass.
    pub fn record(&self, pass: Pass) {
        let Pass { took, peers_known, peers_programmed, operations, error } = pass;
        self.metrics.pass(took, error.is_none());
        self.metrics.set_peers(peers_known, peers_programmed);
        self.record_operations(operations);
        let missing = format!("{peers_programmed} of {peers_known} peers are in the kernel");
        let programmed = if peers_programmed < peers_known { Err(missing) } else { Ok(()) };
        self.set(Condition::PeersProgrammed, programmed);
        let mut state = self.state();
        state.last_beat = Instant::now();
        state.last_error = error;
    }

    /// Something was put right that somebody else had changed; `cause` is a name in the code.
    pub fn record_repair(&self, cause: &'static str) {
        self.metrics.add_repair(cause);
    }

    /// Changes were made, by kind.
    pub fn record_operations(&self, operations: BTreeMap<&'static str, u64>) {
        for (kind, count) in operations {
            self.metrics.add_operations(kind, count);
        }
    }

    /// This is how Services are doing.
    pub fn record_services(&self, status: &Status) {
        self.metrics.services.set(status);
    }

    /// The maps of the data path have so much room.
    pub fn record_map_capacities(&self, rooms: &[MapRoom]) {
        self.metrics.services.set_capacities(rooms);
    }

    /// A change of Services is in the maps, so long after it was seen.
    pub fn record_services_programmed(&self, took: Duration) {
        self.metrics.services.programmed(took);
    }

    /// The pods' bridge has so many ports.
    pub fn record_bridge_ports(&self, ports: usize) {
        self.metrics.set_bridge_ports(ports);
    }

    /// A family's neighbour table needs room for so many entries, and has room for so many.
    pub fn record_neighbours(&self, ipv4: bool, needed: u32, limit: u32) {
        self.metrics.set_neighbours(if ipv4 { "ipv4" } else { "ipv6" }, needed, limit);
    }

    /// This is all that concerns the agent now.
    pub fn record_concerns(&self, concerns: &BTreeSet<Concern>) {
        self.state().worries = report::worries(concerns);
    }

    /// Whether a condition is met, or why not.
    pub fn set(&self, condition: Condition, met: Result<(), String>) {
        let mut state = self.state();
        match met {
            Ok(()) => state.unmet.remove(&condition),
            Err(reason) => state.unmet.insert(condition, reason),
        };
    }

    /// Whether the reconciler lives; the text says how it knows.
    fn liveness(&self) -> Result<String, String> {
        let state = self.state();
        let silent = state.last_beat.elapsed();
        if silent > self.patience {
            return Err(format!(
                "the reconciler has given no sign of life for {} s\n",
                silent.as_secs()
            ));
        }
        let last = state.last_error.as_ref();
        Ok(last.map_or_else(|| "ok\n".to_owned(), |error| format!("ok; last pass: {error}\n")))
    }

    /// Whether all conditions are met; a line for each.
    fn readiness(&self) -> Result<String, String> {
        let mut unmet = self.state().unmet.clone();
        {
            let published = self.source.borrow();
            match (&published.snapshot, published.status.problems.first()) {
                (Some(_), _) => unmet.remove(&Condition::ClusterSeen),
                (None, Some(problem)) => unmet.insert(Condition::ClusterSeen, problem.clone()),
                (None, None) => None,
            };
        }
        let lines = Condition::ALL.map(|condition| match unmet.get(&condition) {
            None => format!("ok {condition}\n"),
            Some(reason) => format!("waiting {condition}: {reason}\n"),
        });
        let text = lines.concat();
        if unmet.is_empty() { Ok(text) } else { Err(text) }
    }

    /// The metrics, those that change with time brought up to date.
    fn scrape(&self) -> Result<String, fmt::Error> {
        self.metrics.set_ready(self.readiness().is_ok());
        let (last_synced, problems) = {
            let published = self.source.borrow();
            (published.status.last_synced, published.status.problems.len())
        };
        self.metrics.set_source(last_synced.unwrap_or(self.started).elapsed(), problems);
        self.metrics.text()
    }

    /// What concerns the agent, as JSON.
    fn concerns(&self) -> serde_json::Result<String> {
        serde_json::to_string(&self.state().worries)
    }

    /// The Services that the source knows, as JSON; nothing while it knows of no cluster.
    fn services(&self) -> serde_json::Result<Option<String>> {
        let snapshot = self.source.borrow().snapshot.clone();
        snapshot.map(|snapshot| serde_json::to_string(&report::services(&snapshot))).transpose()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half written by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
