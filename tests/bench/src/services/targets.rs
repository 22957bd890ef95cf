//! What is good enough.

use super::exchange::Kind;
use super::lane::Contender;
use super::programming::Programming;
use super::programs::Costs;
use super::rounds::Row;
use crate::output::{mebibytes, of_interest};

/// Of the fast path's rate of connections and requests, with one Service.
const TO_IPTABLES: f64 = 1.25;
const TO_BARE: f64 = 1.0;
/// Of the slow path's.
const SLOW_TO_IPTABLES: f64 = 1.0;
/// How far the rate with many Services may be from that with one.
const FLAT: f64 = 0.03;
/// Of an established flow, in nanoseconds.
const PROGRAMS: f64 = 500.0;
/// For 10,000 Services of 10 endpoints, in microseconds.
const LOAD: f64 = 1e6;
/// In microseconds.
const CHANGE_P99: f64 = 1e4;
/// In bytes, for so many Services.
const MEMORY: [(u32, u64); 2] = [(1000, 40 << 20), (10_000, 250 << 20)];

pub(super) fn to_bare(row: &Row) -> String {
    let has_target = row.kind != Kind::Stream
        && matches!(row.contender, Contender::Direct | Contender::Fast)
        && row.is_with_fewest;
    at_least(has_target, row.to_bare, TO_BARE)
}

pub(super) fn to_iptables(row: &Row) -> String {
    let target = match row.contender {
        Contender::Fast => TO_IPTABLES,
        Contender::Slow => SLOW_TO_IPTABLES,
        Contender::Bare | Contender::Direct | Contender::Iptables | Contender::Nftables => {
            return String::new();
        }
    };
    at_least(row.kind != Kind::Stream && row.is_with_fewest, row.to_iptables, target)
}

pub(super) fn to_fewest(row: &Row) -> String {
    let is_weir = matches!(row.contender, Contender::Slow | Contender::Fast);
    let has_target = is_weir && row.kind != Kind::Stream && !row.is_with_fewest;
    let (Some(ratio), true) = (row.to_fewest, has_target) else { return String::new() };
    of_interest(true, &format!("1.00 ± {FLAT:.2}"), (hundredths(ratio) - 1.0).abs() <= FLAT + 1e-9)
}

/// The time of both programs of a pod's device together.
pub(super) fn programs(costs: &Costs) -> String {
    let of_a_pod = ["from_pod", "to_pod"];
    let costs_of_a_pod =
        costs.costs.iter().filter(|cost| of_a_pod.contains(&cost.program.as_str()));
    let sum: f64 = costs_of_a_pod.map(|cost| cost.time).sum();
    let limit = format!("{sum:.0} ns, ≤ {PROGRAMS:.0}");
    let is_fast = matches!(costs.contender, Contender::Fast | Contender::Direct);
    if is_fast { of_interest(true, &limit, sum <= PROGRAMS) } else { format!("{sum:.0} ns") }
}

pub(super) fn load(one: &Programming) -> String {
    let limit = format!("≤ {:.0}", LOAD / 1e3);
    of_interest(one.size.services == 10_000 && one.size.endpoints == 10, &limit, one.load <= LOAD)
}

pub(super) fn change(one: &Programming) -> String {
    of_interest(true, &format!("≤ {:.0}", CHANGE_P99 / 1e3), one.change.p99 <= CHANGE_P99)
}

pub(super) fn memory(one: &Programming) -> String {
    let Some((_, most)) = MEMORY.iter().find(|(services, _)| *services == one.size.services) else {
        return String::new();
    };
    of_interest(true, &format!("≤ {}", mebibytes(*most)), one.memory <= *most)
}

fn at_least(has_target: bool, ratio: Option<f64>, target: f64) -> String {
    let Some(ratio) = ratio else { return String::new() };
    of_interest(has_target, &format!("≥ {target:.2}"), hundredths(ratio) >= target)
}

/// As it is printed.
fn hundredths(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}
