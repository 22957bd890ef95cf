//! Requests of a runtime: addresses, ranges and MAC addresses.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::lab::{Added, Cni, Config, Node, Observe, Pod, refused};

fn setup() -> Result<(Node, Cni)> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::dual_stack("10.1.0.0/24", "fd00:1::/64"))?;
    Ok((node, cni))
}

fn with_args(cni: &Cni, pod: &Pod, args: &str) -> Result<Added> {
    cni.call("ADD").pod(pod).env("CNI_ARGS", args).run()?.added()
}

fn with_capability(cni: &Cni, pod: &Pod, key: &str, value: Value) -> Result<Added> {
    let declared = json!({ "ips": true, "ipRanges": true, "mac": true });
    let asking =
        cni.reconfigured(|config| config.with("capabilities", declared).with_runtime(key, value));
    asking.add(pod)
}

fn addresses(added: &Added) -> Vec<String> {
    added.ips.iter().map(|ip| ip.address.to_string()).collect()
}

#[test]
fn the_address_in_cni_args_is_assigned() -> Result<()> {
    let (node, cni) = setup()?;
    let added = with_args(&cni, &node.pod("a")?, "IgnoreUnknown=1;IP=10.1.0.77")?;
    ensure!(addresses(&added) == ["10.1.0.77/24", "fd00:1::2/64"], "{}", added.raw);
    Ok(())
}

#[test]
fn the_addresses_of_the_ips_capability_are_assigned() -> Result<()> {
    for asked in [json!(["10.1.0.77", "fd00:1::77"]), json!(["10.1.0.77/24", "fd00:1::77/64"])] {
        let (node, cni) = setup()?;
        let added = with_capability(&cni, &node.pod("a")?, "ips", asked)?;
        ensure!(addresses(&added) == ["10.1.0.77/24", "fd00:1::77/64"], "{}", added.raw);
    }
    Ok(())
}

#[test]
fn a_requested_address_does_not_change_the_allocation_order() -> Result<()> {
    let (node, cni) = setup()?;
    with_args(&cni, &node.pod("a")?, "IP=10.1.0.3")?;
    let given = [cni.add(&node.pod("b")?)?, cni.add(&node.pod("c")?)?];
    let given: Vec<_> = given.iter().map(|added| added.address()).collect::<Result<_>>()?;
    ensure!(!given.contains(&"10.1.0.3".parse()?) && given[0] != given[1], "{given:?}");
    Ok(())
}

#[test]
fn an_unavailable_address_is_refused() -> Result<()> {
    let (node, cni) = setup()?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    with_args(&cni, &a, "IP=10.1.0.77")?;
    let before = cni.reservations()?;
    for (address, reason) in [
        ("10.1.0.77", "taken"),
        ("10.2.0.5", "in no range"),
        ("10.1.0.1", "the gateway"),
        ("10.1.0.0", "the network"),
        ("10.1.0.255", "the broadcast address"),
    ] {
        let by_args = with_args(&cni, &b, &format!("IP={address}"));
        let error = refused(by_args, 103).with_context(|| reason.to_owned())?;
        ensure!(error.to_string().contains(address), "{reason}: {error}");
        refused(with_capability(&cni, &b, "ips", json!([address])), 103)
            .with_context(|| reason.to_owned())?;
    }
    ensure!(cni.reservations()? == before);
    ensure!(cni.host_interfaces()?.len() == 1 && cni.records()?.len() == 1);
    Ok(())
}

#[test]
fn the_ranges_of_the_ip_ranges_capability_are_used() -> Result<()> {
    let node = Node::new()?;
    let config = Config::new("10.1.0.0/24").with("ipam", json!({ "type": "host-local" }));
    let cni = Cni::new(&node, config)?;
    let ranges = json!([[{ "subnet": "10.5.0.0/24" }], [{ "subnet": "fd00:5::/64" }]]);
    let added = with_capability(&cni, &node.pod("a")?, "ipRanges", ranges)?;
    ensure!(addresses(&added) == ["10.5.0.2/24", "fd00:5::2/64"], "{}", added.raw);
    Ok(())
}

#[test]
fn the_requested_mac_address_is_set() -> Result<()> {
    let (node, cni) = setup()?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    with_capability(&cni, &a, "mac", json!("02:11:22:33:44:55"))?;
    with_args(&cni, &b, "MAC=02:11:22:33:44:66")?;
    for (pod, mac) in [(&a, "02:11:22:33:44:55"), (&b, "02:11:22:33:44:66")] {
        ensure!(pod.link("eth0")?.mac.as_deref() == Some(mac));
        let known = node.fdb()?.into_iter().any(|e| e.mac == mac && e.state == "static");
        ensure!(known, "{mac} is not in the bridge's table");
    }
    Ok(())
}

#[test]
fn an_invalid_mac_address_is_refused() -> Result<()> {
    let (node, cni) = setup()?;
    let pod = node.pod("a")?;
    for mac in ["01:00:5e:00:00:01", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "", "0a:58"] {
        let error = refused(with_capability(&cni, &pod, "mac", json!(mac)), 7)?;
        ensure!(error.to_string().contains("runtimeConfig.mac"), "{mac}: {error}");
        let args = json!({ "cni": { "mac": mac } });
        let error = refused(cni.reconfigured(|config| config.with("args", args)).add(&pod), 7)?;
        ensure!(error.to_string().contains("args.cni.mac"), "{mac}: {error}");
        let error = refused(with_args(&cni, &pod, &format!("MAC={mac}")), 4)?;
        ensure!(error.to_string().contains("CNI_ARGS"), "{mac}: {error}");
        ensure!(node.find_link("weir0")?.is_none(), "the refused ADD made the bridge");
        cni.ensure_nothing_left()?;
    }
    Ok(())
}

#[test]
fn del_succeeds_after_an_add_whose_requests_were_refused() -> Result<()> {
    let (node, cni) = setup()?;
    let pod = node.pod("a")?;
    let bad_route = json!([{ "dst": "10.9.0.1/16" }]);
    for wrong in [
        cni.reconfigured(|config| config.with_runtime("mac", "ff:ff:ff:ff:ff:ff")),
        cni.reconfigured(|config| config.with_runtime("ips", json!([""]))),
        cni.reconfigured(|config| config.with_ipam("routes", bad_route)),
        cni.reconfigured(|config| config.with("dns", json!({ "nameservers": [""] }))),
    ] {
        refused(wrong.add(&pod), 7)?;
        ensure!(node.find_link("weir0")?.is_none(), "the refused ADD made the bridge");
        // The runtime passes the same configuration to DEL.
        wrong.del(&pod)?;
        cni.ensure_nothing_left()?;
    }
    Ok(())
}
