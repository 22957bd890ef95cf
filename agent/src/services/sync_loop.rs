//! The loop that keeps the maps in sync with the cluster.
//!
//! It starts at the first snapshot and adopts the contents of the maps. Changes are processed when
//! a burst is over, and from time to time everything is compared ([`ResyncSchedule`]). The system
//! calls block, so the loop needs a thread of its own.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;
use tracing::{debug, error, info, warn};
use weir_datapath::Pins;

use super::apply::{Failure, Maps};
use super::sockets::{self, Sockets};
use crate::causes::causes;
use crate::health::Health;
use weir_cluster::Published;
use weir_model::Snapshot;
use weir_services::allocator::Allocator;
use weir_services::compile::NodeContext;
use weir_services::debounce::{DebounceWindow, Debouncer};
use weir_services::diff::{Op, diff};
use weir_services::engine::Engine;
use weir_services::resync::ResyncSchedule;
use weir_services::status::Status;

/// How many operations, and how many Services with a problem, are logged one by one.
const MAX_LOGGED: usize = 10;

/// Why the maps may differ from their desired contents.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read the maps")]
    Maps(#[from] weir_datapath::Error),
    #[error("{count} operations on the maps failed, the first")]
    Operations {
        count: usize,
        #[source]
        first: Box<Failure>,
    },
}

/// The configuration of the loop.
#[derive(Debug, Clone)]
pub struct SyncConfig {
    /// The name of this node.
    pub node: String,
    /// The properties of this node.
    pub context: watch::Receiver<NodeContext>,
    /// How long to wait for more changes.
    pub debounce: DebounceWindow,
    /// How often the maps are compared with their desired contents.
    pub resync_period: Duration,
}

/// The loop.
pub struct SyncLoop {
    config: SyncConfig,
    pins: Pins,
    health: Arc<Health>,
    running: Option<Running>,
    resync: ResyncSchedule,
    status: watch::Sender<Status>,
}

struct Running {
    engine: Engine,
    maps: Maps,
    sockets: Sockets,
}

impl SyncLoop {
    /// A loop for these pinned maps. It counts its operations in `health`. The receiver gets the
    /// status of the Services.
    pub fn new(
        config: SyncConfig,
        pins: Pins,
        health: Arc<Health>,
    ) -> (Self, watch::Receiver<Status>) {
        let (status, reader) = watch::channel(Status::default());
        let resync = ResyncSchedule::every(config.resync_period);
        (Self { config, pins, health, running: None, resync, status }, reader)
    }

    /// Runs until the source of snapshots ends.
    pub async fn run(mut self, mut published: watch::Receiver<Published>) {
        let mut changes = Debouncer::new(self.config.debounce);
        published.mark_changed();
        loop {
            let expire = self.running.as_ref().and_then(|running| running.engine.due());
            let due = [changes.due(), expire, self.resync.due()].into_iter().flatten().min();
            tokio::select! {
                changed = published.changed() => match changed {
                    Ok(()) => changes.record(Instant::now()),
                    Err(_) => return,
                },
                Ok(()) = self.config.context.changed() => changes.record(Instant::now()),
                () = until(due) => {
                    let oldest = changes.oldest();
                    let seen = oldest.filter(|_| changes.take(Instant::now()));
                    let snapshot = published.borrow().snapshot.clone();
                    if let Some(snapshot) = snapshot {
                        self.pass(&snapshot, seen);
                    }
                }
            }
        }
    }

    /// Does what is due. `seen` is the time of the oldest pending change, if changes are due.
    fn pass(&mut self, snapshot: &Snapshot, seen: Option<Instant>) {
        let compare = self.resync.is_due(Instant::now());
        let outcome = self.sync(snapshot, seen, compare);
        self.resync.record(compare, outcome.is_ok(), Instant::now());
        let failure = match outcome {
            Ok(()) if compare => None,
            // An earlier failure stays until everything was compared.
            Ok(()) => self.status.borrow().failure.clone(),
            Err(error) => {
                let text = causes(&error);
                error!("{text}");
                Some(text)
            }
        };
        self.report(failure);
    }

