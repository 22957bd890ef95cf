//! What the sweeps of the flow tables mean for the operator. Pure.
//!
//! A table that is full of established flows forgets none of them: it refuses new ones. That it fills
//! up is said before, and that it is full once packets were dropped.

use std::collections::BTreeSet;

use weir_datapath::sweep::Swept;

use crate::events::{Concern, FlowTable};

/// From this percentage of established flows on, a table is filling up.
const FILLING: usize = 90;

/// Below this percentage, it has room again. The distance keeps a table at the limit from being
/// reported again and again.
const ROOM_AGAIN: usize = 80;

/// So many sweeps without a dropped packet end the report of dropped packets: a minute.
const QUIET_SWEEPS: u32 = 12;

/// The tables, in the order of [`FlowTables::observe`].
pub(super) const TABLES: [FlowTable; 4] = [
    FlowTable { is_tcp: true, is_ipv4: true },
    FlowTable { is_tcp: false, is_ipv4: true },
    FlowTable { is_tcp: true, is_ipv4: false },
    FlowTable { is_tcp: false, is_ipv4: false },
];

/// The state of all tables.
#[derive(Debug, Default)]
pub(super) struct FlowTables {
    is_filling: [bool; TABLES.len()],
    /// The counter of packets that were dropped for want of room, when it was last read.
    dropped: Option<u64>,
    /// Sweeps since the counter last rose; `None` if it has not risen for long.
    since_drop: Option<u32>,
}

impl FlowTables {
    /// The concerns after a sweep. `dropped` is how many packets have been dropped for want of room,
    /// ever. What was dropped before the first sweep is not this agent's concern.
    pub(super) fn observe(
        &mut self,
        swept: &[Swept; TABLES.len()],
        dropped: u64,
    ) -> BTreeSet<Concern> {
        let mut concerns = BTreeSet::new();
        for ((swept, table), is_filling) in swept.iter().zip(TABLES).zip(&mut self.is_filling) {
            let limit = if *is_filling { ROOM_AGAIN } else { FILLING };
            *is_filling = is_at(*swept, limit);
            if *is_filling {
                let flows = swept.room;
                concerns.insert(Concern::FlowTableFilling { table, flows });
            }
        }
        let has_risen = self.dropped.is_some_and(|before| dropped > before);
        self.dropped = Some(dropped);
        self.since_drop = if has_risen {
            Some(0)
        } else {
            self.since_drop.map(|sweeps| sweeps + 1).filter(|sweeps| *sweeps < QUIET_SWEEPS)
        };
        if self.since_drop.is_some() {
            concerns.insert(Concern::FlowTableFull);
        }
        concerns
    }
}

/// Whether so many percent of a table are established flows.
const fn is_at(swept: Swept, percent: usize) -> bool {
    swept.room > 0 && swept.lasting * 100 >= swept.room * percent
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sweep that found so many established flows of TCP over IPv4, of 100.
    fn swept(lasting: usize) -> [Swept; 4] {
        let empty = Swept { lasting: 0, removed: 7, room: 100 };
        [Swept { lasting, ..empty }, empty, empty, Swept::default()]
    }

    fn filling() -> BTreeSet<Concern> {
        [Concern::FlowTableFilling { table: TABLES[0], flows: 100 }].into()
    }

    #[test]
    fn a_table_is_filling_up_by_its_established_flows_alone() {
        let mut tables = FlowTables::default();
        assert_eq!(tables.observe(&swept(89), 0), [].into());
        assert_eq!(tables.observe(&swept(90), 0), filling());
    }

    #[test]
    fn a_table_near_the_limit_is_reported_once() {
        let mut tables = FlowTables::default();
        let lasting = [90, 89, 91, 80, 100];
        assert!(lasting.iter().all(|lasting| tables.observe(&swept(*lasting), 0) == filling()));
        assert_eq!(tables.observe(&swept(79), 0), [].into());
        assert_eq!(tables.observe(&swept(89), 0), [].into(), "it has room again");
    }

    #[test]
    fn each_table_is_reported_by_itself() {
        let full = [Swept { lasting: 50, removed: 0, room: 50 }; 4];
        let concerns = FlowTables::default().observe(&full, 0);
        assert_eq!(concerns.len(), TABLES.len(), "{concerns:?}");
    }

    #[test]
    fn dropped_packets_are_a_concern_until_none_was_dropped_for_a_minute() {
        let full: BTreeSet<_> = [Concern::FlowTableFull].into();
        let mut tables = FlowTables::default();
        assert_eq!(tables.observe(&swept(0), 5), [].into(), "an earlier agent's");
        assert_eq!(tables.observe(&swept(0), 6), full);
        assert_eq!(tables.observe(&swept(0), 8), full);
        for _ in 1..QUIET_SWEEPS {
            assert_eq!(tables.observe(&swept(0), 8), full);
        }
        assert_eq!(tables.observe(&swept(0), 8), [].into());
        // Somebody has removed the maps.
        assert_eq!(tables.observe(&swept(0), 0), [].into());
        assert_eq!(tables.observe(&swept(0), 1), full);
    }
}
