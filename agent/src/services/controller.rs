//! Connects the sync loop to the agent: starts the loop when the maps exist, passes the node's
//! addresses to it, and reports its status as a condition of readiness.

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

use super::sweeper::Sweeper;
use super::sync_loop::{SyncConfig, SyncLoop};
use crate::causes::causes;
use crate::datapath::UDP_IDLE_SECONDS;
use crate::events::Concern;
use crate::health::{Condition, Health};
use weir_cluster::Published;
use weir_services::compile::NodeContext;
use weir_services::debounce::DebounceWindow;

/// How often the maps are compared with their desired contents. With 10,000 Services that takes
/// 130,000 system calls, and only the agent writes the maps.
const MAP_RESYNC_PERIOD: Duration = Duration::from_secs(60);

/// kube-proxy in IPVS mode binds all cluster IPs to this link, and does not remove them when it
/// ends.
const IPVS_LINK: &str = "kube-ipvs0";

/// Keeps Services in the maps.
#[derive(Debug)]
pub struct ServiceController {
    /// The name of this node.
    pub node: String,
    /// Where the maps are pinned.
    pub pins: Pins,
    /// The node's network namespace.
    pub netlink: Netlink,
    /// The agent's health.
    pub health: Arc<Health>,
    /// How often the node's addresses are read without a notification from the kernel.
    pub resync: Duration,
    /// Masquerade every flow to a cluster IP.
    pub masquerade_all: bool,
}

impl ServiceController {
    /// Keeps the maps as the published snapshots require. Begins when `loaded` says that the maps
    /// exist, and runs until the process ends. `concerns` gets those about flows.
    pub async fn run(
        self,
        published: watch::Receiver<Published>,
        mut loaded: watch::Receiver<bool>,
        concerns: watch::Sender<BTreeSet<Concern>>,
    ) {
        // The sender is dropped only when the agent ends.
        if loaded.wait_for(|loaded| *loaded).await.is_err() {
            return;
        }
        let sweeper = Sweeper {
            pins: self.pins.clone(),
            stream: UDP_IDLE_SECONDS,
            health: Arc::clone(&self.health),
            concerns,
        };
        if let Err(error) = sweeper.start() {
            let failure = format!("start a thread that removes flows: {error}");
            error!("{failure}");
            self.health.set(Condition::FlowsSwept, Err(failure));
        }
        let mut changes = self.address_changes();
        let mut resync = interval(self.resync);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let first = loop {
            resync.tick().await;
            match self.read_context().await {
                Ok(context) => break context,
                // Without the addresses, a Service could take an address that is bound on the node.
                Err(error) => self.report(Err(read_failure(&error))),
            }
        };
        let (context, receiver) = watch::channel(first);
        let config = SyncConfig {
            node: self.node.clone(),
            context: receiver,
            debounce: DebounceWindow::default(),
            resync_period: MAP_RESYNC_PERIOD,
        };
        let (sync_loop, mut status) =
            SyncLoop::new(config, self.pins.clone(), Arc::clone(&self.health));
        if let Err(error) = start(sync_loop, published) {
            let failure = format!("start a thread for Services: {error}");
            error!("{failure}");
            self.report(Err(failure));
            return;
        }
        loop {
            tokio::select! {
                changed = status.changed() => {
                    if changed.is_err() {
                        return self.report(Err("the sync loop of Services has ended".to_owned()));
                    }
                    let status = status.borrow_and_update();
                    self.health.record_services(&status);
                    self.report(status.condition());
                },
                Some(()) = changes.next() => {
                    // Many addresses may change at once: one read is enough for all pending
                    // notifications.
                    while let Some(Some(())) = changes.next().now_or_never() {}
                    self.update_context(&context).await;
                },
                _ = resync.tick() => self.update_context(&context).await,
            }
        }
    }

    /// The kernel's notifications of address changes. Empty if the subscription fails.
    fn address_changes(&self) -> Pin<Box<dyn Stream<Item = ()> + Send>> {
        match address::changes(&self.netlink) {
            Ok(changes) => Box::pin(changes),
            Err(error) => {
                warn!("changes of the node's addresses are noticed late: {}", causes(&error));
                Box::pin(stream::pending())
            }
        }
    }

    async fn update_context(&self, context: &watch::Sender<NodeContext>) {
        match self.read_context().await {
            Ok(found) => {
                context.send_if_modified(|known| {
                    let changed = *known != found;
                    *known = found;
                    changed
                });
            }
            // The known addresses stay in use.
            Err(error) => warn!("{}", read_failure(&error)),
        }
    }

    fn report(&self, condition: Result<(), String>) {
        self.health.set(Condition::ServicesProgrammed, condition);
    }

    /// Reads the addresses of the node. A Service with such an address is not served here, except
    /// if the address is on the link of kube-proxy.
    async fn read_context(&self) -> Result<NodeContext, weir_netlink::Error> {
        let links = link::list(&self.netlink).await?;
        let ipvs = links.into_iter().find(|link| link.name == IPVS_LINK).map(|link| link.index);
        let addresses = address::list_all(&self.netlink).await?.into_iter();
        let bound_addresses: BTreeSet<IpAddr> = addresses
            .filter(|address| Some(address.link) != ipvs)
            .map(|address| address.network.ip())
            .collect();
        Ok(NodeContext { bound_addresses, masquerade_all: self.masquerade_all })
    }
}

fn read_failure(error: &weir_netlink::Error) -> String {
    format!("cannot read the node's addresses: {}", causes(error))
}

/// Starts the loop on a thread of its own. Writing many Services takes a while, and the overlay
/// must not wait for it.
fn start(sync_loop: SyncLoop, published: watch::Receiver<Published>) -> Result<(), std::io::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let run = move || runtime.block_on(sync_loop.run(published));
    thread::Builder::new().name("services".to_owned()).spawn(run).map(drop)
}
