//! The loop that keeps the node as the cluster says.
//!
//! A pass compares everything with the kernel and does what is missing. It runs when the source has
//! a new world, when the kernel tells of a change to something of Weir's, and after a while without
//! either. A pass that finds all as it should be writes nothing.
//!
//! Until the source has a world and this node its subnets, nothing is touched: what an earlier agent
//! has programmed goes on working.

mod concerns;
mod echo;
mod headroom;
mod node;
mod pod_network;
mod programs;
mod source_nat;
mod trigger;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use tokio::sync::watch;
use tracing::{debug, error, info, warn};
use weir_netlink::{Netlink, link};

use self::{
    headroom::Tenants,
    programs::Programs,
    trigger::{Interests, Trigger, Triggers},
};
use crate::{
    availability::Availability,
    datapath::plan::Surroundings,
    events::{Concern, Events},
    health::{Condition, Health, Pass},
    install::{self, PodNetwork},
    masquerade::{self, Masquerade},
    model::{Node, World},
    net_conf::{Backend, NetConf},
    options::Options,
    overlay::{
        apply::{Failure, apply},
        diff::{Op, diff},
        identity::tunnel_name,
        observe::observe,
        peers::{Selection, select},
        plan::{Desired, NotReady, enabled, plan},
    },
    source::Published,
    underlay::{self, Uplink},
};

/// So many operations of a pass are logged one by one.
const LOGGED: usize = 20;

