//! The loop that keeps the node as the cluster says.
//!
//! A pass compares everything with the kernel and does what is missing. It runs when the source has
//! a new snapshot, when the kernel tells of a change to something of Weir's, and after a while without
//! either. A pass that finds all as it should be writes nothing.
//!
//! What a new snapshot changes is found by comparing it with the one before, as long as the kernel has
//! told of nothing that others have done: a peer among thousands costs no look at the others. And the
//! comparison with the kernel that a resync is makes way for a new snapshot.
//!
//! Until the source has a snapshot and this node its subnets, nothing is touched: what an earlier agent
//! has programmed goes on working.

mod concerns;
mod done;
mod echo;
mod error;
mod headroom;
mod node;
mod overlay;
mod pod_network;
mod programs;
mod source_nat;
mod trigger;
mod way;

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use tokio::sync::watch;
use tracing::{debug, error, info, warn};
use weir_cluster::Published;
use weir_netlink::Netlink;

use self::{
    done::{Done, Ending},
    error::{Error, chain},
    headroom::Tenants,
    overlay::{Overlay, Programmed},
    programs::Programs,
    trigger::{Interests, Trigger, Triggers},
    way::Way,
};
use weir_model::{Node, Snapshot};

use crate::{
    availability::Availability,
    datapath::plan::Surroundings,
    events::{Concern, Events},
    health::{Condition, Health, Pass},
    install::PodNetwork,
    masquerade::{self, Masquerade},
    net_conf::{Backend, NetConf},
    options::Options,
    overlay::{
        apply::Failure,
        identity::tunnel_name,
        peers::{Selection, select},
        plan::{Desired, enabled, plan},
    },
    underlay::{self, Uplink},
};

/// The reconciler with all that it works on.
#[derive(Debug)]
pub struct Reconciler {
    options: Options,
    conf: NetConf,
    netlink: Netlink,
    health: Arc<Health>,
    events: Events,
    availability: Availability,
    programs: Programs,
    /// What masquerading was last made from; it is looked at again when that changes, when the
    /// kernel tells of a change of the table, and with every resync.
    masquerade: Option<Masquerade>,
    uplinks: Vec<Uplink>,
    overlay: Overlay,
    /// What the last look at foreign firewalls found.
    forwarding: BTreeSet<Concern>,
    /// When that was.
    forwarding_seen: Option<Instant>,
    /// What the last look at the kernel's limits found.
    headroom: BTreeSet<Concern>,
    /// The snapshot of the last pass that found or made everything right.
    settled: Option<Arc<Snapshot>>,
    /// Since when resyncs have made way for new snapshots.
    made_way: Option<Instant>,
}

impl Reconciler {
    /// A reconciler for the network namespace that `netlink` belongs to.
    pub fn new(
        options: Options,
        conf: NetConf,
        netlink: Netlink,
        health: Arc<Health>,
        events: Events,
        availability: Availability,
    ) -> Self {
        if !options.services {
            health.set(Condition::ServicesProgrammed, Ok(()));
        }
        Self {
            programs: Programs::new(&options, Arc::clone(&health)),
            options,
            conf,
            netlink,
            health,
            events,
            availability,
            masquerade: None,
            uplinks: Vec::new(),
            overlay: Overlay::default(),
            forwarding: BTreeSet::new(),
            forwarding_seen: None,
            headroom: BTreeSet::new(),
            settled: None,
            made_way: None,
        }
    }

    /// Becomes true when the maps of Services are there, which others write.
    pub fn maps_loaded(&self) -> watch::Receiver<bool> {
        self.programs.loaded()
    }

    /// Runs until the process ends.
    pub async fn run(
        mut self,
        published: watch::Receiver<Published>,
    ) -> Result<(), weir_netlink::Error> {
        let changes = trigger::changes(&self.netlink)?;
        let resync = std::time::Duration::from_secs(self.options.resync_seconds);
        let mut triggers = Triggers::new(published, changes, resync);
        loop {
            let trigger = triggers.next(&self.interests()).await;
            self.health.beat();
            if triggers.take_table_doubt() {
                self.masquerade = None;
            }
            let filters = triggers.take_filters_in_doubt();
            let mut succeeded = self.programs.restore(&self.netlink, &filters).await;
            if !trigger.is_of_filters() {
                let published = triggers.published();
                let mut way = Way::new(&trigger, triggers.right_of_way(), self.made_way, resync);
                match self.pass(&trigger, published.snapshot, &mut way).await {
                    Ending::Succeeded => {}
                    Ending::Failed => succeeded = false,
                    Ending::MadeWay => triggers.resync_soon(),
                }
            }
            triggers.retry_soon(!succeeded);
        }
    }

