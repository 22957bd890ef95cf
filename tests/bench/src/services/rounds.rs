//! The contenders take turns, and each turn is compared with the others of its round.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::contender::{Contender, Place};
use super::exchange::{Kind, Turn, run_exchange};
use super::testbed::Testbed;

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) places: Vec<Place>,
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
    pub(crate) cpu: usize,
}

/// The medians of all rounds. A ratio is the median of the ratios of two turns of the same round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) contender: Contender,
    pub(crate) services: u32,
    /// Whether this is the contender's testbed with the fewest Services.
    pub(crate) is_with_fewest: bool,
    /// Connections, requests or bits per second.
    pub(crate) rate: f64,
    /// The time of a connection or request, in microseconds.
    pub(crate) median: f64,
    pub(crate) p99: f64,
    /// Ratio to the rate of the bare network.
    pub(crate) to_bare: Option<f64>,
    /// Ratio to the rate of iptables with the fewest Services.
    pub(crate) to_iptables: Option<f64>,
    /// Ratio to the rate of the same contender with the fewest Services.
    pub(crate) to_fewest: Option<f64>,
    /// The smallest and the largest rate, divided by the median.
    pub(crate) spread: (f64, f64),
}

/// The turns of a testbed, of one kind at one place.
#[derive(Default)]
struct Turns {
    rates: Vec<f64>,
    medians: Vec<f64>,
    p99s: Vec<f64>,
}

/// Measures everything.
pub(crate) fn measure(testbeds: &[Testbed], plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &place in &plan.places {
        for &kind in &plan.kinds {
            let testbeds = participants(testbeds, kind);
            let turns = take_turns(&testbeds, place, kind, plan)?;
            rows.extend(compare(place, kind, &testbeds, &turns));
        }
    }
    Ok(rows)
}

/// The testbeds that are measured with this kind. A stream is measured with the fewest Services
/// only: its packets belong to one connection, which the number of Services does not affect.
fn participants(testbeds: &[Testbed], kind: Kind) -> Vec<&Testbed> {
    let fewest = |testbed: &Testbed| {
        let of_same = testbeds.iter().filter(|other| other.contender == testbed.contender);
        of_same.map(|other| other.services).min() == Some(testbed.services)
    };
    testbeds.iter().filter(|testbed| kind != Kind::Stream || fewest(testbed)).collect()
}

fn take_turns(testbeds: &[&Testbed], place: Place, kind: Kind, plan: &Plan) -> Result<Vec<Turns>> {
    let turn = |testbed: &Testbed, time| {
        let turn = run_exchange(kind, &testbed.ends(place), time, plan.cpu);
        turn.with_context(|| {
            format!("{} with {} Services, {place}", testbed.contender, testbed.services)
        })
    };
    // A turn that is not counted fills neighbour tables and caches.
    for testbed in testbeds {
        turn(testbed, plan.time / 5)?;
    }
    let mut turns: Vec<Turns> = testbeds.iter().map(|_| Turns::default()).collect();
    for round in 0..plan.rounds {
        eprintln!("measuring: {kind:?}, {place}, round {} of {}", round + 1, plan.rounds);
        for step in 0..testbeds.len() {
            // Each round begins with another contender.
            let index = (round + step) % testbeds.len();
            let (testbed, turns) =
                testbeds.get(index).zip(turns.get_mut(index)).context("a testbed")?;
            turns.add(turn(testbed, plan.time)?);
        }
    }
    Ok(turns)
}

impl Turns {
    fn add(&mut self, Turn { rate, mut took }: Turn) {
        took.sort_unstable();
        let at = |percent: usize| {
            let rank = (took.len() * percent).div_ceil(100).saturating_sub(1);
            took.get(rank).map_or(0.0, |&took| f64::from(took) / 1e3)
        };
        self.rates.push(rate);
        self.medians.push(at(50));
        self.p99s.push(at(99));
    }

    fn ratio(&self, other: &Self) -> f64 {
        median(self.rates.iter().zip(&other.rates).map(|(ours, theirs)| ours / theirs))
    }
}

fn compare(place: Place, kind: Kind, testbeds: &[&Testbed], turns: &[Turns]) -> Vec<Row> {
    let mut fewest: BTreeMap<Contender, (u32, &Turns)> = BTreeMap::new();
    for (testbed, turns) in testbeds.iter().zip(turns) {
        let entry = fewest.entry(testbed.contender).or_insert((testbed.services, turns));
        if testbed.services < entry.0 {
            *entry = (testbed.services, turns);
        }
    }
    let to = |turns: &Turns, contender| fewest.get(&contender).map(|(_, base)| turns.ratio(base));
    let row = |(testbed, turns): (&&Testbed, &Turns)| {
        let rate = median(turns.rates.iter().copied());
        let least = turns.rates.iter().copied().fold(f64::INFINITY, f64::min);
        let most = turns.rates.iter().copied().fold(0.0, f64::max);
        Row {
            place,
            kind,
            contender: testbed.contender,
            services: testbed.services,
            is_with_fewest: fewest
                .get(&testbed.contender)
                .is_some_and(|(services, _)| *services == testbed.services),
            rate,
            median: median(turns.medians.iter().copied()),
            p99: median(turns.p99s.iter().copied()),
            to_bare: to(turns, Contender::Bare),
            to_iptables: to(turns, Contender::Iptables),
            to_fewest: to(turns, testbed.contender),
            spread: (least / rate, most / rate),
        }
    };
    testbeds.iter().zip(turns).map(row).collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
