//! CHECK finds each kind of damage and names it.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::lab::{Config, Stack, refused};

use crate::fixture::{Fixture, one_pod};

fn healthy() -> Result<Fixture> {
    let route = json!([{ "dst": "10.9.0.0/16", "mtu": 1300 }]);
    let config = Config::dual_stack("10.1.0.0/24", "fd00:1::/64").with_ipam("routes", route);
    let fixture = one_pod(config)?;
    fixture.cni.check(&fixture.pod, &fixture.added).context("before any damage")?;
    Ok(fixture)
}

/// Damages a healthy pod and returns the error of CHECK.
fn check_error(damage: impl FnOnce(&Fixture) -> Result<()>) -> Result<String> {
    let fixture = healthy()?;
    damage(&fixture)?;
    Ok(refused(fixture.cni.check(&fixture.pod, &fixture.added), 105)?.to_string())
}

#[test]
fn check_of_a_healthy_pod_can_be_repeated() -> Result<()> {
    let Fixture { cni, pod, added, .. } = healthy()?;
    for _ in 0..3 {
        cni.check(&pod, &added)?;
    }
    Ok(())
}

#[test]
fn check_names_damage_in_the_pod() -> Result<()> {
    for (damage, named) in [
        ("ip addr del 10.1.0.2/24 dev eth0", "10.1.0.2"),
        ("ip -6 addr del fd00:1::2/64 dev eth0", "fd00:1::2"),
        ("ip route del default", "0.0.0.0/0"),
        ("ip -6 route del default", "::/0"),
        ("ip route del 10.9.0.0/16", "10.9.0.0/16"),
        ("ip route replace default via 10.1.0.9", "0.0.0.0/0"),
        ("ip link set eth0 mtu 1400", "mtu"),
        ("ip link set eth0 address 02:00:00:00:00:01", "0a:58:0a:01:00:02"),
        ("ip link set eth0 down", "eth0"),
        ("ip link del eth0", ""),
    ] {
        let error = check_error(|fixture| fixture.pod.sh(damage).map(drop))
            .with_context(|| format!("after {damage}"))?;
        ensure!(error.to_lowercase().contains(named), "after {damage}: {error}");
    }
    Ok(())
}

#[test]
fn check_finds_a_renamed_interface() -> Result<()> {
    let error = check_error(|fixture| {
        for line in ["ip link set eth0 down", "ip link set eth0 name net9", "ip link set net9 up"] {
            fixture.pod.sh(line)?;
        }
        Ok(())
    })?;
    ensure!(error.contains("eth0"), "{error}");
    Ok(())
}

#[test]
fn check_names_damage_on_the_node() -> Result<()> {
    for (damage, named) in [
        ("ip link set HOST nomaster", "weir0"),
        ("ip link set HOST mtu 1400", "mtu"),
        ("ip link set HOST down", "weir"),
        ("ip link del weir0", "weir0"),
        ("ip link set weir0 down", "weir0"),
        ("bridge link set dev HOST hairpin off", "hairpin"),
    ] {
        let error = check_error(|fixture| {
            fixture.node.sh(&damage.replace("HOST", &fixture.added.host()?.name)).map(drop)
        })
        .with_context(|| format!("after {damage}"))?;
        ensure!(error.to_lowercase().contains(named), "after {damage}: {error}");
    }
    Ok(())
}

#[test]
fn check_finds_a_missing_gateway() -> Result<()> {
    for gateway in ["10.1.0.1/24", "fd00:1::1/64"] {
        let error = check_error(|fixture| {
            fixture.node.sh(&format!("ip addr del {gateway} dev weir0")).map(drop)
        })?;
        let (address, _) = gateway.split_once('/').context("a prefix length")?;
        ensure!(error.contains(address), "{error}");
    }
    Ok(())
}

#[test]
fn check_finds_a_missing_fdb_entry() -> Result<()> {
    let mac = "0a:58:0a:01:00:02";
    let error = check_error(|fixture| {
        let host = &fixture.added.host()?.name;
        fixture.node.sh(&format!("bridge fdb del {mac} dev {host} master")).map(drop)
    })?;
    ensure!(error.contains(mac), "{error}");
    Ok(())
}

#[test]
fn check_finds_the_host_side_on_another_bridge() -> Result<()> {
    let error = check_error(|fixture| {
        let host = &fixture.added.host()?.name;
        fixture.node.sh("ip link add other type bridge")?;
        fixture.node.sh(&format!("ip link set {host} master other"))?;
        Ok(())
    })?;
    ensure!(error.contains("weir0"), "{error}");
    Ok(())
}

