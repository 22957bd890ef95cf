//! How soon Weir's maps hold what is written, and what the agent takes meanwhile.
//!
//! The agent reads a directory of manifests: what an API server and its client would add is none of
//! the agent's. Times begin with the start of the process, or with the renaming of a complete file,
//! and end when another processor sees the change in the map.

mod change;
mod load;

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use weir_tests::lab::{Cluster, ManifestDir, Member};

use super::objects::Service;
use crate::figures::Figures;

/// Files of manifests hold so many Services: one for each would be 50,000.
const IN_A_FILE: usize = 500;
/// Services that change, each in a file of its own.
const CHANGING: u32 = 100;

/// How many Services there are, and how many endpoints each has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Size {
    pub(crate) services: u32,
    pub(crate) endpoints: u32,
}

/// All about one size. Times are in microseconds, sizes in bytes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Programming {
    pub(crate) size: Size,
    /// From the start of the process to the last Service, the median start.
    pub(crate) load: f64,
    /// From the start of the process to being ready, of the same start.
    pub(crate) ready: f64,
    pub(crate) memory: u64,
    pub(crate) peak_memory: u64,
    pub(crate) change: Figures,
    pub(crate) changes: usize,
    pub(crate) churn: Option<Churn>,
}

/// What many changes took.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Churn {
    pub(crate) seconds: f64,
    /// Written, per second.
    pub(crate) rate: f64,
    /// The agent's processor time divided by the time.
    pub(crate) processor: f64,
    pub(crate) memory: u64,
    pub(crate) peak_memory: u64,
    /// From one more write to the map's having it, in microseconds.
    pub(crate) behind: f64,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) starts: u32,
    pub(crate) changes: u32,
    pub(crate) churn: Duration,
    pub(crate) patience: Duration,
    /// Where the map is looked at; the agent runs elsewhere.
    pub(crate) cpu: usize,
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size like 1000x10");
        let (services, endpoints) = text.split_once('x').ok_or_else(wrong)?;
        let services = services.parse().map_err(|_| wrong())?;
        let endpoints = endpoints.parse().map_err(|_| wrong())?;
        if !(CHANGING..=60_000).contains(&services) || !(3..=100).contains(&endpoints) {
            return Err(format!("{text}: from {CHANGING} to 60000 Services, 3 to 100 endpoints"));
        }
        Ok(Self { services, endpoints })
    }
}

/// Measures one size.
pub(crate) fn measure(size: Size, effort: &Effort) -> Result<Programming> {
    let mut loads = Vec::new();
    let mut scene = None;
    for start in 1..=effort.starts.max(1) {
        eprintln!("measuring: start {start} of {} with {size}", effort.starts);
        // One after the other: what one leaves in the kernel is not the next one's.
        drop(scene.take());
        let fresh = Scene::new(size)?;
        loads.push(load::measure(&fresh, effort)?);
        scene = Some(fresh);
    }
    loads.sort_by_key(|load| load.programmed);
    let load = *loads.get(loads.len() / 2).context("no start")?;
    let scene = scene.context("no start")?;
    eprintln!("measuring: one endpoint changed, with {size}");
    let changes = change::one_at_a_time(&scene, effort)?;
    let churn = if effort.churn.is_zero() {
        None
    } else {
        eprintln!("measuring: many endpoints changed, with {size}");
        Some(change::many(&scene, effort)?)
    };
    Ok(Programming {
        size,
        load: load.programmed.as_secs_f64() * 1e6,
        ready: load.ready.as_secs_f64() * 1e6,
        memory: load.memory.now,
        peak_memory: load.memory.peak,
        change: Figures::of(&changes),
        changes: changes.len(),
        churn,
    })
}

impl std::fmt::Display for Size {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} Services x {} endpoints", self.services, self.endpoints)
    }
}

/// A node whose agent has not been started, in a world with Services.
struct Scene {
    cluster: Cluster,
    size: Size,
}

impl Scene {
    fn new(size: Size) -> Result<Self> {
        let cluster = Cluster::new(1).services().without_timer().log_level("info").stopped();
        let scene = Self { cluster: cluster.build()?, size };
        let world = scene.world()?;
        for number in 0..CHANGING {
            scene.write(number, size.endpoints)?;
        }
        let others: Vec<_> = (CHANGING..size.services).collect();
        for (file, numbers) in others.chunks(IN_A_FILE).enumerate() {
            let one = |&number| Service::other(number, size.endpoints).yaml();
            let documents: Vec<_> = numbers.iter().map(one).collect();
            world.write(&format!("others-{file}.yaml"), &documents.join("---\n"))?;
        }
        Ok(scene)
    }

    fn node(&self) -> Result<&Member> {
        self.cluster.node(1)
    }

    fn world(&self) -> Result<&ManifestDir> {
        self.cluster.manifests()
    }

    /// Writes one of the Services that change, with the first of its endpoints; gives it.
    fn write(&self, number: u32, endpoints: u32) -> Result<Service> {
        let mut service = Service::other(number, self.size.endpoints);
        service.endpoints.truncate(usize::try_from(endpoints)?);
        self.world()?.write(&format!("changing-{number}.yaml"), &service.yaml())?;
        Ok(service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_two_numbers() {
        assert_eq!("1000x10".parse(), Ok(Size { services: 1000, endpoints: 10 }));
        for wrong in ["", "x", "1000", "1000x", "99x10", "1000x2", "1e3x10"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }
}
