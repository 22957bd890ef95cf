//! The memory and the processor time of running agents, from `/proc`.

use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::process::{Process, ticks};

/// Between two samples of the memory.
const PERIOD: Duration = Duration::from_millis(100);

/// What an agent used during the work.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Usage {
    pub(super) node: String,
    /// The resident set at the end, in bytes.
    pub(super) memory: u64,
    /// The largest resident set of all samples.
    pub(super) peak_memory: u64,
    /// Processor time in user and kernel mode, in seconds.
    pub(super) cpu: f64,
    /// The duration of the work.
    pub(super) seconds: f64,
}

/// Runs `work` and gives what each agent used meanwhile.
///
/// # Errors
/// Those of the work, and when an agent has ended.
pub(super) fn during<T>(
    agents: &[(String, Process)],
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Vec<Usage>)> {
    let begin = Instant::now();
    let before: Vec<_> = agents.iter().map(|(_, agent)| cpu(agent)).collect::<Result<_>>()?;
    let (done, peaks) = thread::scope(|scope| {
        // The sampler ends when the sender is dropped.
        let (end, ended) = mpsc::channel::<()>();
        let sampler = scope.spawn(move || {
            let mut peaks = vec![0; agents.len()];
            loop {
                for (peak, (_, agent)) in peaks.iter_mut().zip(agents) {
                    *peak = memory(agent).unwrap_or(0).max(*peak);
                }
                if ended.recv_timeout(PERIOD) != Err(RecvTimeoutError::Timeout) {
                    return peaks;
                }
            }
        });
        let done = work();
        drop(end);
        (done, sampler.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let done = done?;
    let seconds = begin.elapsed().as_secs_f64();
    let usages = agents.iter().zip(before).zip(peaks).map(|(((node, agent), before), peak)| {
        ensure!(agent.is_alive(), "the agent of {node} has ended meanwhile");
        let memory = memory(agent)?;
        let cpu = cpu(agent)?.saturating_sub(before).as_secs_f64();
        Ok(Usage { node: node.clone(), memory, peak_memory: peak.max(memory), cpu, seconds })
    });
    Ok((done, usages.collect::<Result<_>>()?))
}

fn cpu(agent: &Process) -> Result<Duration> {
    parse_cpu(&read(agent, "stat")?).context("read the processor time")
}

fn memory(agent: &Process) -> Result<u64> {
    parse_memory(&read(agent, "status")?).context("read the resident set")
}

fn read(agent: &Process, file: &str) -> Result<String> {
    let path = format!("/proc/{}/{file}", agent.pid);
    fs::read_to_string(&path).with_context(|| format!("read {path}"))
}

/// The 14th and the 15th field. The second one is in parentheses and may contain any character.
fn parse_cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some(ticks(user + system))
}

/// The resident set in bytes.
fn parse_memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_user_and_kernel_mode_without_children() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 150 27 900 900 20 0 1 0 777 1 2 3";
        assert_eq!(parse_cpu(stat), Some(Duration::from_millis(1770)));
        assert_eq!(parse_cpu("42 (x) S 1"), None);
    }

    #[test]
    fn the_resident_set_is_not_its_peak() {
        let status = "Name:\tx\nVmHWM:\t   27044 kB\nVmRSS:\t    8704 kB\nThreads:\t1\n";
        assert_eq!(parse_memory(status), Some(8704 * 1024));
        assert_eq!(parse_memory("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn the_usage_of_a_process_during_work_is_measured() {
        let own = vec![("here".to_owned(), Process::of(std::process::id()).unwrap())];
        let busy = || {
            let before = cpu(&own[0].1)?;
            while cpu(&own[0].1)? < before + Duration::from_millis(50) {}
            Ok("done")
        };
        let (done, usages) = during(&own, busy).unwrap();
        assert_eq!((done, usages[0].node.as_str()), ("done", "here"));
        assert!(usages[0].cpu >= 0.05 && usages[0].peak_memory >= usages[0].memory);
        assert!(usages[0].memory > 0);
    }
}
