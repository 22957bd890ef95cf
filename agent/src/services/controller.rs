//! Where Services meet the rest of the agent: the loop is started when the maps are there, is told
//! the node's addresses, and what it says of itself becomes a condition of readiness.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, warn};
use weir_datapath::Pins;
use weir_netlink::{Netlink, address, link};

use super::sync_loop::{Reconciler, Settings};
use crate::causes::causes;
use crate::health::{Condition, Health};
use weir_cluster::Published;
use weir_services::compile::Terms;
use weir_services::debounce::Patience;

/// How often the maps are compared. With 10,000 Services that takes 130,000 system calls, and nobody
/// but the agent writes there.
const COMPARISON: Duration = Duration::from_secs(60);

/// kube-proxy in its IPVS mode puts all cluster IPs on this link, and leaves them there.
const IPVS_LINK: &str = "kube-ipvs0";

/// What the task works on.
#[derive(Debug)]
pub struct ServiceController {
    /// This node's name.
    pub node: String,
    /// Where the maps are.
    pub pins: Pins,
    /// The node's network namespace.
    pub netlink: Netlink,
    /// How the agent is doing.
    pub health: Arc<Health>,
    /// How often the node's addresses are read, whether or not the kernel says that they are others.
    pub resync: Duration,
    /// Masquerade every flow to a cluster IP.
    pub masquerade_all: bool,
}

impl ServiceController {
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
        let mut changes = self.address_changes();
        let mut resync = interval(self.resync);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let first = loop {
            resync.tick().await;
            match self.terms().await {
                Ok(terms) => break terms,
                // Without them a Service could take an address that is bound on the node.
                Err(error) => self.report(Err(doubt(&error))),
            }
        };
        let (terms, known) = watch::channel(first);
        let settings = Settings {
            node: self.node.clone(),
            terms: known,
            patience: Patience::default(),
            comparison: COMPARISON,
        };
        let (reconciler, mut status) =
            Reconciler::new(settings, self.pins.clone(), Arc::clone(&self.health));
        if let Err(error) = start(reconciler, published) {
            let failure = format!("start a thread for Services: {error}");
            error!("{failure}");
            self.report(Err(failure));
            return;
        }
        loop {
            tokio::select! {
                changed = status.changed() => {
                    if changed.is_err() {
                        return self.report(Err("nobody follows Services any more".to_owned()));
                    }
                    let status = status.borrow_and_update();
                    self.health.record_services(&status);
                    self.report(status.condition());
                },
                Some(()) = changes.next() => {
                    // Many may come and go at once: they are read once for all that is known of.
                    while let Some(Some(())) = changes.next().now_or_never() {}
                    self.renew(&terms).await;
                },
                _ = resync.tick() => self.renew(&terms).await,
            }
        }
    }

    /// What the kernel says of addresses; nothing, if it cannot be asked to.
    fn address_changes(&self) -> Pin<Box<dyn Stream<Item = ()> + Send>> {
        match address::changes(&self.netlink) {
            Ok(changes) => Box::pin(changes),
            Err(error) => {
                warn!("addresses of the node are noticed late: {}", causes(&error));
                Box::pin(stream::pending())
            }
        }
    }

    async fn renew(&self, terms: &watch::Sender<Terms>) {
        match self.terms().await {
            Ok(found) => {
                terms.send_if_modified(|known| {
                    let is_new = *known != found;
                    *known = found;
                    is_new
                });
            }
            // Those that are known go on holding.
            Err(error) => warn!("{}", doubt(&error)),
        }
    }

    fn report(&self, condition: Result<(), String>) {
        self.health.set(Condition::ServicesProgrammed, condition);
    }

    /// What is bound to an address of the node comes before a Service with that address.
    async fn terms(&self) -> Result<Terms, weir_netlink::Error> {
        let links = link::list(&self.netlink).await?;
        let ipvs = links.into_iter().find(|link| link.name == IPVS_LINK).map(|link| link.index);
        let addresses = address::list_all(&self.netlink).await?.into_iter();
        let held: BTreeSet<IpAddr> = addresses
            .filter(|address| Some(address.link) != ipvs)
            .map(|address| address.network.ip())
            .collect();
        Ok(Terms { held, masquerade_all: self.masquerade_all })
    }
}

fn doubt(error: &weir_netlink::Error) -> String {
    format!("the node's addresses cannot be read: {}", causes(error))
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
