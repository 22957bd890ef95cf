//! The targets, and whether a figure meets them.

use super::contender::Contender;
use super::exchange::Kind;
use super::programming::Programming;
use super::programs::Costs;
use super::rounds::Row;
use crate::output::{mebibytes, target_verdict};

/// Ratios of the fast path's rates of connections and requests, with one Service.
const TO_IPTABLES: f64 = 1.25;
const TO_BARE: f64 = 1.0;
/// The slow path's ratio.
const SLOW_TO_IPTABLES: f64 = 1.0;
/// The largest relative difference between the rate with many Services and that with one.
const FLAT: f64 = 0.03;
/// The programs' time for a packet of an established flow, in nanoseconds.
const PROGRAMS: f64 = 500.0;
/// The load of 10,000 Services with 10 endpoints each, in microseconds.
const LOAD: f64 = 1e6;
/// The 99th percentile of a change, in microseconds.
const CHANGE_P99: f64 = 1e4;
/// Numbers of Services, and the largest memory in bytes.
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
    target_verdict(
        true,
        &format!("1.00 ± {FLAT:.2}"),
        (round_to_hundredths(ratio) - 1.0).abs() <= FLAT + 1e-9,
    )
}

/// The time of both programs of a pod's device together.
pub(super) fn programs(costs: &Costs) -> String {
    let of_a_pod = ["from_pod", "to_pod"];
    let costs_of_a_pod =
        costs.costs.iter().filter(|cost| of_a_pod.contains(&cost.program.as_str()));
    let sum: f64 = costs_of_a_pod.map(|cost| cost.time).sum();
    let limit = format!("{sum:.0} ns, ≤ {PROGRAMS:.0}");
    let is_fast = matches!(costs.contender, Contender::Fast | Contender::Direct);
    if is_fast { target_verdict(true, &limit, sum <= PROGRAMS) } else { format!("{sum:.0} ns") }
}

pub(super) fn load(one: &Programming) -> String {
    let limit = format!("≤ {:.0}", LOAD / 1e3);
    target_verdict(
        one.size.services == 10_000 && one.size.endpoints == 10,
        &limit,
        one.load <= LOAD,
    )
}

pub(super) fn change(one: &Programming) -> String {
    target_verdict(true, &format!("≤ {:.0}", CHANGE_P99 / 1e3), one.change.p99 <= CHANGE_P99)
}

pub(super) fn memory(one: &Programming) -> String {
    let Some((_, most)) = MEMORY.iter().find(|(services, _)| *services == one.size.services) else {
        return String::new();
    };
    target_verdict(true, &format!("≤ {}", mebibytes(*most)), one.memory <= *most)
}

fn at_least(has_target: bool, ratio: Option<f64>, target: f64) -> String {
    let Some(ratio) = ratio else { return String::new() };
    target_verdict(has_target, &format!("≥ {target:.2}"), round_to_hundredths(ratio) >= target)
}

/// The ratio as it is printed.
fn round_to_hundredths(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}
