//! The loop that keeps the maps as the cluster says.
//!
//! It begins with the first world, and with what the maps hold then. Changes are taken in when a
//! burst of them is over; now and then everything is compared. It waits for the kernel in between,
//! a moment for each entry: give it a thread of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;
use tracing::{debug, error, info, warn};
use weir_datapath::{Error, Pins};

use super::apply::{Failure, Maps};
use super::compile::Terms;
use super::debounce::{Debouncer, Patience};
use super::diff::{Op, diff};
use super::engine::Engine;
use super::ledger::{Ledger, Use};
use crate::model::{Family, ObjectName, World};
use crate::source::Published;

/// What failed is tried again after this, not only at the next resync.
const RETRY: Duration = Duration::from_secs(1);

/// How the loop works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of this node.
    pub node: String,
    /// What is the same for all Services.
    pub terms: watch::Receiver<Terms>,
    /// How long to wait for more changes.
    pub patience: Patience,
    /// Compare everything at least this often.
    pub resync: Duration,
}

/// How Services are doing, for health, metrics and people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether a world has been taken in.
    pub begun: bool,
    /// What is not as it should be, by Service.
    pub problems: BTreeMap<ObjectName, String>,
    /// What is in use of each family's maps.
    pub in_use: BTreeMap<Family, Use>,
    /// Slots that are free, or soon will be.
    pub free_slots: u32,
}

/// The loop's state.
pub struct Reconciler {
    settings: Settings,
    pins: Pins,
    running: Option<Running>,
    /// When to compare everything.
    compare_at: Instant,
    status: watch::Sender<Status>,
}

struct Running {
    engine: Engine,
    maps: Maps,
}

impl Reconciler {
    /// A loop for the maps that are pinned there, or will be.
    pub fn new(settings: Settings, pins: Pins) -> (Self, watch::Receiver<Status>) {
        let (status, reader) = watch::channel(Status::default());
        let compare_at = Instant::now();
        (Self { settings, pins, running: None, compare_at, status }, reader)
    }

    /// Runs until the source ends.
    pub async fn run(mut self, mut published: watch::Receiver<Published>) {
        let mut changes = Debouncer::new(self.settings.patience);
        published.mark_changed();
        loop {
            let settle = self.running.as_ref().and_then(|running| running.engine.due());
            let due = [changes.due(), settle, Some(self.compare_at)].into_iter().flatten().min();
            let due = due.unwrap_or(self.compare_at);
            tokio::select! {
                changed = published.changed() => match changed {
                    Ok(()) => {
                        published.mark_unchanged();
                        changes.note(Instant::now());
                    }
                    Err(_) => return,
                },
                Ok(()) = self.settings.terms.changed() => {
                    let terms = self.settings.terms.borrow_and_update().clone();
                    self.take_terms(terms, Instant::now());
                }
                () = sleep_until(due.into()) => {
                    let now = Instant::now();
                    let compare = self.compare_at <= now;
                    if changes.take(now) || compare {
                        let world = published.borrow().world.clone();
                        if let Some(world) = world {
                            self.take_in(&world, now);
                        }
                    }
                    self.pass(compare, now);
                }
            }
        }
    }

    /// Begins with the first world, and takes later ones in.
    fn take_in(&mut self, world: &World, now: Instant) {
        if self.running.is_none() {
            match self.begin(now) {
                Ok(running) => self.running = Some(running),
                Err(error) => {
                    error!(error = &error as &dyn std::error::Error, "Services cannot be served");
                    self.compare_at = now + RETRY;
                    return;
                }
            }
        }
        let Some(Running { engine, maps }) = &mut self.running else { return };
        let ops = engine.update(world, now);
        if !ops.is_empty() {
            debug!(count = ops.len(), "Services have changed");
        }
        if !apply(maps, ops) {
            self.compare_at = self.compare_at.min(now + RETRY);
        }
    }

    fn take_terms(&mut self, terms: Terms, now: Instant) {
        let Some(Running { engine, maps }) = &mut self.running else { return };
        if !apply(maps, engine.set_terms(terms, now)) {
            self.compare_at = self.compare_at.min(now + RETRY);
        }
    }

    fn begin(&self, now: Instant) -> Result<Running, Error> {
        let maps = Maps::open(&self.pins)?;
        let (capacity, held) = (maps.capacity()?, maps.read()?);
        info!(
            frontends = held.frontends.len(),
            backends = held.backends.len(),
            "found Services in the maps"
        );
        let ledger = Ledger::adopt(held, capacity, seed(), now);
        let Settings { node, terms, .. } = &self.settings;
        Ok(Running { engine: Engine::new(node, terms.borrow().clone(), ledger), maps })
    }

    /// Does what is due, and compares everything if it is time to.
    fn pass(&mut self, compare: bool, now: Instant) {
        let Some(Running { engine, maps }) = &mut self.running else {
            if compare {
                self.compare_at = now + RETRY;
            }
            return;
        };
        let mut succeeded = apply(maps, engine.settle(now));
        if compare {
            succeeded &= match maps.read() {
                Ok(held) => {
                    let repairs = diff(&engine.ledger().tables(), &held);
                    if !repairs.is_empty() {
                        warn!(count = repairs.len(), "the maps were not as they should be");
                    }
                    apply(maps, repairs)
                }
                Err(error) => {
                    error!(error = &error as &dyn std::error::Error, "the maps cannot be read");
                    false
                }
            };
            self.compare_at = now + self.settings.resync;
        }
        if !succeeded {
            self.compare_at = self.compare_at.min(now + RETRY);
        }
        let status = status(engine);
        self.status.send_if_modified(|old| {
            for (name, problem) in &status.problems {
                if old.problems.get(name) != Some(problem) {
                    warn!(service = %name, "{problem}");
                }
            }
            let changed = *old != status;
            *old = status;
            changed
        });
    }
}

/// Does operations. Returns whether all succeeded.
fn apply(maps: &mut Maps, ops: Vec<Op>) -> bool {
    let failures = maps.apply(ops);
    let refused = failures.iter().find(|failure| matches!(failure, Failure::Refused { .. }));
    if let Some(first) = refused.or(failures.first()) {
        let error = first as &dyn std::error::Error;
        error!(count = failures.len(), error, "operations on the maps failed, the first");
    }
    failures.is_empty()
}

fn status(engine: &Engine) -> Status {
    let ledger = engine.ledger();
    let (free, resting) = ledger.free_slots();
    let of_family = |family| (family, ledger.in_use(family));
    let problems = ledger.problems().map(|(name, problem)| (name.clone(), problem.to_string()));
    Status {
        begun: true,
        problems: problems.collect(),
        in_use: [Family::V4, Family::V6].map(of_family).into(),
        free_slots: free + resting,
    }
}

/// Where ids begin: somewhere else than those of an earlier agent, which flows may remember.
fn seed() -> u32 {
    use std::hash::BuildHasher;

    // Its keys are random, and so is the hash of nothing.
    let hash = std::hash::RandomState::new().hash_one(());
    u32::try_from(hash >> 32).unwrap_or_default()
}
