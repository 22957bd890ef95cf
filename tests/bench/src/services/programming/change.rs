//! Endpoints that come and go.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::super::maps::Frontends;
use super::super::objects::Service;
use super::{CHANGING, Churn, Effort, Scene};
use crate::pinning::pin;
use crate::process;

/// Longer than any change takes that is seen at all.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two changes: the first is over for the agent, too.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two of many changes: a hundred a second.
const PACE: Duration = Duration::from_millis(10);

/// Takes an endpoint away from a Service, or gives it back; how long each took.
pub(super) fn one_at_a_time(scene: &Scene, effort: &Effort) -> Result<Vec<Duration>> {
    let frontends = Frontends::of(scene.node()?)?;
    elsewhere(effort.cpu, || {
        let mut took = Vec::new();
        for sample in 0..effort.changes {
            let (number, less) = (sample % CHANGING, (sample / CHANGING).is_multiple_of(2));
            thread::sleep(PAUSE);
            let written = Instant::now();
            let service = write(scene, number, less)?;
            wait(&frontends, &service)?;
            took.push(written.elapsed());
        }
        // As it was.
        for number in 0..CHANGING {
            write(scene, number, false)?;
        }
        Ok(took)
    })
}

/// A hundred changes a second, for a while.
pub(super) fn many(scene: &Scene, effort: &Effort) -> Result<Churn> {
    let (pid, frontends) = (scene.node()?.agent_pid()?, Frontends::of(scene.node()?)?);
    let before = process::processor_time(pid)?;
    elsewhere(effort.cpu, || {
        let (started, mut written) = (Instant::now(), 0_u32);
        while started.elapsed() < effort.churn {
            let due = started + PACE * written;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            write(scene, written % CHANGING, (written / CHANGING).is_multiple_of(2))?;
            written += 1;
        }
        let (took, finished) = (started.elapsed(), Instant::now());
        // As it has not been before: what was written long ago is no proof.
        let last = scene.write(0, 1)?;
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

fn write(scene: &Scene, number: u32, less: bool) -> Result<Service> {
    scene.write(number, scene.size.endpoints - u32::from(less))
}

/// Waits until the map has as many backends for the Service as were written. It asks without a
/// pause: nothing else runs on this processor.
fn wait(frontends: &Frontends, service: &Service) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let wanted = u32::try_from(service.endpoints.len())?;
    loop {
        if frontends.get(service)?.is_some_and(|found| found.count == wanted) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{} is not as written after {PATIENCE:?}", service.name);
    }
}

/// On a thread of its own, pinned.
fn elsewhere<R: Send>(cpu: usize, work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    let pinned = || {
        pin(cpu)?;
        work()
    };
    thread::scope(|scope| scope.spawn(pinned).join().map_err(|_| anyhow!("it panicked"))?)
}
