//! The reconcile loop: it keeps the node's network as the cluster's state requires.
//!
//! A pass compares the desired state with the kernel and makes the missing changes. A pass runs when
//! the source has a new snapshot, when the kernel notifies about a change of one of Weir's objects,
//! and after the resync interval. A pass that finds everything as desired writes nothing.
//!
//! A pass for a new snapshot compares it with the state that the last pass has left, unless the
//! kernel has notified about changes by other programs. So a new peer among thousands does not
//! require reading the entries of the others. A new snapshot preempts a resync.
//!
//! Nothing is changed until the source has a snapshot and this node has its subnets. Until then, the
//! state that an earlier agent has programmed stays in use.

mod bridge_entries;
mod concerns;
mod error;
mod firewalls;
mod headroom;
mod node;
mod nodes_watch;
mod overlay;
mod pass_report;
mod pod_bridge;
mod pod_network;
mod preemption;
mod programs;
mod self_caused;
mod source_nat;
mod table;
mod trigger;

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use tokio::sync::watch;
use tracing::{debug, error, info, warn};
use weir_cluster::Published;
use weir_model::{Node, Snapshot};
use weir_netlink::Netlink;

use self::{
    bridge_entries::BridgeEntries,
    error::{Error, chain},
    firewalls::Firewalls,
    headroom::HeadroomCheck,
    overlay::{Overlay, Programmed},
    pass_report::{Outcome, PassReport},
    preemption::Preemption,
    programs::Programs,
    table::Table,
    trigger::{Interests, Trigger, Triggers},
};
use crate::{
    datapath::plan::Inputs,
    events::{Concern, Events},
    firewall_check::PodTraffic,
    health::{Condition, Health, Pass},
    masquerade::{self, Masquerade},
    net_conf::{Backend, NetConf},
    node_condition::NetworkCondition,
    options::Options,
    overlay::{
        apply::Failure,
        identity::tunnel_name,
        peers::{Selection, select},
        plan::{Desired, enabled, plan},
    },
    underlay::{self, Uplink},
};

/// The reconciler and its state.
#[derive(Debug)]
pub struct Reconciler {
    options: Options,
    conf: NetConf,
    netlink: Netlink,
    health: Arc<Health>,
    events: Events,
    network_condition: NetworkCondition,
    programs: Programs,
    table: Table,
    uplinks: Vec<Uplink>,
    overlay: Overlay,
    /// Whether the bridge was found to be one that Weir may use. Other programs change devices, a new
    /// snapshot does not.
    bridge_checked: bool,
    bridge_entries: BridgeEntries,
    firewalls: Firewalls,
    /// What the source does not know of the cluster.
    source_problem: Option<Concern>,
    /// The concerns of the last check of the kernel's limits.
    headroom: BTreeSet<Concern>,
    /// The concerns of the last sweep of the flow tables.
    flow_concerns: watch::Sender<BTreeSet<Concern>>,
    /// The snapshot of the last pass, if that pass succeeded.
    settled: Option<Arc<Snapshot>>,
    /// When the first resync began that was preempted since the last whole resync.
    preempted_since: Option<Instant>,
}

impl Reconciler {
    /// A reconciler for the network namespace that `netlink` belongs to.
    pub fn new(
        options: Options,
        conf: NetConf,
        netlink: Netlink,
        health: Arc<Health>,
        events: Events,
        network_condition: NetworkCondition,
    ) -> Self {
        if !options.services {
            health.set(Condition::ServicesProgrammed, Ok(()));
            health.set(Condition::FlowsSwept, Ok(()));
        }
        let table = Table::new(Arc::clone(&health));
        Self {
            programs: Programs::new(&options, Arc::clone(&health)),
            options,
            conf,
            netlink,
            health,
            events,
            network_condition,
            table,
            uplinks: Vec::new(),
            overlay: Overlay::default(),
            bridge_checked: false,
            bridge_entries: BridgeEntries::default(),
            firewalls: Firewalls::default(),
            source_problem: None,
            headroom: BTreeSet::new(),
            flow_concerns: watch::Sender::default(),
            settled: None,
            preempted_since: None,
        }
    }

    /// Becomes true when the maps of Services exist, which the service controller writes.
    pub fn maps_loaded(&self) -> watch::Receiver<bool> {
        self.programs.loaded()
    }

