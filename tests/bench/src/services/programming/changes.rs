//! The delays of changed endpoints, and the agent's usage during churn.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use serde::Serialize;

use super::super::maps::Frontends;
use super::super::objects::Service;
use super::fixture::{CHANGING, Fixture};
use super::options::ProgrammingOptions;
use crate::pinning::pin;
use crate::process;

/// Longer than any change takes that reaches the map.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two single changes, so that the agent is idle before the second one.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two changes during churn: a hundred a second.
const PERIOD: Duration = Duration::from_millis(10);

/// The agent's usage during churn.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Churn {
    pub(crate) seconds: f64,
    /// Changes written per second.
    pub(crate) rate: f64,
    /// The agent's processor time as a share of the time.
    pub(crate) processor: f64,
    pub(crate) memory: u64,
    pub(crate) peak_memory: u64,
    /// From the last write to the change in the map, in microseconds.
    pub(crate) behind: f64,
}

/// Removes an endpoint from a Service or adds it again, and gives the delay of each change.
pub(super) fn measure_single(
    fixture: &Fixture,
    options: &ProgrammingOptions,
) -> Result<Vec<Duration>> {
    let frontends = Frontends::of(fixture.node()?)?;
    run_pinned(options.cpu, || {
        let mut took = Vec::new();
        for sample in 0..options.changes {
            let (number, less) = (sample % CHANGING, (sample / CHANGING).is_multiple_of(2));
            thread::sleep(PAUSE);
            let written = Instant::now();
            let service = write(fixture, number, less)?;
            wait(&frontends, &service)?;
            took.push(written.elapsed());
        }
        // Restores all Services.
        for number in 0..CHANGING {
            write(fixture, number, false)?;
        }
        Ok(took)
    })
}

/// Changes a hundred endpoints a second for a while.
pub(super) fn measure_churn(fixture: &Fixture, options: &ProgrammingOptions) -> Result<Churn> {
    let (pid, frontends) = (fixture.node()?.agent_pid()?, Frontends::of(fixture.node()?)?);
    let before = process::processor_time(pid)?;
    run_pinned(options.cpu, || {
        let (started, mut written) = (Instant::now(), 0_u32);
        while started.elapsed() < options.churn {
            let due = started + PERIOD * written;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            write(fixture, written % CHANGING, (written / CHANGING).is_multiple_of(2))?;
            written += 1;
        }
        let (took, finished) = (started.elapsed(), Instant::now());
        // A count of endpoints that was not written before: an earlier state of the map cannot
        // match.
        let last = fixture.write(0, 1)?;
        wait(&frontends, &last)?;
        let behind = finished.elapsed();
        let spent = process::processor_time(pid)?.saturating_sub(before);
        let memory = process::memory(pid)?;
        Ok(Churn {
            seconds: took.as_secs_f64(),
            rate: f64::from(written) / took.as_secs_f64(),
            processor: spent.as_secs_f64() / took.as_secs_f64(),
            memory: memory.now,
            peak_memory: memory.peak,
            behind: behind.as_secs_f64() * 1e6,
        })
    })
}

fn write(fixture: &Fixture, number: u32, less: bool) -> Result<Service> {
    fixture.write(number, fixture.size.endpoints - u32::from(less))
}

/// Waits until the map has as many backends for the Service as were written. It polls without a
/// pause, because nothing else runs on this processor.
fn wait(frontends: &Frontends, service: &Service) -> Result<()> {
    let end = Instant::now() + TIMEOUT;
    let wanted = u32::try_from(service.endpoints.len())?;
    loop {
        if frontends.get(service)?.is_some_and(|found| found.count == wanted) {
            return Ok(());
        }
        ensure!(
            Instant::now() < end,
            "the map does not have the change of {} after {TIMEOUT:?}",
            service.name
        );
    }
}

/// Runs `work` on a pinned thread.
fn run_pinned<R: Send>(cpu: usize, work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    let pinned = || {
        pin(cpu)?;
        work()
    };
    thread::scope(|scope| {
        scope.spawn(pinned).join().map_err(|_| anyhow!("the pinned thread panicked"))?
    })
}
