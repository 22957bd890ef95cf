//! Removes flows whose time is over, and tells when the table of flows is filling up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tracing::{debug, warn};
use weir_datapath::Pins;
use weir_datapath::common::{Reason, V4, V6};
use weir_datapath::maps::Counters;
use weir_datapath::sweep::{Swept, sweep};

use super::flow_tables::{FlowTables, TABLES};
use crate::causes::causes;
use crate::events::Concern;
use crate::health::{Condition, Health};

/// A connection that both sides have closed leaves the table after this time and its own timeout.
const PERIOD: Duration = Duration::from_secs(5);

/// Removes flows, and reports what it finds.
#[derive(Debug)]
pub(super) struct Sweeper {
    /// Where the maps are pinned.
    pub(super) pins: Pins,
    /// For how many seconds a silent stream of datagrams is kept.
    pub(super) stream: u32,
    /// The agent's health.
    pub(super) health: Arc<Health>,
    /// Gets the concerns of each sweep.
    pub(super) concerns: watch::Sender<BTreeSet<Concern>>,
}

/// What a sweep has found.
struct Found {
    /// In each of [`TABLES`].
    swept: [Swept; TABLES.len()],
    /// The programs' counters of packets.
    counted: Vec<(Reason, u64)>,
}

impl Sweeper {
    /// Starts a thread that sweeps until the process ends.
    pub(super) fn start(self) -> Result<(), std::io::Error> {
        thread::Builder::new().name("flows".to_owned()).spawn(move || self.run()).map(drop)
    }

    fn run(self) {
        let mut tables = FlowTables::default();
        let mut last_failure = None;
        loop {
            let failure = match self.sweep() {
                Ok(found) => {
                    self.report(&mut tables, &found);
                    None
                }
                Err(error) => {
                    Some(format!("cannot remove flows that are over: {}", causes(&error)))
                }
            };
            if let Some(failure) = &failure
                && last_failure.as_ref() != Some(failure)
            {
                warn!("{failure}");
            }
            self.health.set(Condition::FlowsSwept, failure.clone().map_or(Ok(()), Err));
            last_failure = failure;
            thread::sleep(PERIOD);
        }
    }

    /// Sweeps all tables.
    fn sweep(&self) -> Result<Found, weir_datapath::Error> {
        let Self { pins, stream, .. } = self;
        // The clock of the programs; it counts from the machine's start, and wraps as theirs does.
        let now = u32::try_from(clock_gettime(ClockId::Monotonic).tv_sec & 0xffff_ffff);
        let now = now.unwrap_or_default();
        let [tcp_v4, datagrams_v4] = sweep::<V4>(pins, now, *stream)?;
        let [tcp_v6, datagrams_v6] = sweep::<V6>(pins, now, *stream)?;
        let counters = Counters::open(pins)?;
        let counted = Reason::ALL.iter().map(|reason| Ok((*reason, counters.get(*reason)?)));
        let counted = counted.collect::<Result<_, weir_datapath::Error>>()?;
        Ok(Found { swept: [tcp_v4, datagrams_v4, tcp_v6, datagrams_v6], counted })
    }

    fn report(&self, tables: &mut FlowTables, Found { swept, counted }: &Found) {
        for (Swept { lasting, removed, room }, table) in swept.iter().zip(TABLES) {
            if *removed > 0 {
                debug!(%table, removed, lasting, room, "removed flows that are over");
            }
            self.health.record_flows(table.map(), *lasting);
        }
        self.health.record_packets(counted);
        let is_full = |(reason, _): &&(Reason, u64)| *reason == Reason::DroppedTableFull;
        let dropped = counted.iter().find(is_full).map_or(0, |(_, packets)| *packets);
        let found = tables.observe(swept, dropped);
        self.concerns.send_if_modified(|known| {
            let changed = *known != found;
            *known = found;
            changed
        });
    }
}
