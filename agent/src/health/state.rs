//! The state that the reconciler writes and the server reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use weir_cluster::Published;
use weir_datapath::{
    MapRoom,
    common::{Reason, map::Map},
};
use weir_services::status::Status;

use super::{condition::Condition, report};
use crate::{events::Concern, metrics::Metrics};

/// A pass of the reconciler that has ended.
#[derive(Debug, Clone)]
pub struct Pass {
    /// How long it took.
    pub took: Duration,
    /// The number of other nodes.
    pub peers_known: usize,
    /// How many of them are programmed in the kernel.
    pub peers_programmed: usize,
    /// How many changes of each kind were made (`route_add`, `fdb_delete`, …).
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
    hung_after: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last_beat: Instant,
    last_error: Option<String>,
    unmet: BTreeMap<Condition, String>,
    concerns: Vec<report::ConcernReport>,
}

impl Health {
    /// The health of an agent that starts now and whose source publishes on `source`. Its reconciler
    /// counts as hung when it has not made a pass for `hung_after`.
    pub fn new(source: watch::Receiver<Published>, hung_after: Duration) -> Self {
        let now = Instant::now();
        let unmet = Condition::ALL.map(|condition| (condition, "not yet".to_owned()));
        let state =
            State { last_beat: now, last_error: None, unmet: unmet.into(), concerns: Vec::new() };
        Self {
            metrics: Metrics::default(),
            source,
            started: now,
            hung_after,
            state: Mutex::new(state),
        }
    }

    /// Records that the reconciler runs, though it may have nothing to do.
    pub fn beat(&self) {
        self.state().last_beat = Instant::now();
    }

    /// Records a pass.
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

    /// Records the repair of a change by another program; `cause` is a name in the code.
    pub fn record_repair(&self, cause: &'static str) {
        self.metrics.add_repair(cause);
    }

    /// Records changes by kind.
    pub fn record_operations(&self, operations: BTreeMap<&'static str, u64>) {
        for (kind, count) in operations {
            self.metrics.add_operations(kind, count);
        }
    }

    /// Records the status of Services.
    pub fn record_services(&self, status: &Status) {
        self.metrics.services.set(status);
    }

    /// Records the capacities of the data path's maps.
    pub fn record_map_capacities(&self, rooms: &[MapRoom]) {
        self.metrics.services.set_capacities(rooms);
    }

    /// Records how many established flows a map has.
    pub fn record_flows(&self, map: Map, established: usize) {
        self.metrics.services.set_flows(map, established);
    }

    /// Records how many packets the programs have counted for each reason, since the maps exist.
    pub fn record_packets(&self, counted: &[(Reason, u64)]) {
        self.metrics.services.set_packets(counted);
    }

    /// Records that a change of Services is in the maps, and how long after it was seen.
    pub fn record_services_programmed(&self, took: Duration) {
        self.metrics.services.programmed(took);
    }

    /// Records packets to the tunnel's port that were dropped: of this node's pods, and of others.
    pub fn record_refused(&self, from_pods: u64, from_others: u64) {
        self.metrics.add_refused(from_pods, from_others);
    }

    /// Records the number of ports of the pods' bridge.
    pub fn record_bridge_ports(&self, ports: usize) {
        self.metrics.set_bridge_ports(ports);
    }

    /// Records how many entries a family's neighbour table needs room for, and its limit.
    pub fn record_neighbours(&self, ipv4: bool, needed: u32, limit: u32) {
        self.metrics.set_neighbours(if ipv4 { "ipv4" } else { "ipv6" }, needed, limit);
    }

    /// Records all current concerns.
    pub fn record_concerns(&self, concerns: &BTreeSet<Concern>) {
        self.state().concerns = report::concerns(concerns);
    }

    /// Records whether a condition is met, or why not.
    pub fn set(&self, condition: Condition, met: Result<(), String>) {
        let mut state = self.state();
        match met {
            Ok(()) => state.unmet.remove(&condition),
            Err(reason) => state.unmet.insert(condition, reason),
        };
    }

    /// Whether the reconciler runs, with the text for the probe.
    pub(super) fn liveness(&self) -> Result<String, String> {
        let state = self.state();
        let silent = state.last_beat.elapsed();
        if silent > self.hung_after {
            return Err(format!("the reconciler has not made a pass for {} s\n", silent.as_secs()));
        }
        let last = state.last_error.as_ref();
        Ok(last.map_or_else(|| "ok\n".to_owned(), |error| format!("ok; last pass: {error}\n")))
    }

    /// Whether all conditions are met, with a line for each. Concerns follow, each in a line: they make a
    /// node that works no less ready.
    pub(super) fn readiness(&self) -> Result<String, String> {
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
        let mut text = lines.concat();
        for concern in &self.state().concerns {
            text += &format!("warning {concern}\n");
        }
        if unmet.is_empty() { Ok(text) } else { Err(text) }
    }

    /// The metrics as text, after an update of those that change with time.
    pub(super) fn scrape(&self) -> Result<String, fmt::Error> {
        self.metrics.set_ready(self.readiness().is_ok());
        let (last_synced, problems) = {
            let published = self.source.borrow();
            (published.status.last_synced, published.status.problems.len())
        };
        self.metrics.set_source(last_synced.unwrap_or(self.started).elapsed(), problems);
        self.metrics.text()
    }

    /// The current concerns as JSON.
    pub(super) fn concerns(&self) -> serde_json::Result<String> {
        serde_json::to_string(&self.state().concerns)
    }

    /// The Services of the newest snapshot as JSON; `None` before the first snapshot.
    pub(super) fn services(&self) -> serde_json::Result<Option<String>> {
        let snapshot = self.source.borrow().snapshot.clone();
        snapshot.map(|snapshot| serde_json::to_string(&report::services(&snapshot))).transpose()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the state half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
