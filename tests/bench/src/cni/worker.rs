//! Threads that have entered a node's namespaces, so that entering them is not measured.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use weir_tests::lab::{Node, Stack};

use super::sample::{Job, Sample};

/// Threads in the namespaces of one node. Each runs one job at a time.
#[derive(Debug)]
pub(crate) struct WorkerPool {
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    jobs: Option<Sender<Job>>,
    samples: Receiver<Result<Sample>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl WorkerPool {
    /// Starts `size` threads on `node`.
    pub(crate) fn new(node: &Node, size: usize) -> Self {
        Self { workers: (0..size).map(|_| Worker::new(node.clone())).collect() }
    }

    /// Runs the jobs at the same time, each on a thread of its own. Gives each job's sample, and
    /// the duration of all.
    pub(crate) fn run(&self, jobs: Vec<Job>) -> Result<(Vec<Sample>, Duration)> {
        let busy = self.workers.get(..jobs.len()).context("more jobs than threads")?;
        let started = Instant::now();
        for (worker, job) in busy.iter().zip(jobs) {
            let jobs = worker.jobs.as_ref().context("the worker has ended")?;
            jobs.send(job).context("a worker could not enter its node")?;
        }
        let samples: Result<Vec<_>> = busy.iter().map(|worker| worker.samples.recv()?).collect();
        Ok((samples?, started.elapsed()))
    }
}

impl Worker {
    fn new(node: Node) -> Self {
        let (jobs, todo) = channel::<Job>();
        let (done, samples) = channel();
        let thread = std::thread::spawn(move || {
            node.run(move || {
                for job in todo {
                    // The receiver is gone when another worker's job failed.
                    let _ = done.send(job.run());
                }
                Ok(())
            })
        });
        Self { jobs: Some(jobs), samples, thread: Some(thread) }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
