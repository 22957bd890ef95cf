//! The first start of an agent on a node.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use weir_tests::lab::{eventually, until};

use super::super::maps::Frontends;
use super::fixture::Fixture;
use super::options::ProgrammingOptions;
use crate::process::{self, Memory};

/// The times and the memory of a start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) programmed: Duration,
    pub(super) ready: Duration,
    pub(super) memory: Memory,
}

/// Starts the agent.
pub(super) fn measure(fixture: &Fixture, options: &ProgrammingOptions) -> Result<Load> {
    let (node, wanted) = (fixture.node()?, usize::try_from(fixture.size.services)?);
    let started = Instant::now();
    node.start_agent()?;
    let mut frontends = None;
    let programmed = eventually("all Services are in the map", options.timeout, || {
        if frontends.is_none() {
            frontends = Frontends::of(node).ok();
        }
        frontends.as_ref().map_or(Ok(false), |map| Ok(map.count()? >= wanted))
    });
    let took = started.elapsed();
    programmed.with_context(|| node.log())?;
    until("the agent is ready", || node.ready())?;
    let ready = started.elapsed();
    let memory = process::memory(node.agent_pid()?)?;
    Ok(Load { programmed: took, ready, memory })
}
