//! The cluster that is attacked, and who is there.

use anyhow::{Context, Result};
use weir_tests::lab::{AttachedPod, Cluster, Member, Node};

use crate::inbox::Inbox;
use crate::setting::Setting;

/// The last part of the machine's address.
const MACHINE: u8 = 200;

/// Two nodes. Attackers are a pod on each node, and a machine on the nodes' link that is not a
/// node. What they want is on the first node, too.
#[derive(Debug)]
pub(crate) struct Scene {
    /// A pod on the first node that no attacker may reach by other means than its address.
    pub(crate) victim: AttachedPod,
    /// What arrives at the victim.
    pub(crate) inbox: Inbox,
    /// A pod on the second node that talks to the victim.
    pub(crate) honest: AttachedPod,
    /// A pod on the first node.
    pub(crate) attacker: AttachedPod,
    /// A pod on the second node.
    pub(crate) remote_attacker: AttachedPod,
    /// A machine on the nodes' link.
    pub(crate) machine: Node,
    // The cluster is dropped last.
    cluster: Cluster,
}

impl Scene {
    pub(crate) fn new(setting: Setting) -> Result<Self> {
        let Setting { mode, ipv4: _, fast_path } = setting;
        let families = setting.families();
        let builder = Cluster::new(2).mode(mode).pods(families).underlay(families);
        let cluster = builder.services().flag(&format!("--fast-path={fast_path}")).build()?;
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let victim = near.pod("victim")?;
        let inbox = Inbox::open(&victim)?;
        let (attacker, honest) = (near.pod("attacker")?, far.pod("honest")?);
        let remote_attacker = far.pod("remote-attacker")?;
        let (machine, _) = cluster.neighbour(MACHINE)?;
        let scene = Self { victim, inbox, honest, attacker, remote_attacker, machine, cluster };
        // Also so that all neighbours are resolved.
        scene.inbox.count_others(&scene.honest).context("before the attacks")?;
        Ok(scene)
    }

    /// The node of the victim.
    pub(crate) fn near(&self) -> Result<&Member> {
        self.cluster.node(1)
    }

    /// The other node.
    pub(crate) fn far(&self) -> Result<&Member> {
        self.cluster.node(2)
    }

    /// The agents' logs.
    pub(crate) fn logs(&self) -> String {
        self.cluster.logs()
    }
}
