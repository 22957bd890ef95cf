//! Traffic between pods of two nodes, through Weir's tunnel and through the baselines, in turns.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use weir_tests::lab::{AttachedPod, Cluster, Stack};

use super::stream::{Processors, request_rate, throughput};
use crate::baseline::{Baseline, Rules};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Bits per second of one TCP stream.
    Throughput,
    /// Requests per second, one at a time.
    Requests,
}

/// The medians of all turns. A ratio is the median of the turns' ratios.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Compared {
    pub(crate) kind: Kind,
    pub(crate) weir: f64,
    /// Weir with the programs of Services.
    pub(crate) services: f64,
    /// Flannel's entries and rules.
    pub(crate) flannel: f64,
    pub(crate) ratio: f64,
    /// Weir with programs to flannel's entries and rules.
    pub(crate) services_ratio: f64,
    /// Flannel's entries alone.
    pub(crate) bare: f64,
    pub(crate) ratio_to_bare: f64,
}

struct Weir {
    pods: Vec<AttachedPod>,
    _cluster: Cluster,
}

impl Weir {
    fn new(services: bool) -> Result<Self> {
        let builder = Cluster::new(2);
        let cluster = if services { builder.services() } else { builder }.build()?;
        let pods = cluster.nodes().iter().map(|node| node.pod("pod")).collect::<Result<_>>()?;
        Ok(Self { pods, _cluster: cluster })
    }

    fn ends(&self) -> Result<(&AttachedPod, &AttachedPod, IpAddr)> {
        let [client, server] = &*self.pods else { anyhow::bail!("not two pods") };
        Ok((client, server, server.address()?))
    }
}

/// Measures both kinds of traffic.
pub(crate) fn measure(turns: u32, seconds: u64, cpus: &[usize]) -> Result<Vec<Compared>> {
    let (Some(&client), Some(&server)) = (cpus.first(), cpus.last()) else {
        anyhow::bail!("no processor was given")
    };
    let (cpus, time) = (Processors { client, server }, Duration::from_secs(seconds));
    let (weir, services) = (Weir::new(false)?, Weir::new(true)?);
    let (flannel, bare) = (Baseline::new(Rules::Flannel)?, Baseline::new(Rules::None)?);
    let mut rows = Vec::new();
    for kind in [Kind::Throughput, Kind::Requests] {
        let mut rates: [Vec<f64>; 4] = Default::default();
        for turn in 0..turns {
            eprintln!("measuring: {kind:?}, turn {} of {turns}", turn + 1);
            for position in 0..4 {
                let contender = (turn + position) % 4;
                let rate = match contender {
                    0 => run(kind, weir.ends()?, time, cpus),
                    1 => run(kind, services.ends()?, time, cpus),
                    2 => run(kind, flannel.ends()?, time, cpus),
                    _ => run(kind, bare.ends()?, time, cpus),
                };
                let rates = rates.get_mut(contender as usize).context("four contenders")?;
                rates.push(rate?);
            }
        }
        let [weir, services, flannel, bare] = rates;
        rows.push(Compared {
            kind,
            ratio: median(ratios(&weir, &flannel)),
            services_ratio: median(ratios(&services, &flannel)),
            ratio_to_bare: median(ratios(&weir, &bare)),
            weir: median(weir),
            services: median(services),
            flannel: median(flannel),
            bare: median(bare),
        });
    }
    Ok(rows)
}

fn run<S: Stack>(
    kind: Kind,
    (client, server, address): (&S, &S, IpAddr),
    time: Duration,
    cpus: Processors,
) -> Result<f64> {
    match kind {
        Kind::Throughput => throughput(client, server, address, time, cpus),
        Kind::Requests => request_rate(client, server, address, time, cpus),
    }
}

fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
