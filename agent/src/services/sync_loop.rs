//! The loop that keeps the maps as the cluster says.
//!
//! It begins with the first snapshot, and with what the maps hold then. Changes are taken in when a
//! burst of them is over; now and then everything is compared ([`Comparison`]). It waits for the
//! kernel in between, a moment for each entry: give it a thread of its own.

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
use weir_services::allocator::Ledger;
use weir_services::compile::Terms;
use weir_services::debounce::{Debouncer, Patience};
use weir_services::diff::{Op, diff};
use weir_services::engine::Engine;
use weir_services::resync::Comparison;
use weir_services::status::Status;

/// So many operations, and so many Services with a problem, are logged one by one.
const LOGGED: usize = 10;

/// Why the maps may not hold what they should.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the maps cannot be read")]
    Maps(#[from] weir_datapath::Error),
    #[error("{count} operations on the maps failed, the first")]
    Operations {
        count: usize,
        #[source]
        first: Box<Failure>,
    },
}

/// How the loop works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of this node.
    pub node: String,
    /// What is the same for all Services.
    pub terms: watch::Receiver<Terms>,
    /// How long to wait for more changes.
    pub patience: Patience,
    /// How often everything is compared.
    pub comparison: Duration,
}

/// The loop's state.
pub struct Reconciler {
    settings: Settings,
    pins: Pins,
    health: Arc<Health>,
    running: Option<Running>,
    comparison: Comparison,
    status: watch::Sender<Status>,
}

struct Running {
    engine: Engine,
    maps: Maps,
    sockets: Sockets,
}

impl Reconciler {
    /// A loop for the maps that are pinned there. It counts what it does in `health`; how Services
    /// are doing is told by the other end.
    pub fn new(
        settings: Settings,
        pins: Pins,
        health: Arc<Health>,
    ) -> (Self, watch::Receiver<Status>) {
        let (status, reader) = watch::channel(Status::default());
        let comparison = Comparison::every(settings.comparison);
        (Self { settings, pins, health, running: None, comparison, status }, reader)
    }

    /// Runs until the source ends.
    pub async fn run(mut self, mut published: watch::Receiver<Published>) {
        let mut changes = Debouncer::new(self.settings.patience);
        published.mark_changed();
        loop {
            let settle = self.running.as_ref().and_then(|running| running.engine.due());
            let due = [changes.due(), settle, self.comparison.due()].into_iter().flatten().min();
            tokio::select! {
                changed = published.changed() => match changed {
                    Ok(()) => changes.note(Instant::now()),
                    Err(_) => return,
                },
                Ok(()) = self.settings.terms.changed() => changes.note(Instant::now()),
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

    /// Does what is due. `seen` tells when the oldest change came, if changes are to be taken in.
    fn pass(&mut self, snapshot: &Snapshot, seen: Option<Instant>) {
        let compare = self.comparison.is_due(Instant::now());
        let outcome = self.work(snapshot, seen, compare);
        self.comparison.note(compare, outcome.is_ok(), Instant::now());
        let failure = match outcome {
            Ok(()) if compare => None,
            // What failed before is in doubt until everything was compared.
            Ok(()) => self.status.borrow().failure.clone(),
            Err(error) => {
                let text = causes(&error);
                error!("{text}");
                Some(text)
            }
        };
        self.tell(failure);
    }

    fn work(
        &mut self,
        snapshot: &Snapshot,
        seen: Option<Instant>,
        compare: bool,
    ) -> Result<(), Error> {
        let now = Instant::now();
        let is_first = self.running.is_none();
        if is_first {
            self.running = Some(self.begin(now)?);
        }
        let Some(Running { engine, maps, sockets }) = &mut self.running else { return Ok(()) };
        let mut ops = Vec::new();
        if seen.is_some() || is_first || compare {
            let terms = self.settings.terms.borrow_and_update().clone();
            ops.extend(engine.set_terms(terms, now));
            ops.extend(engine.update(snapshot, now));
        }
        ops.extend(engine.settle(now));
        let is_idle = ops.is_empty();
        let mut outcome = perform(maps, sockets, &ops, &self.health);
        if let Some(seen) = seen.filter(|_| !is_idle && outcome.is_ok()) {
            let took = seen.elapsed();
            debug!(?took, "a change of Services is in the maps");
            self.health.record_services_programmed(took);
        }
        if compare {
            let repairs = diff(&engine.ledger().tables(), &maps.read()?);
            let in_doubt = outcome.is_err() || self.status.borrow().failure.is_some();
            if !repairs.is_empty() && !in_doubt {
                warn!(count = repairs.len(), "put Services right that somebody has changed");
                self.health.record_repair("services_changed");
            }
            // What failed just now is among it.
            outcome = perform(maps, sockets, &repairs, &self.health);
        }
        outcome
    }

    fn begin(&self, now: Instant) -> Result<Running, Error> {
        let maps = Maps::open(&self.pins)?;
        let (capacity, held) = (maps.capacity()?, maps.read()?);
        info!(
            frontends = held.frontends.len(),
            backends = held.backends.len(),
            "goes on with the Services in the maps"
        );
        let ledger = Ledger::adopt(held, capacity, seed(), now);
        let Settings { node, terms, .. } = &self.settings;
        let engine = Engine::new(node, terms.borrow().clone(), ledger);
        Ok(Running { engine, maps, sockets: Sockets::open(&self.pins)? })
    }

    fn tell(&self, failure: Option<String>) {
        let status = match &self.running {
            Some(running) => Status::of(&running.engine, failure),
            None => Status { failure, ..Status::default() },
        };
        self.status.send_if_modified(|old| {
            let is_new = |name| !old.problems.contains_key(name);
            let fresh = status.problems.iter().filter(|(name, _)| is_new(*name));
            for (number, (service, problem)) in fresh.enumerate() {
                if number < LOGGED {
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

/// Does operations, and counts those that were done.
fn perform(
    maps: &mut Maps,
    sockets: &mut Sockets,
    ops: &[Op],
    health: &Health,
) -> Result<(), Error> {
    if ops.is_empty() {
        return Ok(());
    }
    info!(count = ops.len(), "programs Services");
    let mut done = BTreeMap::<&'static str, u64>::new();
    for (number, op) in ops.iter().enumerate() {
        *done.entry(op.kind()).or_default() += 1;
        if number < LOGGED {
            debug!("{op}");
        }
    }
    let gone = sockets::gone(ops);
    let failures = maps.apply(ops);
    for failure in &failures {
        done.entry(failure.op().kind()).and_modify(|count| *count -= 1);
    }
    // Whoever connects anew is given one of the others.
    let closed = sockets.close(&gone);
    if closed > 0 {
        done.insert("socket_close", closed);
    }
    health.record_operations(done);
    let count = failures.len();
    // The first is always one that the kernel refused: others need it.
    match failures.into_iter().next() {
        Some(first) => Err(Error::Operations { count, first: Box::new(first) }),
        None => Ok(()),
    }
}

/// Where ids begin: somewhere else than those of an earlier agent, which flows may remember.
fn seed() -> u32 {
    use std::hash::BuildHasher;

    // Its keys are random, and so is the hash of nothing.
    let hash = std::hash::RandomState::new().hash_one(());
    u32::try_from(hash >> 32).unwrap_or_default()
}
