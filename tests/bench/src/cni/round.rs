//! A round: the measurements of both contenders, in turns, under the same circumstances.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use weir_tests::lab::Pod;

use super::contender::{Contender, Families};
use super::worker::WorkerPool;

/// Iterations that are not counted: they create the bridge and fill the page cache.
const WARM_UP: u32 = 3;

/// The circumstances of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) families: Families,
    /// Whether Weir's node has eBPF programs, which ADD attaches.
    pub(crate) programs: bool,
    /// Calls at the same time.
    pub(crate) parallel: u32,
    /// Pods that are on the node all the time.
    pub(crate) pods: u32,
    /// Calls to be measured of each verb and each contender.
    pub(crate) samples: u32,
}

/// The times of a contender.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    pub(crate) add: Verb,
    pub(crate) del: Verb,
}

/// The times of a contender for one verb.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verb {
    /// Each call.
    pub(crate) calls: Vec<Duration>,
    /// Each batch of parallel calls, from the first start to the last end.
    pub(crate) batches: Vec<Duration>,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families = match self.families {
            Families::Ipv4 => "IPv4",
            Families::Dual => "dual-stack",
        };
        let programs = if self.programs { ", with programs" } else { "" };
        write!(f, "{families}{programs}, {} in parallel, {} other pods", self.parallel, self.pods)
    }
}

/// A contender with its worker threads, its sandboxes and its times so far.
struct Station<'a> {
    contender: &'a Contender,
    workers: WorkerPool,
    pods: Vec<Pod>,
    times: Times,
}

impl Round {
    /// Measures both contenders. Gives their times in the same order, and the sandboxes that were
    /// used.
    pub(crate) fn measure(&self, contenders: &[Contender; 2]) -> Result<([Times; 2], Vec<Pod>)> {
        let [first, second] = contenders;
        let mut stations = [self.station(first)?, self.station(second)?];
        let mut used = self.populate(&stations[0])?;
        used.extend(self.populate(&stations[1])?);
        for attempt in 0..WARM_UP + self.samples.div_ceil(self.parallel) {
            // The second contender of an iteration runs while the kernel cleans up after the first.
            stations.rotate_left(1);
            let mut added = Vec::new();
            for station in &mut stations {
                added.push(station.add(attempt)?);
            }
            for (station, added) in stations.iter_mut().zip(added) {
                station.del(attempt, &added)?;
            }
        }
        if !std::ptr::eq(stations[0].contender, first) {
            stations.rotate_left(1);
        }
        let times = stations.map(|Station { contender: _, workers: _, pods, times }| {
            used.extend(pods);
            times
        });
        Ok((times, used))
    }

    fn station<'a>(&self, contender: &'a Contender) -> Result<Station<'a>> {
        Ok(Station {
            contender,
            workers: WorkerPool::new(&contender.node, self.parallel as usize),
            pods: contender.sandboxes("pod", self.parallel)?,
            times: Times::default(),
        })
    }

    /// Adds the other pods, which exist as long as the returned sandboxes.
    fn populate(&self, station: &Station<'_>) -> Result<Vec<Pod>> {
        let others = station.contender.sandboxes("other", self.pods)?;
        for pod in &others {
            station.workers.run(vec![station.contender.add(pod, 0)])?;
        }
        Ok(others)
    }
}

impl Station<'_> {
    /// Runs one ADD in each sandbox and gives the results.
    fn add(&mut self, attempt: u32) -> Result<Vec<Vec<u8>>> {
        let jobs = self.pods.iter().map(|pod| self.contender.add(pod, attempt)).collect();
        let (samples, total) = self.workers.run(jobs)?;
        if attempt >= WARM_UP {
            self.times.add.calls.extend(samples.iter().map(|sample| sample.took));
            self.times.add.batches.push(total);
        }
        Ok(samples.into_iter().map(|sample| sample.stdout).collect())
    }

    fn del(&mut self, attempt: u32, added: &[Vec<u8>]) -> Result<()> {
        let pairs = self.pods.iter().zip(added);
        let jobs: Result<Vec<_>> =
            pairs.map(|(pod, added)| self.contender.del(pod, attempt, added)).collect();
        let (samples, total) = self.workers.run(jobs?)?;
        if attempt >= WARM_UP {
            self.times.del.calls.extend(samples.iter().map(|sample| sample.took));
            self.times.del.batches.push(total);
        }
        Ok(())
    }
}