    /// Where the service controller puts its concerns about flows. The next pass reports them.
    pub fn concerns_of_flows(&self) -> watch::Sender<BTreeSet<Concern>> {
        self.flow_concerns.clone()
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
            if triggers.take_table_changed() {
                self.table.forget();
            }
            if triggers.take_firewalls_changed() {
                self.firewalls.note_change();
            }
            let filters = triggers.take_changed_filters();
            let mut succeeded = self.programs.restore(&self.netlink, &filters).await;
            if !trigger.is_of_filters() {
                let published = triggers.published();
                self.source_problem = concerns::from_problems(&published.status.problems);
                let nodes = triggers.watch_nodes();
                let mut preemption = Preemption::new(&trigger, nodes, self.preempted_since, resync);
                match self.pass(&trigger, published.snapshot, &mut preemption).await {
                    Outcome::Succeeded => {}
                    Outcome::Failed => succeeded = false,
                    Outcome::Preempted => triggers.resync_soon(),
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
            bridge_entry: self.bridge_entries.own(),
            uplinks: self.uplinks.iter().map(|uplink| uplink.link).collect(),
            desired: Arc::clone(self.overlay.desired()),
            programs: self.programs.program_ids(),
            table: self.table.written().cloned(),
        }
    }

    /// The name of the tunnel device. The backend host-gw has none: then it is the default name, to
    /// find and remove the device that another backend has left.
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
        preemption: &mut Preemption,
    ) -> Outcome {
        let Some(snapshot) = snapshot else {
            debug!("the source has not published a snapshot yet");
            return Outcome::Succeeded;
        };
        let began = Instant::now();
        let mut report = PassReport::default();
        let result = self.reconcile(trigger, &snapshot, preemption, &mut report).await;
        let PassReport { peers_known, peers_programmed, operations } = report;
        if matches!(result, Err(Error::Preempted)) {
            debug!(?trigger, "a new snapshot preempted the pass");
            self.preempted_since.get_or_insert(began);
            self.health.record_operations(operations);
            return Outcome::Preempted;
        }
        if *trigger == Trigger::Resync {
            self.preempted_since = None;
        }
        let error = result.as_ref().err().map(chain);
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
        let outcome = if error.is_none() { Outcome::Succeeded } else { Outcome::Failed };
        self.health.record(Pass { took, peers_known, peers_programmed, operations, error });
        outcome
    }

    async fn reconcile(
        &mut self,
        trigger: &Trigger,
        snapshot: &Snapshot,
        preemption: &mut Preemption,
        report: &mut PassReport,
    ) -> Result<(), Error> {
        let Selection { own, peers, refused } = select(snapshot, &self.options.node_name);
        let mut concerns: BTreeSet<Concern> =
            refused.iter().filter_map(concerns::from_refusal).collect();
        concerns.extend(self.source_problem.clone());
        let Some(own) = self.own_node(own, &mut concerns) else { return Ok(()) };

        if !self.bridge_checked || *trigger != Trigger::Source {
            let (bridge, addresses) = (&self.options.bridge, &own.underlay_ips);
            let checked = pod_bridge::check(&self.netlink, bridge, addresses).await?;
            self.bridge_checked = checked.is_ok();
            if let Err(unusable) = checked {
                self.cannot_join(unusable.to_string(), &mut concerns);
                self.tell(Some(&own), concerns);
                return Err(unusable.into());
            }
        }
        // First, and whatever becomes of the rest: a wrong entry can cut all pods off the node.
        let (netlink, entries) = (&self.netlink, &mut self.bridge_entries);
        let entries_set = entries.ensure(netlink, &self.options, trigger, &self.health).await;
        if let Ok(count @ 1..) = &entries_set {
            report.add([("bridge_entry_set", *count)].into());
        }
        concerns.extend(self.bridge_entries.concerns());
        self.uplinks = underlay::find(&self.netlink, &own.underlay_ips).await?;
        let planned = plan(&self.conf, &own, &peers, &self.uplinks);
        match &planned {
            Ok(_) => self.health.set(Condition::NodeJoined, Ok(())),
            Err(obstacle) => self.cannot_join(obstacle.to_string(), &mut concerns),
        }
        if let Ok((_, unreachable)) = &planned {
            let uplink = self.uplinks.first().map_or("", |uplink| uplink.name.as_str());
            let of_peer = |found| concerns::from_unreachable(found, uplink);
            concerns.extend(unreachable.iter().filter_map(of_peer));
        }
        concerns.extend(self.flow_concerns.borrow().iter().cloned());
        concerns.extend(self.programs.concerns());
        concerns.extend(self.table.obstacle());
        concerns.extend(self.network_condition.concern(&own));
        let checked = self.checked();
        self.tell(Some(&own), &concerns | &checked);
        let (desired, unreachable) = planned?;
        let desired = Arc::new(desired);

        report.peers_known = peers.len();
        let network =
            pod_network::build(&self.conf, snapshot, &own, &desired, self.options.ip_masq);
        let marks = self.programs.will_set_marks();
        let wanted = source_nat::wanted(&self.options, &desired, &own, &peers, &network, marks);
        let (failures, guarded) =
            self.program(trigger, &desired, wanted, preemption, report).await?;
        let cut_off: BTreeSet<&str> = unreachable.iter().map(|found| found.node.as_str()).collect();
        report.peers_programmed = peers.len().saturating_sub(failures.len().max(cut_off.len()));

        if desired.tunnel.is_some() && self.overlay.tunnel().is_none() {
            return Err(Error::Operations(failures));
        }
        preemption.check()?;

        node::ensure_parameters(&desired, &network)?;
        if node::ensure_offload(&desired, self.options.tx_checksum)? {
            *report.operations.entry("offload_set").or_default() += 1;
        }
        // Before the CNI configuration, so that Services work for the first pod.
        self.ensure_programs(trigger, &own, &peers, &desired, report).await?;
        preemption.check()?;
        let bridge = &self.options.bridge;
        node::follow_subnets(&self.netlink, bridge, &network, &mut report.operations).await?;
        guarded?;
        // Programs may have failed to load, or may have been loaded in spite of an earlier failure.
        let marks = self.programs.set_marks();
        let wanted = source_nat::wanted(&self.options, &desired, &own, &peers, &network, marks);
        report.add(self.table.ensure(wanted, false).await?);
        node::write_files(&self.options, &network)?;
        self.health.set(Condition::ConfigurationWritten, Ok(()));
        self.network_condition.report_network_ready(&own);
        if trigger.is_resync() {
            let (bridge, uplinks) = (&*self.options.bridge, &*self.uplinks);
            let check = HeadroomCheck { bridge, network: &network, peers: &peers, uplinks };
            self.headroom = check.run(&self.netlink, &self.health).await?;
        }
        preemption.check()?;
        let bridge = self.options.bridge.clone();
        let traffic = || PodTraffic {
            pod_networks: network.networks.clone(),
            bridge,
            overlay: desired.tunnel.as_ref().map(|tunnel| tunnel.name.clone()),
        };
        self.firewalls.check(trigger, traffic).await;
        if self.checked() != checked {
            self.tell(Some(&own), &concerns | &self.checked());
        }
        entries_set?;
        if failures.is_empty() { Ok(()) } else { Err(Error::Operations(failures)) }
    }