    fn interests(&self) -> Interests {
        Interests {
            tunnel: self.tunnel_name(),
            tunnel_index: self.overlay.tunnel(),
            bridge: self.options.bridge.clone(),
            uplinks: self.uplinks.iter().map(|uplink| uplink.link).collect(),
            desired: Arc::clone(self.overlay.desired()),
            programs: self.programs.numbers(),
        }
    }

    /// The name of the tunnel device. In host-gw mode there is none; the default one is looked for,
    /// to remove what another mode has left.
    fn tunnel_name(&self) -> String {
        match self.conf.backend {
            Backend::Vxlan(vxlan) => tunnel_name(vxlan.vni),
            Backend::HostGateway => tunnel_name(1),
        }
    }

    /// One pass.
    async fn pass(
        &mut self,
        trigger: &Trigger,
        snapshot: Option<Arc<Snapshot>>,
        way: &mut Way,
    ) -> Ending {
        let Some(snapshot) = snapshot else {
            debug!("the source has not seen the cluster yet");
            return Ending::Succeeded;
        };
        let began = Instant::now();
        let mut done = Done::default();
        let outcome = self.reconcile(trigger, &snapshot, way, &mut done).await;
        let Done { peers_known, peers_programmed, operations } = done;
        if matches!(outcome, Err(Error::MadeWay)) {
            debug!(?trigger, "makes way for a new snapshot");
            self.made_way.get_or_insert(began);
            self.health.record_operations(operations);
            return Ending::MadeWay;
        }
        if *trigger == Trigger::Resync {
            self.made_way = None;
        }
        let error = outcome.as_ref().err().map(chain);
        if let Some(error) = &error {
            error!(?trigger, "{error}");
        }
        let repaired = self.settled.as_ref() == Some(&snapshot) && !operations.is_empty();
        if let Some(cause) = trigger.cause().filter(|_| repaired) {
            self.health.record_repair(cause);
        }
        self.settled = error.is_none().then_some(snapshot);
        let took = began.elapsed();
        let count: u64 = operations.values().sum();
        if count > 0 {
            info!(?trigger, repaired, count, ?took, peers_known, peers_programmed, "reconciled");
        } else {
            debug!(?trigger, ?took, "nothing to do");
        }
        let ending = if error.is_none() { Ending::Succeeded } else { Ending::Failed };
        self.health.record(Pass { took, peers_known, peers_programmed, operations, error });
        ending
    }

    async fn reconcile(
        &mut self,
        trigger: &Trigger,
        snapshot: &Snapshot,
        way: &mut Way,
        done: &mut Done,
    ) -> Result<(), Error> {
        let Selection { own, peers, refused } = select(snapshot, &self.options.node_name);
        let mut concerns: BTreeSet<Concern> =
            refused.iter().filter_map(concerns::of_refusal).collect();
        let Some(own) = self.own_node(own, &mut concerns) else { return Ok(()) };

        self.uplinks = underlay::find(&self.netlink, &own.underlay_ips).await?;
        let planned = plan(&self.conf, &own, &peers, &self.uplinks);
        if let Ok((_, unreachable)) = &planned {
            let uplink = self.uplinks.first().map_or("", |uplink| uplink.name.as_str());
            let of_peer = |found| concerns::of_unreachable(found, uplink);
            concerns.extend(unreachable.iter().filter_map(of_peer));
        }
        concerns.extend(self.forwarding.iter().chain(&self.headroom).cloned());
        concerns.extend(self.programs.obstacle());
        concerns.extend(self.availability.concern(&own));
        self.health.record_concerns(&concerns);
        self.events.report(Some(&own), concerns);
        let (desired, unreachable) = planned?;
        let desired = Arc::new(desired);

        done.peers_known = peers.len();
        let failures = self.program(trigger, &desired, way, done).await?;
        let cut_off: BTreeSet<&str> = unreachable.iter().map(|found| found.node.as_str()).collect();
        done.peers_programmed = peers.len().saturating_sub(failures.len().max(cut_off.len()));

        if desired.tunnel.is_some() && self.overlay.tunnel().is_none() {
            return Err(Error::Operations(failures));
        }
        way.yield_if_claimed()?;

        let network = pod_network::of(&self.conf, snapshot, &own, &desired, self.options.ip_masq);
        node::ensure_parameters(&desired, &network)?;
        if node::ensure_offload(&desired, self.options.tx_checksum)? {
            *done.operations.entry("offload_set").or_default() += 1;
        }
        // Before the configuration: a pod is born with its Services.
        self.ensure_programs(trigger, &own, &peers, &desired, done).await?;
        way.yield_if_claimed()?;
        let bridge = &self.options.bridge;
        node::follow_subnets(&self.netlink, bridge, &network, &mut done.operations).await?;
        self.ensure_masquerade(trigger, &own, &peers, (&desired, &network), done).await?;
        node::write_files(&self.options, &network)?;
        self.health.set(Condition::ConfigurationWritten, Ok(()));
        self.availability.network_is_made(&own);
        if trigger.is_resync() {
            let (bridge, uplinks) = (&*self.options.bridge, &*self.uplinks);
            let tenants = Tenants { bridge, network: &network, peers: &peers, uplinks };
            self.headroom = tenants.check(&self.netlink, &self.health).await?;
        }
        way.yield_if_claimed()?;
        let now = Instant::now();
        if concerns::is_forwarding_due(self.forwarding_seen, now, trigger) {
            self.forwarding_seen = Some(now);
            let overlay = desired.tunnel.as_ref().map(|tunnel| tunnel.name.clone());
            self.forwarding =
                concerns::of_forwarding(&network, &self.options.bridge, overlay).await;
        }
        if failures.is_empty() { Ok(()) } else { Err(Error::Operations(failures)) }
    }

