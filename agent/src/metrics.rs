//! The agent's metrics, in OpenMetrics format.
//!
//! Labels have few values: kinds and causes are names in the code, never names of nodes.

mod gauge;
mod services;

use std::{
    fmt,
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};

use self::gauge::set_count;
use crate::headroom::BRIDGE_PORTS;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Seconds = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassResult {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AddressFamily {
    family: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sender {
    from: &'static str,
}

/// All metrics of the agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    peers_known: Gauge,
    peers_programmed: Gauge,
    ready: Gauge,
    reconcile_duration: Histogram,
    reconciles: Family<PassResult, Counter>,
    operations: Family<Kind, Counter>,
    repairs: Family<Cause, Counter>,
    refused: Family<Sender, Counter>,
    last_error: Seconds,
    source_lag: Seconds,
    source_problems: Gauge,
    bridge_ports: Gauge,
    neighbours_needed: Family<AddressFamily, Gauge>,
    neighbours_limit: Family<AddressFamily, Gauge>,
    pub(crate) services: services::Metrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("weir");
        let peers_known = Gauge::default();
        let peers_programmed = Gauge::default();
        let ready = Gauge::default();
        // From a pass without changes to a cold start with thousands of peers.
        let reconcile_duration = Histogram::new(exponential_buckets(0.000_5, 2.0, 16));
        let reconciles = Family::default();
        let operations = Family::default();
        let repairs = Family::default();
        let refused = Family::default();
        let last_error = Seconds::default();
        let source_lag = Seconds::default();
        let source_problems = Gauge::default();
        let bridge_ports = Gauge::default();
        let bridge_ports_limit = Gauge::default();
        set_count(&bridge_ports_limit, BRIDGE_PORTS);
        let neighbours_needed = Family::default();
        let neighbours_limit = Family::default();

        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of this agent", build);
        registry.register("peers_known", "Other nodes in the cluster", peers_known.clone());
        let help = "Other nodes whose routes and neighbours are programmed in the kernel";
        registry.register("peers_programmed", help, peers_programmed.clone());
        registry.register("ready", "1 if /readyz reports that the node is ready", ready.clone());
        let help = "Duration of a pass";
        let duration = reconcile_duration.clone();
        registry.register_with_unit("reconcile_duration", help, Unit::Seconds, duration);
        registry.register("reconciles", "Passes, by result", reconciles.clone());
        let help = "Changes made to the kernel's configuration, by kind";
        registry.register("operations", help, operations.clone());
        let help = "Repairs of changes that another program had made, by cause";
        registry.register("repairs", help, repairs.clone());
        let help = "Packets to the tunnel's port that were dropped because no peer has sent them";
        registry.register("tunnel_packets_refused", help, refused.clone());
        let help = "Time of the last failed pass, in seconds since 1970; 0 if no pass failed";
        registry.register("last_error_timestamp", help, last_error.clone());
        let help = "Time since the snapshot of the cluster was last known to be current";
        registry.register_with_unit("source_lag", help, Unit::Seconds, source_lag.clone());
        let help = "Problems that the source of the cluster's state reports";
        registry.register("source_problems", help, source_problems.clone());
        let help = "Ports of the pods' bridge: one for each pod";
        registry.register("bridge_ports", help, bridge_ports.clone());
        let help = "The kernel's limit for the ports of a bridge";
        registry.register("bridge_ports_limit", help, bridge_ports_limit);
        let help = "Neighbour entries that this node's pods and peers may need";
        registry.register("neighbours_needed", help, neighbours_needed.clone());
        let help = "The kernel's limit of neighbour entries (gc_thresh3), if it can be read";
        registry.register("neighbours_limit", help, neighbours_limit.clone());
        let services = services::Metrics::register(&mut registry);
        Self {
            registry,
            peers_known,
            peers_programmed,
            ready,
            reconcile_duration,
            reconciles,
            operations,
            repairs,
            refused,
            last_error,
            source_lag,
            source_problems,
            bridge_ports,
            neighbours_needed,
            neighbours_limit,
            services,
        }
    }
}

impl Metrics {
    /// Records a pass.
    pub(crate) fn pass(&self, took: Duration, succeeded: bool) {
        self.reconcile_duration.observe(took.as_secs_f64());
        let result = if succeeded { "success" } else { "error" };
        self.reconciles.get_or_create(&PassResult { result }).inc();
        if !succeeded {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            self.last_error.set(now.unwrap_or_default().as_secs_f64());
        }
    }

    pub(crate) fn set_peers(&self, known: usize, programmed: usize) {
        set_count(&self.peers_known, known);
        set_count(&self.peers_programmed, programmed);
    }

    pub(crate) fn add_operations(&self, kind: &'static str, count: u64) {
        self.operations.get_or_create(&Kind { kind }).inc_by(count);
    }

    pub(crate) fn add_repair(&self, cause: &'static str) {
        self.repairs.get_or_create(&Cause { cause }).inc();
    }

    pub(crate) fn add_refused(&self, from_pods: u64, from_others: u64) {
        self.refused.get_or_create(&Sender { from: "pods" }).inc_by(from_pods);
        self.refused.get_or_create(&Sender { from: "others" }).inc_by(from_others);
    }

    pub(crate) fn set_ready(&self, is_ready: bool) {
        self.ready.set(is_ready.into());
    }

    pub(crate) fn set_source(&self, lag: Duration, problems: usize) {
        self.source_lag.set(lag.as_secs_f64());
        set_count(&self.source_problems, problems);
    }

    pub(crate) fn set_bridge_ports(&self, ports: usize) {
        set_count(&self.bridge_ports, ports);
    }

    pub(crate) fn set_neighbours(&self, family: &'static str, needed: u32, limit: u32) {
        let family = AddressFamily { family };
        self.neighbours_needed.get_or_create(&family).set(needed.into());
        self.neighbours_limit.get_or_create(&family).set(limit.into());
    }

    /// All metrics as text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_values_are_in_the_text() {
        let metrics = Metrics::default();
        metrics.pass(Duration::from_millis(3), true);
        metrics.pass(Duration::from_millis(700), false);
        metrics.set_peers(5, 4);
        metrics.add_operations("route_add", 4);
        metrics.add_operations("route_add", 1);
        metrics.add_repair("route_deleted");
        metrics.add_refused(2, 9);
        metrics.set_source(Duration::from_millis(1500), 2);
        metrics.set_bridge_ports(7);
        metrics.set_neighbours("ipv4", 300, 1024);
        let text = metrics.text().unwrap();
        for line in [
            "weir_build_info{version=\"0.1.0\"} 1",
            "weir_peers_known 5",
            "weir_peers_programmed 4",
            "weir_ready 0",
            "weir_reconcile_duration_seconds_count 2",
            "weir_reconcile_duration_seconds_bucket{le=\"0.004\"} 1",
            "weir_reconciles_total{result=\"error\"} 1",
            "weir_operations_total{kind=\"route_add\"} 5",
            "weir_repairs_total{cause=\"route_deleted\"} 1",
            "weir_tunnel_packets_refused_total{from=\"pods\"} 2",
            "weir_tunnel_packets_refused_total{from=\"others\"} 9",
            "weir_source_lag_seconds 1.5",
            "weir_source_problems 2",
            "weir_bridge_ports 7",
            "weir_bridge_ports_limit 1023",
            "weir_neighbours_needed{family=\"ipv4\"} 300",
            "weir_neighbours_limit{family=\"ipv4\"} 1024",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