    /// What the checks at the end of a pass have found.
    fn checked(&self) -> BTreeSet<Concern> {
        self.firewalls.concerns().chain(self.headroom.iter().cloned()).collect()
    }

    /// Reports what an operator has to know.
    fn tell(&mut self, own: Option<&Node>, concerns: BTreeSet<Concern>) {
        self.health.record_concerns(&concerns);
        self.events.report(own, concerns);
    }

    /// Says why this node is no part of the pod network.
    fn cannot_join(&self, obstacle: String, concerns: &mut BTreeSet<Concern>) {
        concerns.insert(Concern::NodeNotJoined { obstacle: obstacle.clone() });
        self.health.set(Condition::NodeJoined, Err(obstacle));
    }

    /// This node, if it is in the cluster and has subnets.
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
            self.tell(None, std::mem::take(concerns));
            return None;
        };
        if enabled(&self.conf, &own).next().is_none() {
            concerns.insert(Concern::PodCidrMissing);
            let reason = Concern::PodCidrMissing.to_string();
            self.health.set(Condition::SubnetsAssigned, Err(reason));
            self.tell(Some(&own), std::mem::take(concerns));
            return None;
        }
        self.health.set(Condition::SubnetsAssigned, Ok(()));
        Some(own)
    }

    /// Programs the nftables table and the desired overlay in the kernel. After a new snapshot, the
    /// state that the last pass has left is taken as the kernel's state; otherwise the kernel is read.
    ///
    /// A tunnel that has to go is closed before the table stops guarding its port, and the table guards
    /// the port of a new one before that opens. A new peer is admitted before anything is sent to it. A
    /// table that cannot be written keeps no peer from being programmed; the error is in the result.
    async fn program(
        &mut self,
        trigger: &Trigger,
        desired: &Arc<Desired>,
        table: Masquerade,
        preemption: &mut Preemption,
        report: &mut PassReport,
    ) -> Result<(Vec<Failure>, Result<(), masquerade::Error>), Error> {
        let tunnel = self.tunnel_name();
        let remembered = match trigger {
            Trigger::Source => self.overlay.remembered(desired),
            _ => None,
        };
        let observed = match remembered {
            Some(observed) => observed,
            None => {
                let observe = Overlay::observe(&self.netlink, &tunnel, desired);
                preemption.run_unless_preempted(observe).await?
            }
        };
        let mut changes = self.overlay.plan(Arc::clone(desired), &observed);
        Overlay::remove_tunnels(&self.netlink, &tunnel, &mut changes).await;
        let guarded = self.table.ensure(table, trigger.is_resync()).await;
        let guarded = guarded.map(|operations| report.add(operations));
        let programmed = self.overlay.program(&self.netlink, &tunnel, changes);
        let Programmed { operations, failures } = programmed.await?;
        report.add(operations);
        Ok((failures, guarded))
    }

    async fn ensure_programs(
        &mut self,
        trigger: &Trigger,
        own: &Node,
        peers: &[Arc<Node>],
        overlay: &Desired,
        report: &mut PassReport,
    ) -> Result<(), Error> {
        let Self { conf, uplinks, netlink, programs, overlay: known, .. } = self;
        let tunnel = known.tunnel().filter(|_| overlay.tunnel.is_some());
        let inputs = Inputs { conf, own, peers, overlay, tunnel, uplinks };
        report.add(programs.ensure(netlink, &inputs, trigger.is_resync()).await?);
        Ok(())
    }
}
