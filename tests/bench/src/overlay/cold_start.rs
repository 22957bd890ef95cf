//! The first start of an agent on a node.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use weir_tests::lab::{Cluster, until};

use super::notifications::{NetlinkMonitor, Notification};
use super::peers::{NETWORK, peer};
use crate::process;

/// Entries of a peer: a route, a neighbour entry and an FDB entry.
pub(crate) const ENTRIES: u32 = 3;

/// A node, with the manifests of many peers that do not exist.
pub(crate) struct Fixture {
    pub(crate) cluster: Cluster,
    pub(crate) count: u32,
}

/// Times in microseconds, sizes in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ColdStart {
    pub(crate) peers: u32,
    /// From the start of the process to the last entry.
    pub(crate) total: f64,
    /// From the first entry to the last.
    pub(crate) programming: f64,
    /// From the start of the process to readiness.
    pub(crate) ready: f64,
    pub(crate) memory: u64,
    pub(crate) peak_memory: u64,
}

impl Fixture {
    pub(crate) fn new(count: u32) -> Result<Self> {
        let cluster = Cluster::new(1).network(NETWORK).stopped().build()?;
        let manifests = cluster.manifests()?;
        for number in 0..count {
            manifests.put(&peer(number))?;
        }
        Ok(Self { cluster, count })
    }

    /// Starts the agent.
    pub(crate) fn start(&self) -> Result<ColdStart> {
        let node = self.cluster.node(1)?;
        let mut notifications = NetlinkMonitor::of(node)?;
        let started = Instant::now();
        node.start_agent()?;
        let wanted =
            |notification| matches!(notification, Notification::Route | Notification::Neighbour);
        let programmed = notifications.wait(self.count * ENTRIES, wanted);
        let (first, last) = programmed.with_context(|| node.log())?;
        until("the agent is ready", || node.ready())?;
        let ready = started.elapsed();
        let memory = process::memory(node.agent_pid()?)?;
        let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
        Ok(ColdStart {
            peers: self.count,
            total: microseconds(last - started),
            programming: microseconds(last - first),
            ready: microseconds(ready),
            memory: memory.now,
            peak_memory: memory.peak,
        })
    }
}

impl ColdStart {
    /// The start with the median total time.
    pub(crate) fn median_of(mut measured: Vec<Self>) -> Option<Self> {
        measured.sort_by(|a, b| a.total.total_cmp(&b.total));
        measured.get(measured.len() / 2).copied()
    }
}
