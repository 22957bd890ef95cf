//! Where Services meet the rest of the agent: the loop is started when the maps are there, is told
//! the node's addresses, and what it says of itself becomes a condition of readiness.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, warn};
use weir_datapath::Pins;
use weir_netlink::{Netlink, address, link};

use super::compile::Terms;
use super::debounce::Patience;
use super::reconcile::{Reconciler, Settings, Status};
use crate::health::{Condition, Health};
use crate::source::Published;

/// kube-proxy in its IPVS mode puts all cluster IPs on this link, and leaves them there.
const IPVS_LINK: &str = "kube-ipvs0";

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
    /// How often the maps are compared, and the node's addresses read.
    pub resync: Duration,
}

impl Follower {
    /// Keeps the maps as what is published says, once `loaded` says that they are there. Runs until
    /// the process ends.
    pub async fn run(
        self,
        published: watch::Receiver<Published>,
        mut loaded: watch::Receiver<bool>,
    ) {
        // Only an agent that ends drops the other end.
        if loaded.wait_for(|loaded| *loaded).await.is_err() {
            return;
        }
        let mut resync = interval(self.resync);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        resync.tick().await;
        let (terms, known) = watch::channel(self.terms().await.unwrap_or_default());
        let Self { node, pins, resync: period, .. } = &self;
        let patience = Patience::default();
        let settings = Settings { node: node.clone(), terms: known, patience, resync: *period };
        let (reconciler, mut status) = Reconciler::new(settings, pins.clone());
        if let Err(error) = start(reconciler, published) {
            error!(%error, "Services cannot be served: no thread for them");
            return;
        }
        loop {
            tokio::select! {
                changed = status.changed() => match changed {
                    Ok(()) => self.report(&status.borrow_and_update()),
                    Err(_) => return,
                },
                _ = resync.tick() => if let Some(found) = self.terms().await {
                    terms.send_if_modified(|known| {
                        let is_new = *known != found;
                        *known = found;
                        is_new
                    });
                },
            }
        }
    }

    /// What is bound to an address of the node comes before a Service with that address.
    async fn terms(&self) -> Option<Terms> {
        let read = async || {
            let links = link::list(&self.netlink).await?;
            let ipvs = links.into_iter().find(|link| link.name == IPVS_LINK);
            let ipvs = ipvs.map(|link| link.index);
            let addresses = address::list_all(&self.netlink).await?.into_iter();
            let held: BTreeSet<IpAddr> = addresses
                .filter(|address| Some(address.link) != ipvs)
                .map(|address| address.network.ip())
                .collect();
            Ok(Terms { held, ..Terms::default() })
        };
        let terms: Result<Terms, weir_netlink::Error> = read().await;
        terms.inspect_err(|error| warn!(%error, "the node's addresses cannot be read")).ok()
    }

    fn report(&self, status: &Status) {
        let condition = if status.begun { Ok(()) } else { Err("not yet".to_owned()) };
        self.health.set(Condition::ServicesProgrammed, condition);
    }
}

/// On a thread of its own: writing many Services takes a while, and the overlay does not wait.
fn start(
    reconciler: Reconciler,
    published: watch::Receiver<Published>,
) -> Result<(), std::io::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let run = move || runtime.block_on(reconciler.run(published));
    thread::Builder::new().name("services".to_owned()).spawn(run).map(drop)
}
