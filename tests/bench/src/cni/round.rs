//! A row's worth of measuring: the two contenders in turn, under the same circumstances.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use weir_tests::lab::Pod;

use super::contender::{Contender, Families};
use super::worker::Crew;

/// Untimed iterations before: they make the bridge and bring the files into memory.
const WARM_UP: u32 = 3;

/// The circumstances.
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

/// What one contender took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    pub(crate) add: Verb,
    pub(crate) del: Verb,
}

/// What one contender took for one verb.
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

/// A contender with its threads and its sandboxes.
struct Stand<'a> {
    contender: &'a Contender,
    crew: Crew,
    pods: Vec<Pod>,
    times: Times,
}

impl Round {
    /// Measures both; what they took comes in their order, with the sandboxes that were used.
    pub(crate) fn measure(&self, contenders: &[Contender; 2]) -> Result<([Times; 2], Vec<Pod>)> {
        let [first, second] = contenders;
        let mut stands = [self.stand(first)?, self.stand(second)?];
        let mut used = self.populate(&stands[0])?;
        used.extend(self.populate(&stands[1])?);
        for attempt in 0..WARM_UP + self.samples.div_ceil(self.parallel) {
            // Whoever goes second works while the kernel cleans up behind the first.
            stands.rotate_left(1);
            let mut added = Vec::new();
            for stand in &mut stands {
                added.push(stand.add(attempt)?);
            }
            for (stand, added) in stands.iter_mut().zip(added) {
                stand.del(attempt, &added)?;
            }
        }
        if !std::ptr::eq(stands[0].contender, first) {
            stands.rotate_left(1);
        }
        let times = stands.map(|Stand { contender: _, crew: _, pods, times }| {
            used.extend(pods);
            times
        });
        Ok((times, used))
    }

    fn stand<'a>(&self, contender: &'a Contender) -> Result<Stand<'a>> {
        Ok(Stand {
            contender,
            crew: Crew::new(&contender.node, self.parallel as usize),
            pods: contender.sandboxes("pod", self.parallel)?,
            times: Times::default(),
        })
    }

    /// Attaches the other pods, which stay as long as the returned sandboxes.
    fn populate(&self, stand: &Stand<'_>) -> Result<Vec<Pod>> {
        let others = stand.contender.sandboxes("other", self.pods)?;
        for pod in &others {
            stand.crew.run(vec![stand.contender.add(pod, 0)])?;
        }
        Ok(others)
    }
}

impl Stand<'_> {
    /// One ADD in each sandbox; gives the results.
    fn add(&mut self, attempt: u32) -> Result<Vec<Vec<u8>>> {
        let jobs = self.pods.iter().map(|pod| self.contender.add(pod, attempt)).collect();
        let (samples, total) = self.crew.run(jobs)?;
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
        let (samples, total) = self.crew.run(jobs?)?;
        if attempt >= WARM_UP {
            self.times.del.calls.extend(samples.iter().map(|sample| sample.took));
            self.times.del.batches.push(total);
        }
        Ok(())
    }
}