    /// This node, if it can have pods.
    fn own_node(
        &mut self,
        own: Option<Arc<Node>>,
        concerns: &mut BTreeSet<Concern>,
    ) -> Option<Arc<Node>> {
        let name = &self.options.node_name;
        let Some(own) = own else {
            let reason = format!("the cluster has no node {name:?}; see --node-name");
            warn!("{reason}");
            self.health.set(Condition::SubnetsAssigned, Err(reason));
            return None;
        };
        if enabled(&self.conf, &own).next().is_none() {
            concerns.insert(Concern::PodCidrMissing);
            let reason = Concern::PodCidrMissing.to_string();
            self.health.set(Condition::SubnetsAssigned, Err(reason));
            self.health.record_concerns(concerns);
            self.events.report(Some(&own), std::mem::take(concerns));
            return None;
        }
        self.health.set(Condition::SubnetsAssigned, Ok(()));
        Some(own)
    }

    /// Makes the overlay in the kernel what is desired. After a new snapshot, what the last pass has
    /// left is what there is; otherwise the kernel is asked.
    async fn program(
        &mut self,
        trigger: &Trigger,
        desired: &Arc<Desired>,
        way: &mut Way,
        done: &mut Done,
    ) -> Result<Vec<Failure>, Error> {
        let tunnel = self.tunnel_name();
        let remembered = match trigger {
            Trigger::Source => self.overlay.remembered(desired),
            _ => None,
        };
        let observed = match remembered {
            Some(observed) => observed,
            None => way.unless_claimed(Overlay::observe(&self.netlink, &tunnel, desired)).await?,
        };
        let desired = Arc::clone(desired);
        let programmed = self.overlay.program(&self.netlink, &tunnel, desired, &observed);
        let Programmed { operations, failures } = programmed.await?;
        done.add(operations);
        Ok(failures)
    }

    async fn ensure_programs(
        &mut self,
        trigger: &Trigger,
        own: &Node,
        peers: &[Arc<Node>],
        overlay: &Desired,
        done: &mut Done,
    ) -> Result<(), Error> {
        let Self { conf, uplinks, netlink, programs, overlay: known, .. } = self;
        let tunnel = known.tunnel().filter(|_| overlay.tunnel.is_some());
        let surroundings = Surroundings { conf, own, peers, overlay, tunnel, uplinks };
        done.add(programs.ensure(netlink, &surroundings, trigger.is_resync()).await?);
        Ok(())
    }

    async fn ensure_masquerade(
        &mut self,
        trigger: &Trigger,
        own: &Node,
        peers: &[Arc<Node>],
        (desired, network): (&Desired, &PodNetwork),
        done: &mut Done,
    ) -> Result<(), Error> {
        let marks = self.programs.set_marks();
        let wanted = source_nat::wanted(&self.options, desired, own, peers, network, marks);
        if self.masquerade.as_ref() == Some(&wanted) && !trigger.is_resync() {
            return Ok(());
        }
        self.masquerade = None;
        if let masquerade::Outcome::Written(reason) = masquerade::ensure(&wanted).await? {
            info!(?reason, "wrote the nftables table");
            *done.operations.entry("nftables_write").or_default() += 1;
        }
        self.masquerade = Some(wanted);
        Ok(())
    }
}