    fn sync(
        &mut self,
        snapshot: &Snapshot,
        seen: Option<Instant>,
        compare: bool,
    ) -> Result<(), Error> {
        let now = Instant::now();
        let is_first = self.running.is_none();
        if is_first {
            self.running = Some(self.start(now)?);
        }
        let Some(Running { engine, maps, sockets }) = &mut self.running else { return Ok(()) };
        let mut ops = Vec::new();
        if seen.is_some() || is_first || compare {
            let context = self.config.context.borrow_and_update().clone();
            ops.extend(engine.set_context(context, now));
            ops.extend(engine.update(snapshot, now));
        }
        ops.extend(engine.expire(now));
        let is_idle = ops.is_empty();
        let mut outcome = perform(maps, sockets, &ops, &self.health);
        if let Some(seen) = seen.filter(|_| !is_idle && outcome.is_ok()) {
            let took = seen.elapsed();
            debug!(?took, "a change of Services is in the maps");
            self.health.record_services_programmed(took);
        }
        if compare {
            let repairs = diff(&engine.allocator().tables(), &maps.read()?);
            let in_doubt = outcome.is_err() || self.status.borrow().failure.is_some();
            if !repairs.is_empty() && !in_doubt {
                warn!(
                    count = repairs.len(),
                    "repaired entries of Services that another process has changed"
                );
                self.health.record_repair("services_changed");
            }
            // The repairs include what has just failed.
            outcome = perform(maps, sockets, &repairs, &self.health);
        }
        outcome
    }

    fn start(&self, now: Instant) -> Result<Running, Error> {
        let maps = Maps::open(&self.pins)?;
        let (capacity, observed) = (maps.capacity()?, maps.read()?);
        info!(
            frontends = observed.frontends.len(),
            backends = observed.backends.len(),
            "continues with the Services in the maps"
        );
        let allocator = Allocator::adopt(observed, capacity, seed(), now);
        let SyncConfig { node, context, .. } = &self.config;
        let engine = Engine::new(node, context.borrow().clone(), allocator);
        Ok(Running { engine, maps, sockets: Sockets::open(&self.pins)? })
    }

    fn report(&self, failure: Option<String>) {
        let status = match &self.running {
            Some(running) => Status::of(&running.engine, failure),
            None => Status { failure, ..Status::default() },
        };
        self.status.send_if_modified(|old| {
            let is_new = |name| !old.problems.contains_key(name);
            let added = status.problems.iter().filter(|(name, _)| is_new(*name));
            for (number, (service, problem)) in added.enumerate() {
                if number < MAX_LOGGED {
                    warn!(%service, "{problem}");
                } else {
                    debug!(%service, "{problem}");
                }
            }
            let changed = *old != status;
            *old = status;
            changed
        });
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => pending().await,
    }
}

/// Performs operations and counts those that succeeded.
fn perform(
    maps: &mut Maps,
    sockets: &mut Sockets,
    ops: &[Op],
    health: &Health,
) -> Result<(), Error> {
    if ops.is_empty() {
        return Ok(());
    }
    info!(count = ops.len(), "writes Services to the maps");
    let mut done = BTreeMap::<&'static str, u64>::new();
    for (number, op) in ops.iter().enumerate() {
        *done.entry(op.kind()).or_default() += 1;
        if number < MAX_LOGGED {
            debug!("{op}");
        }
    }
    let removed = sockets::removed_backends(ops);
    let failures = maps.apply(ops);
    for failure in &failures {
        done.entry(failure.op().kind()).and_modify(|count| *count -= 1);
    }
    // A process that connects again gets another backend.
    let closed = sockets.close(&removed);
    if closed > 0 {
        done.insert("socket_close", closed);
    }
    health.record_operations(done);
    let count = failures.len();
    // The first failure was refused by the kernel: skipped operations depend on an earlier one.
    match failures.into_iter().next() {
        Some(first) => Err(Error::Operations { count, first: Box::new(first) }),
        None => Ok(()),
    }
}

/// The first id. It is random, so that it differs from the ids of an earlier agent: flows may still
/// refer to those.
fn seed() -> u32 {
    use std::hash::BuildHasher;

    // The hasher's keys are random, so the hash of the unit value is random too.
    let hash = std::hash::RandomState::new().hash_one(());
    u32::try_from(hash >> 32).unwrap_or_default()
}
