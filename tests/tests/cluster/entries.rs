//! Deleted or changed routes, neighbours and FDB entries are repaired, and foreign ones are kept.

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{Cluster, Entries, Families, Member, Mode, Observe, Stack, tunnel_next_hop};

use crate::fixture::{fake_node, new_pods_talk};

/// The values of node 1's entries for node 2.
struct PeerValues {
    subnet: String,
    hop: String,
    mac: String,
    node: String,
}

impl PeerValues {
    fn of(cluster: &Cluster, ipv4: bool) -> Result<Self> {
        let peer = cluster.node(2)?;
        let mut subnets = peer.manifest().subnets().iter();
        let subnet = subnets.find(|subnet| subnet.contains(':') != ipv4).context("no subnet")?;
        let (network, _) = subnet.split_once('/').context("no subnet")?;
        let mac = peer.tunnel_mac()?;
        Ok(Self {
            subnet: subnet.clone(),
            hop: tunnel_next_hop(network.parse()?, &mac).to_string(),
            mac,
            node: peer.address()?.to_string(),
        })
    }
}

fn is_repaired(lines: impl Fn(&PeerValues) -> Vec<String>) -> Result<()> {
    Cluster::new(3).pods(Families::Dual).without_timer().test(|cluster| {
        let node = cluster.node(1)?;
        for ipv4 in [true, false] {
            for line in lines(&PeerValues::of(cluster, ipv4)?) {
                node.sh(&line)?;
            }
            cluster.wait_until_ready().with_context(|| format!("IPv4: {ipv4}"))?;
        }
        new_pods_talk(cluster, "pod")
    })
}

#[test]
fn a_deleted_route_is_restored() -> Result<()> {
    is_repaired(|PeerValues { subnet, .. }| vec![format!("ip route del {subnet}")])
}

#[test]
fn a_changed_route_is_restored() -> Result<()> {
    is_repaired(|PeerValues { subnet, .. }| {
        vec![format!("ip route change {subnet} dev uplink proto 87")]
    })
}

#[test]
fn an_extra_route_of_the_agent_is_removed() -> Result<()> {
    is_repaired(|PeerValues { hop, subnet, .. }| {
        let extra = if subnet.contains(':') { "fd44:0:0:99::/64" } else { "10.244.99.0/24" };
        vec![format!("ip route add {extra} via {hop} dev weir.1 onlink proto 87")]
    })
}

#[test]
fn a_deleted_neighbour_is_restored() -> Result<()> {
    is_repaired(|PeerValues { hop, .. }| vec![format!("ip neigh del {hop} dev weir.1")])
}

#[test]
fn a_neighbour_with_another_mac_address_is_restored() -> Result<()> {
    is_repaired(|PeerValues { hop, .. }| {
        let other = "02:00:00:00:00:66";
        vec![format!("ip neigh replace {hop} lladdr {other} dev weir.1 nud permanent")]
    })
}

#[test]
fn a_neighbour_that_may_age_is_made_permanent() -> Result<()> {
    is_repaired(|PeerValues { hop, mac, .. }| {
        vec![format!("ip neigh replace {hop} lladdr {mac} dev weir.1 nud stale")]
    })
}

#[test]
fn a_deleted_fdb_entry_is_restored() -> Result<()> {
    is_repaired(|PeerValues { mac, node, .. }| {
        vec![format!("bridge fdb del {mac} dev weir.1 dst {node} self")]
    })
}

#[test]
fn a_changed_fdb_entry_is_restored() -> Result<()> {
    is_repaired(|PeerValues { mac, .. }| {
        vec![format!("bridge fdb replace {mac} dev weir.1 dst 172.31.70.99 self permanent")]
    })
}

#[test]
fn an_extra_fdb_entry_is_removed() -> Result<()> {
    is_repaired(|PeerValues { node, .. }| {
        vec![format!("bridge fdb add 02:00:00:00:00:66 dev weir.1 dst {node} self permanent")]
    })
}