#[test]
fn check_finds_a_missing_reservation() -> Result<()> {
    let error =
        check_error(|fixture| Ok(std::fs::remove_file(fixture.cni.store()?.join("10.1.0.2"))?))?;
    ensure!(error.contains("10.1.0.2"), "{error}");
    Ok(())
}

#[test]
fn check_finds_a_reservation_of_another_container() -> Result<()> {
    let error = check_error(|fixture| {
        let file = fixture.cni.store()?.join("10.1.0.2");
        Ok(std::fs::write(file, "someone-else\r\neth0")?)
    })?;
    ensure!(error.contains("10.1.0.2"), "{error}");
    Ok(())
}

#[test]
fn check_needs_the_previous_result() -> Result<()> {
    let Fixture { cni, pod, .. } = healthy()?;
    let error = refused(cni.call("CHECK").pod(&pod).run()?.silent(), 7)?;
    ensure!(error.to_string().contains("prevResult"), "{error}");
    Ok(())
}

#[test]
fn check_refuses_a_previous_result_whose_lists_leave_nothing_to_compare() -> Result<()> {
    let Fixture { cni, pod, added, .. } = healthy()?;
    for (pointer, value, key) in [
        ("/ips", json!([]), "prevResult.ips"),
        ("/ips/0/interface", json!(7), "prevResult.ips[0].interface"),
        ("/ips/0/address", json!(""), "prevResult.ips[0].address"),
        ("/interfaces", json!([]), "prevResult"),
        ("/interfaces/2/name", json!(""), "prevResult.interfaces"),
        ("/interfaces/2/mac", json!("none"), "prevResult.interfaces"),
        ("/interfaces/2/sandbox", json!(""), "prevResult.interfaces"),
    ] {
        let mut changed = added.clone();
        *changed.raw.pointer_mut(pointer).context(pointer)? = value;
        let error = refused(cni.check(&pod, &changed), 7).context(pointer)?;
        ensure!(error.to_string().contains(key), "{pointer}: {error}");
    }
    cni.check(&pod, &added)
}

#[test]
fn check_finds_a_missing_address_that_the_previous_result_leaves_out() -> Result<()> {
    let Fixture { cni, pod, added, .. } = healthy()?;
    let mut less = added.clone();
    less.raw["ips"].as_array_mut().context("no addresses")?.pop();
    cni.check(&pod, &less)?;
    pod.sh("ip -6 addr del fd00:1::2/64 dev eth0")?;
    let error = refused(cni.check(&pod, &less), 105)?;
    ensure!(error.to_string().contains("fd00:1::2"), "{error}");
    Ok(())
}

#[test]
fn check_finds_an_interface_that_follows_neighbours() -> Result<()> {
    for name in [
        "net/ipv6/conf/eth0/accept_ra",
        "net/ipv6/conf/eth0/accept_redirects",
        "net/ipv4/conf/eth0/accept_redirects",
    ] {
        let error = check_error(|fixture| {
            fixture.pod.run(|| Ok(std::fs::write(format!("/proc/sys/{name}"), "1")?))
        })?;
        ensure!(error.contains(name), "{error}");
    }
    Ok(())
}

#[test]
fn check_finds_an_fdb_entry_that_leads_elsewhere() -> Result<()> {
    // Both are what a pod with the same MAC address leaves.
    for (mac, named) in
        [("0a:58:0a:01:00:02", "host interface"), ("0a:58:0a:01:00:01", "bridge weir0")]
    {
        let error = check_error(|fixture| {
            let Fixture { node, .. } = fixture;
            node.sh("ip link add thief type veth peer name behind")?;
            node.sh("ip link set thief master weir0 up")?;
            node.sh(&format!("bridge fdb replace {mac} dev thief master static sticky")).map(drop)
        })?;
        ensure!(error.contains(named) && error.contains(mac), "{error}");
    }
    Ok(())
}

#[test]
fn check_tolerates_interfaces_of_other_plugins_in_the_chain() -> Result<()> {
    let Fixture { cni, pod, mut added, .. } = healthy()?;
    let interfaces = added.raw["interfaces"].as_array_mut().context("no interfaces")?;
    interfaces.push(json!({ "name": "tun7", "mac": "02:00:00:00:00:07" }));
    cni.check(&pod, &added)
}

#[test]
fn check_without_the_namespace_is_an_error() -> Result<()> {
    let Fixture { cni, mut pod, added, .. } = healthy()?;
    pod.remove_netns()?;
    let outcome = cni.check(&pod, &added);
    ensure!(
        outcome.as_ref().is_err_and(|error| error.is::<weir_tests::lab::CniError>()),
        "{outcome:?}"
    );
    Ok(())
}
