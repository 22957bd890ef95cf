//! What Weir's programs take for each packet, as the kernel counts it.
//!
//! Counting costs time itself, so it is on for turns of its own only: as long as the descriptor is
//! open that asks for it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::programs::ProgramInfo;
use aya::sys::{Stats, enable_stats};
use serde::Serialize;
use weir_datapath::{Hook, Pins};
use weir_tests::lab::{Member, Stack};

use super::exchange::{Kind, talk};
use super::lane::{Contender, Lane, Place};
use super::rounds::Plan;

/// What one program took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) program: String,
    /// Runs for each connection or request.
    pub(crate) runs: f64,
    /// In nanoseconds, of each run.
    pub(crate) time: f64,
    /// What the verifier looked at.
    pub(crate) instructions: Option<u32>,
}

/// What all programs took while two pods talked.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Costs {
    pub(crate) contender: Contender,
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) costs: Vec<Cost>,
}

/// A program's counters.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    time: Duration,
    runs: u64,
    instructions: Option<u32>,
}

/// Measures in each lane of Weir's with the fewest Services.
pub(crate) fn measure(lanes: &[Lane], plan: &Plan) -> Result<Vec<Costs>> {
    let mut all = Vec::new();
    let fewest = lanes.iter().map(|lane| lane.services).min();
    for lane in lanes.iter().filter(|lane| Some(lane.services) == fewest) {
        let Some(cluster) = lane.weir_cluster() else { continue };
        for &place in &plan.places {
            for kind in [Kind::Connect, Kind::Request] {
                eprintln!("measuring: programs, {}, {place}, {kind:?}", lane.contender);
                let before = counts(cluster.nodes())?;
                let counting = enable_stats(Stats::RunTime).context("count programs' time")?;
                let turn = talk(kind, &lane.ends(place), plan.time, plan.cpu)?;
                drop(counting);
                let after = counts(cluster.nodes())?;
                let costs = difference(&before, &after, turn.took.len());
                all.push(Costs { contender: lane.contender, place, kind, costs });
            }
        }
    }
    Ok(all)
}

/// The counters of all nodes' programs at devices, together.
fn counts(nodes: &[Member]) -> Result<BTreeMap<&'static str, Count>> {
    let mut counts: BTreeMap<_, Count> = BTreeMap::new();
    for node in nodes {
        let pins = Pins::new(node.pin_dir());
        for hook in Hook::ALL {
            let name = hook.program();
            let info = node.run(|| Ok(ProgramInfo::from_pin(pins.program(name))?));
            let info = info.with_context(|| format!("look at {name} of {}", node.name()))?;
            let count = counts.entry(name).or_default();
            count.time += info.run_time();
            count.runs += info.run_count();
            count.instructions = info.verified_instruction_count();
        }
    }
    Ok(counts)
}

fn difference(
    before: &BTreeMap<&'static str, Count>,
    after: &BTreeMap<&'static str, Count>,
    times: usize,
) -> Vec<Cost> {
    let cost = |(&program, after): (&&'static str, &Count)| {
        let before = before.get(program).copied().unwrap_or_default();
        let runs = after.runs.saturating_sub(before.runs);
        let time = after.time.saturating_sub(before.time);
        (runs > 0).then(|| Cost {
            program: program.to_owned(),
            runs: runs as f64 / times.max(1) as f64,
            time: time.as_nanos() as f64 / runs as f64,
            instructions: after.instructions,
        })
    };
    after.iter().filter_map(cost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_before_does_not_count_and_what_did_not_run_is_left_out() {
        let count = |nanoseconds, runs| Count {
            time: Duration::from_nanos(nanoseconds),
            runs,
            instructions: Some(9),
        };
        let before = BTreeMap::from([("a", count(1000, 10)), ("b", count(5, 5))]);
        let after = BTreeMap::from([("a", count(5000, 30)), ("b", count(5, 5))]);
        let costs = difference(&before, &after, 10);
        let [Cost { program, runs, time, instructions }] = &*costs else { panic!("{costs:?}") };
        assert_eq!((program.as_str(), *instructions), ("a", Some(9)));
        assert_eq!((runs.round(), time.round()), (2.0, 200.0));
    }
}
