//! The metrics of Services.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use weir_datapath::{
    MapRoom,
    common::{Reason as PacketReason, map::Map as DataMap},
};

use super::gauge::set_count;
use weir_model as model;
use weir_services::{allocator::Problem, status::Status};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Map {
    map: String,
}

impl Map {
    /// The label of a map: its name in lower case.
    fn named(name: &str) -> Self {
        Self { map: name.to_ascii_lowercase() }
    }
}

/// The metrics of Services.
#[derive(Debug)]
pub(crate) struct Metrics {
    services: Gauge,
    endpoints: Gauge,
    unfit: Family<Reason, Gauge>,
    programming_duration: Histogram,
    entries: Family<Map, Gauge>,
    capacity: Family<Map, Gauge>,
    flows_refused: Counter,
    packets: Family<Reason, Counter>,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        // From a change of one Service to a cold start with thousands.
        let programming_duration = Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let metrics = Self {
            services: Gauge::default(),
            endpoints: Gauge::default(),
            unfit: Family::default(),
            programming_duration,
            entries: Family::default(),
            capacity: Family::default(),
            flows_refused: Counter::default(),
            packets: Family::default(),
        };
        let help = "Services that this node serves";
        registry.register("services", help, metrics.services.clone());
        let help = "Endpoints of Services, each once for each port of its Service";
        registry.register("service_endpoints", help, metrics.endpoints.clone());
        let help = "Services that are not completely in the maps, by what there is no room for; \
                    address: an older Service has the same address and port";
        registry.register("services_unfit", help, metrics.unfit.clone());
        let help = "Time from the arrival of a change of Services until the maps have it";
        let duration = metrics.programming_duration.clone();
        registry.register_with_unit("services_programming_duration", help, Unit::Seconds, duration);
        let help = "Entries in use in the eBPF maps of Services, and of established flows in those of \
                    flows";
        registry.register("map_entries", help, metrics.entries.clone());
        let help = "Capacity of the eBPF maps, in entries";
        registry.register("map_capacity", help, metrics.capacity.clone());
        let help = "Packets dropped because a map was full of established flows";
        registry.register("flows_refused", help, metrics.flows_refused.clone());
        let help =
            "Packets that the eBPF programs have dropped, refused or handled specially, by reason";
        registry.register("packets", help, metrics.packets.clone());
        metrics
    }

    /// Sets the number of established flows of a map. A flow has two entries.
    pub(crate) fn set_flows(&self, map: DataMap, established: usize) {
        set_count(&self.entries.get_or_create(&Map::named(map.name)), established * 2);
    }

    /// Sets how many packets the programs have counted for each reason, since the maps exist.
    pub(crate) fn set_packets(&self, counted: &[(PacketReason, u64)]) {
        // Fewer than before: the maps are new.
        let set = |counter: &Counter, packets: u64| {
            counter.inc_by(packets.saturating_sub(counter.get()));
        };
        for (reason, packets) in counted {
            set(&self.packets.get_or_create(&Reason { reason: reason.name() }), *packets);
            if *reason == PacketReason::DroppedTableFull {
                set(&self.flows_refused, *packets);
            }
        }
    }

    /// Records that a change is in the maps, and how long after it was seen.
    pub(crate) fn programmed(&self, took: Duration) {
        self.programming_duration.observe(took.as_secs_f64());
    }

    /// Sets the capacities of the maps.
    pub(crate) fn set_capacities(&self, rooms: &[MapRoom]) {
        for MapRoom { map, entries } in rooms {
            self.capacity.get_or_create(&Map::named(map.name)).set((*entries).into());
        }
    }

    /// Sets the metrics from the status of Services.
    pub(crate) fn set(&self, status: &Status) {
        set_count(&self.services, status.services);
        set_count(&self.endpoints, status.endpoints);
        let mut unfit = BTreeMap::from(Problem::KINDS.map(|reason| (reason, 0)));
        for problem in status.problems.values() {
            *unfit.entry(problem.kind()).or_default() += 1;
        }
        for (reason, count) in unfit {
            set_count(&self.unfit.get_or_create(&Reason { reason }), count);
        }
        let used = |family| status.in_use.get(&family).copied().unwrap_or_default();
        let (v4, v6) = (used(model::Family::V4), used(model::Family::V6));
        let capacity = &status.capacity;
        for (map, entries, capacity) in [
            ("services_v4", v4.frontends, capacity.frontends),
            ("services_v6", v6.frontends, capacity.frontends),
            ("backends_v4", v4.backends, capacity.backends),
            ("backends_v6", v6.backends, capacity.backends),
            ("slots", status.slots as usize, capacity.slots as usize),
        ] {
            set_count(&self.entries.get_or_create(&Map::named(map)), entries);
            set_count(&self.capacity.get_or_create(&Map::named(map)), capacity);
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;
    use weir_model::ObjectName;
    use weir_services::allocator::{Capacity, Use};

    fn status() -> Status {
        let problem = Problem::Frontends { wanted: 2, used: 9, capacity: 10 };
        let taken = |service| (ObjectName::new("ns", service), problem.clone());
        Status {
            synced: true,
            problems: [taken("a"), taken("b")].into(),
            services: 7,
            endpoints: 11,
            in_use: [(model::Family::V4, Use { frontends: 9, backends: 12 })].into(),
            slots: 40,
            capacity: Capacity { frontends: 10, backends: 20, slots: 64 },
            ..Status::default()
        }
    }

    #[test]
    fn the_status_of_services_is_in_the_text() {
        let mut registry = Registry::with_prefix("weir");
        let metrics = Metrics::register(&mut registry);
        metrics.programmed(Duration::from_millis(3));
        let map = weir_datapath::common::map::FLOWS_DGRAM_V6;
        metrics.set_capacities(&[MapRoom { map, entries: 256 }]);
        metrics.set_flows(map, 100);
        metrics
            .set_packets(&[(PacketReason::DroppedTableFull, 3), (PacketReason::DroppedSource, 0)]);
        metrics
            .set_packets(&[(PacketReason::DroppedTableFull, 5), (PacketReason::DroppedSource, 8)]);
        metrics.set(&status());
        let scrape = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };
        let text = scrape();
        for line in [
            "weir_services 7",
            "weir_service_endpoints 11",
            "weir_services_unfit{reason=\"frontends\"} 2",
            "weir_services_unfit{reason=\"address\"} 0",
            "weir_services_programming_duration_seconds_count 1",
            "weir_services_programming_duration_seconds_bucket{le=\"0.004\"} 1",
            "weir_map_entries{map=\"services_v4\"} 9",
            "weir_map_entries{map=\"services_v6\"} 0",
            "weir_map_entries{map=\"backends_v4\"} 12",
            "weir_map_entries{map=\"slots\"} 40",
            "weir_map_capacity{map=\"services_v6\"} 10",
            "weir_map_capacity{map=\"slots\"} 64",
            "weir_map_capacity{map=\"flows_dgram_v6\"} 256",
            "weir_map_entries{map=\"flows_dgram_v6\"} 200",
            "weir_flows_refused_total 5",
            "weir_packets_total{reason=\"dropped_table_full\"} 5",
            "weir_packets_total{reason=\"dropped_source\"} 8",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        metrics.set(&Status { problems: BTreeMap::new(), ..status() });
        assert!(scrape().contains("weir_services_unfit{reason=\"frontends\"} 0"));
    }
}
