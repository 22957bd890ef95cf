//! The time of Weir's programs for each packet, from the kernel's statistics.
//!
//! The statistics cost time themselves, and are enabled for turns of their own only: as long as the
//! descriptor of BPF_ENABLE_STATS (Linux 5.8) is open.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::programs::ProgramInfo;
use aya::sys::{Stats, enable_stats};
use serde::Serialize;
use weir_datapath::{Hook, Pins};
use weir_tests::lab::{Member, Stack};

use super::contender::{Contender, Place};
use super::exchange::{Kind, run_exchange};
use super::rounds::Plan;
use super::testbed::Testbed;

/// The cost of a program.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) program: String,
    /// Runs per connection or request.
    pub(crate) runs: f64,
    /// The time of a run, in nanoseconds.
    pub(crate) time: f64,
    /// Instructions that the verifier processed.
    pub(crate) instructions: Option<u32>,
}

/// The costs of all programs during one kind of traffic.
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

/// Measures in each of Weir's testbeds with the fewest Services.
pub(crate) fn measure(testbeds: &[Testbed], plan: &Plan) -> Result<Vec<Costs>> {
    let mut all = Vec::new();
    let fewest = testbeds.iter().map(|testbed| testbed.services).min();
    for testbed in testbeds.iter().filter(|testbed| Some(testbed.services) == fewest) {
        let Some(cluster) = testbed.weir_cluster() else { continue };
        for &place in &plan.places {
            for kind in [Kind::Connect, Kind::Request] {
                eprintln!("measuring: programs, {}, {place}, {kind:?}", testbed.contender);
                let before = counts(cluster.nodes())?;
                let statistics =
                    enable_stats(Stats::RunTime).context("enable the statistics of programs")?;
                let turn = run_exchange(kind, &testbed.ends(place), plan.time, plan.cpu)?;
                drop(statistics);
                let after = counts(cluster.nodes())?;
                let costs = difference(&before, &after, turn.took.len());
                all.push(Costs { contender: testbed.contender, place, kind, costs });
            }
        }
    }
    Ok(all)
}

/// The sums of the counters of all nodes' programs at devices.
fn counts(nodes: &[Member]) -> Result<BTreeMap<&'static str, Count>> {
    let mut counts: BTreeMap<_, Count> = BTreeMap::new();
    for node in nodes {
        let pins = Pins::new(node.pin_dir());
        for hook in Hook::ALL {
            let name = hook.program();
            let info = node.run(|| Ok(ProgramInfo::from_pin(pins.program(name))?));
            let info =
                info.with_context(|| format!("read the counters of {name} on {}", node.name()))?;
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
    fn earlier_runs_are_subtracted_and_programs_without_runs_are_left_out() {
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