#[test]
fn entries_deleted_at_once_are_restored() -> Result<()> {
    is_repaired(|PeerValues { subnet, hop, mac, node }| {
        vec![
            format!("ip route del {subnet}"),
            format!("ip neigh del {hop} dev weir.1"),
            format!("bridge fdb del {mac} dev weir.1 dst {node} self"),
        ]
    })
}

#[test]
fn a_deleted_direct_route_is_restored() -> Result<()> {
    Cluster::new(2).mode(Mode::HostGw).pods(Families::Dual).without_timer().test(|cluster| {
        for subnet in cluster.node(2)?.manifest().subnets() {
            cluster.node(1)?.sh(&format!("ip route del {subnet}"))?;
            cluster.wait_until_ready()?;
        }
        new_pods_talk(cluster, "pod")
    })
}

#[test]
fn the_periodic_resync_repairs_changes_without_a_notification() -> Result<()> {
    Cluster::new(2).flag("--resync-seconds=1").test(|cluster| {
        let node = cluster.node(1)?;
        node.machine().set_sysctl("net/ipv4/ip_forward", "0")?;
        weir_tests::lab::until("the node forwards again", || {
            ensure!(node.machine().sysctl("net/ipv4/ip_forward")? == "1");
            Ok(())
        })
    })
}

#[test]
fn the_overlay_works_with_a_foreign_ipv6_route_that_covers_all_pods() -> Result<()> {
    // The kernel refuses a next hop, even with onlink, that another route covers.
    let builder = Cluster::new(2).pods(Families::Dual).underlay(Families::Dual).stopped();
    builder.test(|cluster| {
        for node in cluster.nodes() {
            node.sh("ip -6 route add fd00::/8 via fd00:70::1 dev uplink")?;
            node.start_agent()?;
        }
        cluster.wait_until_ready()?;
        new_pods_talk(cluster, "pod")
    })
}

/// The foreign entries of a node, of which no line may change.
fn foreign(node: &Member) -> Result<String> {
    let mut seen = String::new();
    for line in [
        "ip route show proto 99",
        "ip -6 route show proto 99",
        "ip route show table 99",
        "ip neigh show dev uplink nud permanent",
        "bridge fdb show dev other.2",
        "ip -d link show other.2",
    ] {
        seen += &node.sh(line)?;
    }
    Ok(seen)
}

#[test]
fn foreign_routes_neighbours_and_devices_are_kept() -> Result<()> {
    Cluster::new(2).test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        for line in [
            "ip route add 10.99.0.0/16 via 172.31.70.1 proto 99",
            "ip route add blackhole 10.244.200.0/24 proto 99",
            "ip route add 10.244.2.64/26 via 172.31.70.1 proto 99",
            "ip route add 10.98.0.0/16 via 172.31.70.1 table 99",
            "ip -6 route add fd98::/64 dev uplink proto 99",
            "ip neigh add 172.31.70.200 lladdr 02:00:00:00:00:01 dev uplink nud permanent",
            "ip link add other.2 type vxlan id 2 dstport 4789 nolearning",
            "bridge fdb add 02:00:00:00:00:02 dev other.2 dst 172.31.70.200 self permanent",
        ] {
            node.sh(line)?;
        }
        let before = foreign(node)?;
        node.sh("ip link del weir.1")?;
        cluster.wait_until_ready()?;
        let peer = fake_node(50);
        manifests.put(&peer)?;
        node.wait_for_peers([cluster.node(2)?.manifest(), &peer])?;
        manifests.remove(&peer)?;
        cluster.wait_until_ready()?;
        node.kill_agent()?;
        node.start_agent()?;
        cluster.wait_until_ready()?;
        let after = foreign(node)?;
        ensure!(after == before, "before\n{before}\nafter\n{after}");
        ensure!(Entries::of(node)?.routes.len() == 1 && node.find_link("other.2")?.is_some());
        Ok(())
    })
}