/// Why a pass did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the kernel cannot be read or changed")]
    Netlink(#[from] weir_netlink::Error),
    #[error("this node cannot join the pod network yet")]
    NotReady(#[from] NotReady),
    #[error("masquerading cannot be set up")]
    Masquerade(#[from] masquerade::Error),
    #[error("the node's files cannot be written")]
    Install(#[from] install::Error),
    #[error("{} operations failed, the first", .0.len())]
    Operations(Vec<Failure>),
}

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
    tunnel_index: Option<u32>,
    /// What the last pass has made of the kernel, or tried to.
    desired: Arc<Desired>,
    /// What the last look at foreign firewalls found.
    forwarding: BTreeSet<Concern>,
    /// When that was.
    forwarding_seen: Option<Instant>,
    /// What the last look at the kernel's limits found.
    headroom: BTreeSet<Concern>,
    /// The world of the last pass that found or made everything right.
    settled: Option<Arc<World>>,
}

/// What a pass did, for health and the log.
#[derive(Debug, Default)]
struct Done {
    peers_known: usize,
    peers_programmed: usize,
    operations: BTreeMap<&'static str, u64>,
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
            programs: Programs::new(&options),
            options,
            conf,
            netlink,
            health,
            events,
            availability,
            masquerade: None,
            uplinks: Vec::new(),
            tunnel_index: None,
            desired: Arc::default(),
            forwarding: BTreeSet::new(),
            forwarding_seen: None,
            headroom: BTreeSet::new(),
            settled: None,
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
            let published = triggers.published();
            let succeeded = self.pass(&trigger, published.world).await;
            triggers.retry_soon(!succeeded);
        }
    }

    fn interests(&self) -> Interests {
        Interests {
            tunnel: self.tunnel_name(),
            tunnel_index: self.tunnel_index,
            bridge: self.options.bridge.clone(),
            uplinks: self.uplinks.iter().map(|uplink| uplink.link).collect(),
            desired: Arc::clone(&self.desired),
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

    /// One pass. Returns whether all is as it should be.
    async fn pass(&mut self, trigger: &Trigger, world: Option<Arc<World>>) -> bool {
        let Some(world) = world else {
            debug!("the source has not seen the cluster yet");
            return true;
        };
        let began = Instant::now();
        let mut done = Done::default();
        let outcome = self.reconcile(trigger, &world, &mut done).await;
        let error = outcome.as_ref().err().map(chain);
        if let Some(error) = &error {
            error!(?trigger, "{error}");
        }
        let repaired = self.settled.as_ref() == Some(&world) && !done.operations.is_empty();
        if let Some(cause) = trigger.cause().filter(|_| repaired) {
            self.health.record_repair(cause);
        }
        self.settled = error.is_none().then_some(world);
        let Done { peers_known, peers_programmed, operations } = done;
        let took = began.elapsed();
        let count: u64 = operations.values().sum();
        if count > 0 {
            info!(?trigger, repaired, count, ?took, peers_known, peers_programmed, "reconciled");
        } else {
            debug!(?trigger, ?took, "nothing to do");
        }
        let succeeded = error.is_none();
        self.health.record(Pass { took, peers_known, peers_programmed, operations, error });
        succeeded
    }

    async fn reconcile(
        &mut self,
        trigger: &Trigger,
        world: &World,
        done: &mut Done,
    ) -> Result<(), Error> {
        let Selection { own, peers, refused } = select(world, &self.options.node_name);
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
        self.events.report(Some(&own), concerns);
        let (desired, unreachable) = planned?;
        let desired = Arc::new(desired);
        self.desired = Arc::clone(&desired);

        done.peers_known = peers.len();
        let failures = self.program(&desired, done).await?;
        let cut_off: BTreeSet<&str> = unreachable.iter().map(|found| found.node.as_str()).collect();
        done.peers_programmed = peers.len().saturating_sub(failures.len().max(cut_off.len()));

        if desired.tunnel.is_some() && self.tunnel_index.is_none() {
            return Err(Error::Operations(failures));
        }

        let network = pod_network::of(&self.conf, world, &own, &desired, self.options.ip_masq);
        node::ensure_parameters(&desired, &network)?;
        if node::ensure_offload(&desired, self.options.tx_checksum)? {
            *done.operations.entry("offload_set").or_default() += 1;
        }
        // Before the configuration: a pod is born with its Services.
        self.ensure_programs(trigger, &own, &peers, &desired, done).await?;
        let bridge = &self.options.bridge;
        node::follow_subnets(&self.netlink, bridge, &network, &mut done.operations).await?;
        self.ensure_masquerade(trigger, &own, &peers, (&desired, &network), done).await?;
        self.write_files(&network)?;
        self.availability.network_is_made(&own);
        if trigger.is_resync() {
            let (bridge, uplinks) = (&*self.options.bridge, &*self.uplinks);
            let tenants = Tenants { bridge, network: &network, peers: &peers, uplinks };
            self.headroom = tenants.check(&self.netlink, &self.health).await?;
        }
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
            self.events.report(Some(&own), std::mem::take(concerns));
            return None;
        }
        self.health.set(Condition::SubnetsAssigned, Ok(()));
        Some(own)
    }

    async fn program(&mut self, desired: &Desired, done: &mut Done) -> Result<Vec<Failure>, Error> {
        let tunnel = self.tunnel_name();
        let own_mac = desired.tunnel.as_ref().map(|tunnel| tunnel.mac);
        let observed = observe(&self.netlink, &tunnel, own_mac).await?;
        let ops = diff(desired, &observed);
        for (number, op) in ops.iter().enumerate() {
            *done.operations.entry(Op::kind(op)).or_default() += 1;
            if number < LOGGED {
                info!("{op}");
            }
        }
        if let Some(more) = ops.len().checked_sub(LOGGED).filter(|more| *more > 0) {
            info!("and {more} more operations");
        }
        let failures = apply(&self.netlink, &tunnel, ops).await;
        self.tunnel_index = link::find(&self.netlink, &tunnel).await?.map(|link| link.index);
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
        let Self { conf, uplinks, netlink, programs, .. } = self;
        let tunnel = self.tunnel_index.filter(|_| overlay.tunnel.is_some());
        let surroundings = Surroundings { conf, own, peers, overlay, tunnel, uplinks };
        let outcome = programs.ensure(netlink, &surroundings, trigger.is_resync()).await?;
        if let Some(outcome) = outcome {
            let condition = outcome.map(|operations| {
                for (kind, count) in operations {
                    *done.operations.entry(kind).or_default() += count;
                }
            });
            self.health.set(Condition::ProgramsAttached, condition);
        }
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

    /// The program first, the configuration last: with that the runtime begins to call it.
    fn write_files(&self, network: &PodNetwork) -> Result<(), Error> {
        let Options { cni_binary, cni_bin_dir, run_dir, .. } = &self.options;
        if let Some(binary) = cni_binary
            && install::install_plugin(binary, cni_bin_dir)?
        {
            info!(directory = %cni_bin_dir.display(), "installed weir-cni");
        }
        if install::write_subnet_env(run_dir, network)? {
            info!(mtu = network.mtu, subnets = ?network.subnets, "wrote subnet.env");
        }
        if install::write_conflist(&self.options, network)? {
            info!(directory = %self.options.cni_conf_dir.display(), "wrote the CNI configuration");
        }
        self.health.set(Condition::ConfigurationWritten, Ok(()));
        Ok(())
    }
}

/// An error with its causes, in one line.
fn chain(error: &Error) -> String {
    match error {
        Error::Operations(failures) => match failures.first() {
            Some(first) => format!("{error}: {}", causes(first)),
            None => error.to_string(),
        },
        _ => causes(error),
    }
}

/// Any error with its causes, in one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
