//! The cluster that is attacked, and who is there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use weir_tests::lab::{AttachedPod, Cluster, Member, Node, Observe, Stack, ask_tcp, until};

use crate::frame::{Mac, Macs, mac};
use crate::inbox::Inbox;
use crate::services::Services;
use crate::setting::Setting;

/// The last part of the machine's address.
pub(crate) const MACHINE: u8 = 200;
/// Entries of the flow table; a flow has two. So few that a flood takes a second.
pub(crate) const FLOW_ENTRIES: u16 = 2048;
/// So often packets are sent and awaited until those before them have come to wherever they go: the way
/// of some has more queues than that of others.
const ROUNDS: usize = 5;

/// Two nodes. Attackers are a pod on each node, and a machine on the nodes' link that is not a
/// node. What they want is on the first node, too.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) setting: Setting,
    /// A pod on the first node that no attacker may reach by other means than its address.
    pub(crate) victim: AttachedPod,
    /// What arrives at the victim.
    pub(crate) inbox: Inbox,
    /// A pod on the first node that follows routers, as a privileged pod can choose to.
    pub(crate) follower: AttachedPod,
    /// A pod on the second node that talks to the victim.
    pub(crate) honest: AttachedPod,
    far_inbox: Inbox,
    /// A pod on the first node.
    pub(crate) attacker: AttachedPod,
    /// A pod on the second node.
    pub(crate) remote_attacker: AttachedPod,
    /// A machine on the nodes' link.
    pub(crate) machine: Node,
    /// A backend on the first node.
    pub(crate) near_backend: AttachedPod,
    /// A backend on the second node.
    pub(crate) far_backend: AttachedPod,
    /// Their Services.
    pub(crate) services: Services,
    // The cluster is dropped last.
    cluster: Cluster,
}

impl Scene {
    /// Makes the cluster. Without `checks`, its agents let pods send what they want.
    pub(crate) fn new(setting: Setting, checks: bool) -> Result<Self> {
        let Setting { mode, ipv4: _, fast_path } = setting;
        let families = setting.families();
        let mut builder = Cluster::new(2).mode(mode).pods(families).underlay(families);
        builder = builder.services().flag(&format!("--fast-path={fast_path}"));
        builder = builder.flag(&format!("--map-capacity=flows-tcp={FLOW_ENTRIES}"));
        builder = builder.flag(&format!("--map-capacity=flows-datagram={FLOW_ENTRIES}"));
        if !checks {
            builder = builder.flag("--pod-source-check=false");
        }
        let cluster = builder.build()?;
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let victim = near.pod("victim")?;
        let inbox = Inbox::open(&victim)?;
        let follower = near.pod("follower")?;
        follow_routers(&follower)?;
        let (attacker, honest) = (near.pod("attacker")?, far.pod("honest")?);
        let far_inbox = Inbox::open(&honest)?;
        let remote_attacker = far.pod("remote-attacker")?;
        let (near_backend, far_backend) = (near.pod("near")?, far.pod("far")?);
        let services = Services::new(&cluster, [&near_backend, &far_backend])?;
        let (machine, _) = cluster.neighbour(MACHINE)?;
        let scene = Self {
            setting,
            victim,
            inbox,
            follower,
            honest,
            far_inbox,
            attacker,
            remote_attacker,
            machine,
            near_backend,
            far_backend,
            services,
            cluster,
        };
        scene.route_machine()?;
        scene.wait_until_served()?;
        // Also so that all neighbours are resolved.
        scene.inbox.count_others(&scene.honest).context("before the attacks")?;
        Ok(scene)
    }

    /// The machine reaches pods by their nodes, with its own address.
    fn route_machine(&self) -> Result<()> {
        for (pod, node) in [(&self.victim, self.near()?), (&self.honest, self.far()?)] {
            self.machine.sh(&format!("ip route add {} via {}", pod.address()?, node.address()?))?;
        }
        Ok(())
    }

    fn wait_until_served(&self) -> Result<()> {
        for client in [&self.victim, &self.attacker, &self.remote_attacker] {
            for target in [self.services.web, self.services.node] {
                until("the Services are served", || ask_tcp(client, target).map(drop))?;
            }
        }
        Ok(())
    }

    /// Returns when no packet that this thread has sent is under way any more.
    pub(crate) fn settle_here(&self) -> Result<()> {
        for _ in 0..ROUNDS {
            self.inbox.settle_here()?;
            self.far_inbox.settle_here()?;
        }
        Ok(())
    }

    /// The node of the victim.
    pub(crate) fn near(&self) -> Result<&Member> {
        self.cluster.node(1)
    }

    /// The other node.
    pub(crate) fn far(&self) -> Result<&Member> {
        self.cluster.node(2)
    }

    /// The victim's gateway: its address, and its MAC address.
    pub(crate) fn gateway(&self) -> Result<(IpAddr, Mac)> {
        let gateway = self.victim.added().ips.first().and_then(|ip| ip.gateway);
        Ok((gateway.context("no gateway")?, mac_of(self.near()?, "weir0")?))
    }

    /// The MAC addresses of a frame of the attacker to its gateway.
    pub(crate) fn to_gateway(&self) -> Result<Macs> {
        Ok(Macs { from: mac_of(&self.attacker, "eth0")?, to: self.gateway()?.1 })
    }

    /// The MAC addresses of a frame of the attacker to a neighbour.
    pub(crate) fn to_neighbour(&self, pod: &AttachedPod) -> Result<Macs> {
        Ok(Macs { from: mac_of(&self.attacker, "eth0")?, to: mac_of(pod, "eth0")? })
    }

    /// The agents' logs.
    pub(crate) fn logs(&self) -> String {
        self.cluster.logs()
    }
}

/// The MAC address of an interface.
pub(crate) fn mac_of(stack: &impl Stack, link: &str) -> Result<Mac> {
    mac(&stack.link(link)?.mac.context("an interface without a MAC address")?)
}

/// An address like another one, with this last part.
pub(crate) fn sibling(address: IpAddr, last: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, last).into()
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, last.into()).into()
        }
    }
}

/// Undoes what the plugin has set.
fn follow_routers(pod: &AttachedPod) -> Result<()> {
    pod.run(|| {
        for (name, value) in [
            ("ipv6/conf/eth0/accept_ra", "2"),
            ("ipv6/conf/eth0/accept_redirects", "1"),
            ("ipv4/conf/eth0/accept_redirects", "1"),
        ] {
            let path = std::path::Path::new("/proc/sys/net").join(name);
            std::fs::write(&path, value).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    })
}
