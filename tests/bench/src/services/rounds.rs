//! The lanes take turns, and each turn is compared with the others of its round.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::exchange::{Kind, Turn, talk};
use super::lane::{Contender, Lane, Place};

/// What is measured, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) places: Vec<Place>,
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
    pub(crate) cpu: usize,
}

/// Medians of all rounds; a ratio is that of two turns of a round, and of these the median.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) contender: Contender,
    pub(crate) services: u32,
    /// Whether no lane of the contender has fewer Services.
    pub(crate) is_with_fewest: bool,
    /// Per second: connections, requests, or bits.
    pub(crate) rate: f64,
    /// In microseconds.
    pub(crate) median: f64,
    pub(crate) p99: f64,
    /// To the rate of the bare network.
    pub(crate) to_bare: Option<f64>,
    /// To the rate of iptables with the fewest Services.
    pub(crate) to_iptables: Option<f64>,
    /// To the rate of the same contender with the fewest Services.
    pub(crate) to_fewest: Option<f64>,
    /// The smallest and the largest rate, divided by the median.
    pub(crate) spread: (f64, f64),
}

/// A lane's turns of one kind at one place.
#[derive(Default)]
struct Turns {
    rates: Vec<f64>,
    medians: Vec<f64>,
    p99s: Vec<f64>,
}

/// Measures everything.
pub(crate) fn measure(lanes: &[Lane], plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &place in &plan.places {
        for &kind in &plan.kinds {
            let lanes = who_takes_part(lanes, kind);
            let turns = take_turns(&lanes, place, kind, plan)?;
            rows.extend(compare(place, kind, &lanes, &turns));
        }
    }
    Ok(rows)
}

/// How many Services there are says nothing of a stream, whose packets belong to one connection.
fn who_takes_part(lanes: &[Lane], kind: Kind) -> Vec<&Lane> {
    let fewest = |lane: &Lane| {
        let of_same = lanes.iter().filter(|other| other.contender == lane.contender);
        of_same.map(|other| other.services).min() == Some(lane.services)
    };
    lanes.iter().filter(|lane| kind != Kind::Stream || fewest(lane)).collect()
}

fn take_turns(lanes: &[&Lane], place: Place, kind: Kind, plan: &Plan) -> Result<Vec<Turns>> {
    let turn = |lane: &Lane, time| {
        let turn = talk(kind, &lane.ends(place), time, plan.cpu);
        turn.with_context(|| format!("{} with {} Services, {place}", lane.contender, lane.services))
    };
    // Neighbours are known and caches are warm from the first turn that counts.
    for lane in lanes {
        turn(lane, plan.time / 5)?;
    }
    let mut turns: Vec<Turns> = lanes.iter().map(|_| Turns::default()).collect();
    for round in 0..plan.rounds {
        eprintln!("measuring: {kind:?}, {place}, round {} of {}", round + 1, plan.rounds);
        for step in 0..lanes.len() {
            // Another one begins each round.
            let index = (round + step) % lanes.len();
            let (lane, turns) = lanes.get(index).zip(turns.get_mut(index)).context("a lane")?;
            turns.add(turn(lane, plan.time)?);
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

fn compare(place: Place, kind: Kind, lanes: &[&Lane], turns: &[Turns]) -> Vec<Row> {
    let mut fewest: BTreeMap<Contender, (u32, &Turns)> = BTreeMap::new();
    for (lane, turns) in lanes.iter().zip(turns) {
        let entry = fewest.entry(lane.contender).or_insert((lane.services, turns));
        if lane.services < entry.0 {
            *entry = (lane.services, turns);
        }
    }
    let to = |turns: &Turns, contender| fewest.get(&contender).map(|(_, base)| turns.ratio(base));
    let row = |(lane, turns): (&&Lane, &Turns)| {
        let rate = median(turns.rates.iter().copied());
        let least = turns.rates.iter().copied().fold(f64::INFINITY, f64::min);
        let most = turns.rates.iter().copied().fold(0.0, f64::max);
        Row {
            place,
            kind,
            contender: lane.contender,
            services: lane.services,
            is_with_fewest: fewest
                .get(&lane.contender)
                .is_some_and(|(services, _)| *services == lane.services),
            rate,
            median: median(turns.medians.iter().copied()),
            p99: median(turns.p99s.iter().copied()),
            to_bare: to(turns, Contender::Bare),
            to_iptables: to(turns, Contender::Iptables),
            to_fewest: to(turns, lane.contender),
            spread: (least / rate, most / rate),
        }
    };
    lanes.iter().zip(turns).map(row).collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
