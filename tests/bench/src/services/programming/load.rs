//! A new agent on a node that has nothing yet.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use weir_tests::lab::{eventually, until};

use super::super::maps::Frontends;
use super::{Effort, Scene};
use crate::process::{self, Memory};

/// What a start took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) programmed: Duration,
    pub(super) ready: Duration,
    pub(super) memory: Memory,
}

/// Starts the agent.
pub(super) fn measure(scene: &Scene, effort: &Effort) -> Result<Load> {
    let (node, wanted) = (scene.node()?, usize::try_from(scene.size.services)?);
    let started = Instant::now();
    node.start_agent()?;
    let mut frontends = None;
    let programmed = eventually("all Services are in the map", effort.patience, || {
        if frontends.is_none() {
            frontends = Frontends::of(node).ok();
        }
        frontends.as_ref().map_or(Ok(false), |map| Ok(map.count()? >= wanted))
    });
    let in_the_map = started.elapsed();
    programmed.with_context(|| node.log())?;
    until("the agent is ready", || node.ready())?;
    let ready = started.elapsed();
    let memory = process::memory(node.agent_pid()?)?;
    Ok(Load { programmed: in_the_map, ready, memory })
}
