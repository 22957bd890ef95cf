//! The task that keeps the maps as the cluster's Services say.
//!
//! It begins with what the maps hold, so that an agent that starts disturbs nothing, and touches
//! nothing before the source knows all of the cluster. A change goes into the maps a moment after it
//! came; every resync compares the maps with what should be there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracing::{debug, error, info, warn};
use weir_datapath::Pins;
use weir_netlink::{Netlink, address, link};

use super::compile::Terms;
use super::debounce::{Debouncer, Patience};
use super::diff::{Op, diff};
use super::engine::Engine;
use super::kernel::Maps;
use super::ledger::Ledger;
use crate::health::{Condition, Health};
use crate::reconcile::causes;
use crate::source::Published;

/// Operations of one change that are logged one by one.
const LOGGED: usize = 10;

/// kube-proxy in its IPVS mode puts all cluster IPs on this link, and leaves them there.
const IPVS_LINK: &str = "kube-ipvs0";

/// Why Services are not in the maps.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the maps cannot be read or changed")]
    Maps(#[from] weir_datapath::Error),
    #[error("the node's addresses cannot be read")]
    Netlink(#[from] weir_netlink::Error),
}

/// What the task works on.
#[derive(Debug)]
pub struct Follower {
    /// This node's name.
    pub node: String,
    /// Where the maps are.
    pub pins: Pins,
    /// The node's network namespace.
    pub netlink: Netlink,
    /// How the agent is doing.
    pub health: Arc<Health>,
    /// How often the maps are compared.
    pub resync: Duration,
}

/// The maps with what they should hold.
struct Books {
    maps: Maps,
    engine: Engine,
    /// An operation failed: the maps are not what the ledger says.
    is_in_doubt: bool,
}

impl Follower {
    /// Follows what is published, once `loaded` says that the maps are there. Runs until the process
    /// ends.
    pub async fn run(
        self,
        mut published: watch::Receiver<Published>,
        mut loaded: watch::Receiver<bool>,
    ) {
        // Only an agent that ends drops the other end.
        if loaded.wait_for(|loaded| *loaded).await.is_err() {
            return;
        }
        let mut resync = interval(self.resync);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut debouncer = Debouncer::new(Patience::default());
        let mut books = None;
        loop {
            let due = debouncer.due().into_iter().chain(books.as_ref().and_then(Books::due)).min();
            let due = due.unwrap_or_else(|| Instant::now() + self.resync);
            let is_resync = tokio::select! {
                changed = published.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    debouncer.note(Instant::now());
                    false
                }
                () = sleep_until(due.into()) => false,
                _ = resync.tick() => true,
            };
            let is_due = debouncer.take(Instant::now());
            if let Err(error) = self.work(&mut books, &published, is_due, is_resync).await {
                let text = causes(&error);
                error!("{text}");
                self.health.set(Condition::ServicesProgrammed, Err(text));
                if let Some(books) = &mut books {
                    books.is_in_doubt = true;
                }
            }
        }
    }

    async fn work(
        &self,
        books: &mut Option<Books>,
        published: &watch::Receiver<Published>,
        is_due: bool,
        is_resync: bool,
    ) -> Result<(), Error> {
        let world = published.borrow().world.clone();
        let Some(world) = world else { return Ok(()) };
        let is_first = books.is_none();
        if is_first {
            *books = Some(self.open().await?);
        }
        let Some(books) = books else { return Ok(()) };
        let began = Instant::now();
        let mut ops = Vec::new();
        if is_due || is_first {
            ops.extend(books.engine.update(&world, began));
        }
        ops.extend(books.engine.settle(began));
        let is_in_doubt = books.is_in_doubt;
        books.apply(&ops)?;
        if is_resync {
            let more = books.engine.set_terms(self.terms().await?, began);
            books.apply(&more)?;
            ops.extend(more);
        }
        if is_resync {
            let repairs = books.compare()?;
            if !repairs.is_empty() {
                warn!(count = repairs.len(), "put Services right that somebody has changed");
            }
            ops.extend(repairs);
        }
        if is_due || is_first || is_in_doubt || !ops.is_empty() {
            self.report(books, &ops, began.elapsed());
        }
        Ok(())
    }

    async fn open(&self) -> Result<Books, Error> {
        let mut maps = Maps::open(&self.pins)?;
        let observed = maps.read()?;
        info!(
            frontends = observed.frontends.len(),
            backends = observed.backends.len(),
            "goes on with the Services in the maps"
        );
        let ledger = Ledger::adopt(observed, maps.capacity()?, seed(), Instant::now());
        let engine = Engine::new(&self.node, self.terms().await?, ledger);
        Ok(Books { maps, engine, is_in_doubt: false })
    }

    /// What is bound to an address of the node comes before a Service with that address.
    async fn terms(&self) -> Result<Terms, Error> {
        let links = link::list(&self.netlink).await?;
        let ipvs = links.into_iter().find(|link| link.name == IPVS_LINK).map(|link| link.index);
        let addresses = address::list_all(&self.netlink).await?.into_iter();
        let held: BTreeSet<IpAddr> = addresses
            .filter(|address| Some(address.link) != ipvs)
            .map(|address| address.network.ip())
            .collect();
        Ok(Terms { held, ..Terms::default() })
    }

    fn report(&self, books: &Books, ops: &[Op], took: Duration) {
        for op in ops.iter().take(LOGGED) {
            debug!("{op}");
        }
        let mut kinds = BTreeMap::<&'static str, u64>::new();
        for op in ops {
            *kinds.entry(op.kind()).or_default() += 1;
        }
        self.health.record_operations(kinds);
        if ops.is_empty() {
            debug!(?took, "Services are as they should be");
        } else {
            info!(count = ops.len(), ?took, "programmed Services");
        }
        for (service, problem) in books.engine.ledger().problems() {
            warn!(%service, "{problem}");
        }
        self.health.set(Condition::ServicesProgrammed, Ok(()));
    }
}

impl Books {
    fn due(&self) -> Option<Instant> {
        let soon = || Instant::now() + Duration::from_secs(1);
        let doubt = self.is_in_doubt.then(soon);
        self.engine.ledger().due().into_iter().chain(doubt).min()
    }

    /// Carries out operations in their order; after one that fails everything is compared.
    fn apply(&mut self, ops: &[Op]) -> Result<(), Error> {
        for op in ops {
            if let Err(error) = self.maps.apply(op) {
                self.is_in_doubt = true;
                return Err(error.into());
            }
        }
        if self.is_in_doubt {
            self.compare()?;
        }
        Ok(())
    }

    /// Puts right what differs; tells what did.
    fn compare(&mut self) -> Result<Vec<Op>, Error> {
        let ops = diff(&self.engine.ledger().tables(), &self.maps.read()?);
        for op in &ops {
            self.maps.apply(op)?;
        }
        self.is_in_doubt = false;
        Ok(ops)
    }
}

/// A number that an earlier agent has probably not begun with.
fn seed() -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default();
    // A second is a step of 4,096 ids: two agents of one node do not start that close together.
    #[expect(clippy::cast_possible_truncation, reason = "it starts over after twelve days")]
    let seed = (now.as_millis() * 4) as u32;
    seed
}
