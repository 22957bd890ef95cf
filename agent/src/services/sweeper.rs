//! Removes flows whose time is over, and tells when the table of flows is filling up.

use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tracing::{debug, info, warn};
use weir_datapath::Pins;
use weir_datapath::common::{V4, V6};
use weir_datapath::sweep::{Swept, sweep};

use crate::causes::causes;

/// A connection that both sides have closed leaves the table after this time and its own timeout.
const PERIOD: Duration = Duration::from_secs(5);

/// From this percentage of established flows on, the table is said to be filling up.
const FILLING: usize = 90;

/// The maps of flows, in the order of the results of a sweep.
const MAPS: [&str; 4] = ["flows_tcp_v4", "flows_dgram_v4", "flows_tcp_v6", "flows_dgram_v6"];

/// Removes flows on a thread of its own until the process ends. `stream` is for how many seconds a
/// silent stream of datagrams is kept.
pub(super) fn start(pins: Pins, stream: u32) -> Result<(), std::io::Error> {
    let run = move || {
        let mut is_filling = [false; MAPS.len()];
        loop {
            match sweep_all(&pins, stream) {
                Ok(swept) => report(&swept, &mut is_filling),
                Err(error) => warn!("cannot remove flows that are over: {}", causes(&error)),
            }
            thread::sleep(PERIOD);
        }
    };
    thread::Builder::new().name("flows".to_owned()).spawn(run).map(drop)
}

fn sweep_all(pins: &Pins, stream: u32) -> Result<[Swept; 4], weir_datapath::Error> {
    // The clock of the programs; it counts from the machine's start, and wraps as theirs does.
    let now = u32::try_from(clock_gettime(ClockId::Monotonic).tv_sec & 0xffff_ffff);
    let now = now.unwrap_or_default();
    let [tcp_v4, datagrams_v4] = sweep::<V4>(pins, now, stream)?;
    let [tcp_v6, datagrams_v6] = sweep::<V6>(pins, now, stream)?;
    Ok([tcp_v4, datagrams_v4, tcp_v6, datagrams_v6])
}

/// Says once when a map begins and ends to be nearly full of established flows.
fn report(swept: &[Swept; 4], is_filling: &mut [bool; 4]) {
    for ((swept, map), was_filling) in swept.iter().zip(MAPS).zip(is_filling) {
        let Swept { lasting, removed, room } = *swept;
        if removed > 0 {
            debug!(map, removed, lasting, "removed flows that are over");
        }
        let is_filling = is_filling_up(*swept);
        if is_filling && !*was_filling {
            warn!(
                map,
                lasting,
                room,
                "the map of flows is nearly full of established flows: when it is full, new flows \
                 are dropped; raise --map-capacity, and look who holds them with `weir flows`"
            );
        } else if !is_filling && *was_filling {
            info!(map, lasting, room, "the map of flows has room again");
        }
        *was_filling = is_filling;
    }
}

const fn is_filling_up(swept: Swept) -> bool {
    swept.lasting * 100 >= swept.room * FILLING && swept.room > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_filling_up_by_its_established_flows_alone() {
        let swept = |lasting| Swept { lasting, removed: 7, room: 100 };
        assert!(is_filling_up(swept(90)));
        assert!(!is_filling_up(swept(89)));
        assert!(!is_filling_up(Swept::default()));
    }
}
