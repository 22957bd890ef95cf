//! Each error has a code and names its cause.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::lab::{Cni, Config, Node, Observe, refused};

fn setup() -> Result<(Node, Cni)> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    Ok((node, cni))
}

#[test]
fn an_error_names_the_missing_variable() -> Result<()> {
    let (node, cni) = setup()?;
    let pod = node.pod("a")?;
    for (verb, variables) in [
        ("ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"][..]),
        ("CHECK", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
        ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME"]),
    ] {
        for variable in variables {
            for call in [
                cni.call(verb).pod(&pod).without(variable),
                cni.call(verb).pod(&pod).env(variable, ""),
            ] {
                let error = refused(call.run()?.document(), 4)?;
                ensure!(error.msg.contains(variable), "{verb} without {variable}: {error:?}");
            }
        }
    }
    cni.ensure_nothing_left()
}

#[test]
fn a_missing_or_unknown_command_is_an_environment_error() -> Result<()> {
    let (node, cni) = setup()?;
    let pod = node.pod("a")?;
    for call in [
        cni.call("ADD").pod(&pod).without("CNI_COMMAND"),
        cni.call("").pod(&pod),
        cni.call("add").pod(&pod),
        cni.call("REMOVE").pod(&pod),
    ] {
        let error = refused(call.run()?.document(), 4)?;
        ensure!(error.msg.contains("CNI_COMMAND"), "{error:?}");
    }
    cni.ensure_nothing_left()
}

#[test]
fn forbidden_names_are_environment_errors() -> Result<()> {
    let (node, cni) = setup()?;
    let pod = node.pod("a")?;
    let bad = [
        ("CNI_CONTAINERID", &["../up", "a/b", "-dash", ".dot", "with space", "new\nline"][..]),
        (
            "CNI_IFNAME",
            &[".", "..", "a/b", "with space", "co:lon", "longer-than-15-chars", "tab\t"],
        ),
    ];
    for (variable, values) in bad {
        for value in values {
            for verb in ["ADD", "DEL", "CHECK"] {
                let call = cni.call(verb).pod(&pod).env(variable, value);
                let error = refused(call.run()?.document(), 4)
                    .with_context(|| format!("{verb} with {variable}={value:?}"))?;
                ensure!(error.msg.contains(variable), "{error:?}");
            }
        }
    }
    cni.ensure_nothing_left()
}

#[test]
fn a_variable_that_is_not_utf8_is_an_environment_error() -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let (node, cni) = setup()?;
    let pod = node.pod("a")?;
    let garbage = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    for variable in ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME"] {
        let call = cni.call("ADD").pod(&pod).env(variable, garbage);
        let error = refused(call.run()?.document(), 4)?;
        ensure!(error.msg.contains(variable), "{error:?}");
    }
    cni.ensure_nothing_left()
}

#[test]
fn an_invalid_address_in_cni_args_is_an_environment_error() -> Result<()> {
    let (node, cni) = setup()?;
    let pod = node.pod("a")?;
    for args in ["IP=nonsense", "IP=10.1.0.300", "MAC=nonsense", "MAC=01:02:03"] {
        let call = cni.call("ADD").pod(&pod).env("CNI_ARGS", args);
        let error = refused(call.run()?.document(), 4).with_context(|| args.to_owned())?;
        ensure!(error.msg.contains("CNI_ARGS"), "{error:?}");
    }
    cni.ensure_nothing_left()
}

#[test]
fn a_missing_namespace_is_an_io_error() -> Result<()> {
    let (node, cni) = setup()?;
    let mut gone = node.pod("gone")?;
    gone.remove_netns()?;
    let mut empty = node.pod("empty")?;
    empty.unmount()?;
    for pod in [&gone, &empty] {
        let error = refused(cni.add(pod), 5)?;
        let path = pod.netns().to_string_lossy();
        ensure!(error.to_string().contains(&*path), "{error:?}");
        cni.ensure_nothing_left()?;
    }
    Ok(())
}

#[test]
fn a_directory_that_cannot_be_created_is_an_io_error() -> Result<()> {
    let (node, cni) = setup()?;
    let file = node.dir().join("file");
    std::fs::write(&file, "")?;
    let below = file.join("networks").to_string_lossy().into_owned();
    let pod = node.pod("a")?;
    for cni in [
        cni.reconfigured(|config| config.with_ipam("dataDir", below.clone())),
        cni.reconfigured(|config| config.with("runDir", below.clone())),
    ] {
        let error = refused(cni.add(&pod), 5)?;
        ensure!(error.to_string().contains(&*file.to_string_lossy()), "{error:?}");
    }
    cni.ensure_nothing_left()
}

#[test]
fn an_error_names_the_key_with_an_invalid_value() -> Result<()> {
    let (node, cni) = setup()?;
    let pod = node.pod("a")?;
    let ranges = |ranges| move |config: Config| config.with_ipam("ranges", ranges);
    let set = |key: &'static str, value| move |config: Config| config.with(key, value);
    let ipam = |key: &'static str, value| move |config: Config| config.with_ipam(key, value);
    let mut cases: Vec<(&str, Cni)> = Vec::new();
    for (key, value) in [
        ("name", json!("../up")),
        ("name", json!("")),
        ("name", json!(7)),
        ("bridge", json!("a-name-of-20-letters")),
        ("bridge", json!("a/b")),
        ("bridge", json!(true)),
        ("mtu", json!("1400")),
        ("mtu", json!(-1)),
        ("mtu", json!(1e30)),
        ("hairpinMode", json!("yes")),
        ("isDefaultGateway", json!(1)),
        ("ipam", json!([])),
        ("runDir", json!(1)),
        ("pinDir", json!({})),
        ("logLevel", json!("loud")),
        ("dns", json!("10.96.0.10")),
    ] {
        cases.push((key, cni.reconfigured(set(key, value))));
    }
    for (key, value) in [
        ("type", json!("dhcp")),
        ("dataDir", json!(1)),
        ("routes", json!({})),
        ("routes", json!([{ "dst": "nowhere" }])),
        ("ranges", json!({})),
        ("ranges", json!([[]])),
        ("ranges", json!([[1]])),
    ] {
        cases.push((key, cni.reconfigured(ipam(key, value))));
    }
    for (key, value) in [
        ("subnet", json!([[{ "subnet": "10.1.0.0/33" }]])),
        ("subnet", json!([[{ "subnet": "10.1.0.0" }]])),
        ("subnet", json!([[{ "subnet": 10 }]])),
        ("subnet", json!([[{ "subnet": "10.1.0.0/31" }]])),
        ("subnet", json!([[{ "subnet": "10.1.0.0/32" }]])),
        ("rangeStart", json!([[{ "subnet": "10.1.0.0/24", "rangeStart": "10.2.0.1" }]])),
        ("rangeStart", json!([[{ "subnet": "10.1.0.0/24", "rangeStart": "x" }]])),
        ("rangeEnd", json!([[{ "subnet": "10.1.0.0/24", "rangeEnd": "10.2.0.1" }]])),
        ("gateway", json!([[{ "subnet": "10.1.0.0/24", "gateway": "10.1" }]])),
        ("gateway", json!([[{ "subnet": "10.1.0.0/24", "gateway": "fd00::1" }]])),
        (
            "range",
            json!([[{ "subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8" }]]),
        ),
        ("range", json!([[{ "subnet": "10.1.0.0/24" }, { "subnet": "fd00::/64" }]])),
        ("range", json!([[{ "subnet": "10.1.0.0/24" }], [{ "subnet": "10.1.0.0/25" }]])),
    ] {
        cases.push((key, cni.reconfigured(ranges(value))));
    }
    cases.push(("name", cni.reconfigured(|config| config.without("name"))));
    cases.push(("ipam", cni.reconfigured(|config| config.without("ipam"))));
    for (key, cni) in cases {
        let shown = cni.config().json();
        let error = refused(cni.add(&pod), 7).with_context(|| format!("{key} in {shown}"))?;
        ensure!(error.to_string().contains(key), "{key} is not named: {error:?}");
    }
    cni.ensure_nothing_left()
}

#[test]
fn add_refuses_the_nodes_own_namespace() -> Result<()> {
    let (node, cni) = setup()?;
    let before = node.links()?;
    let call = cni
        .call("ADD")
        .env("CNI_CONTAINERID", "host")
        .env("CNI_NETNS", "/proc/thread-self/ns/net")
        .env("CNI_IFNAME", "eth0");
    let error = refused(call.run()?.document(), 5)?;
    ensure!(error.msg.contains("CNI_NETNS"), "{error}");
    ensure!(node.links()? == before);
    cni.ensure_nothing_left()
}

#[test]
fn a_locked_store_is_a_try_again_error() -> Result<()> {
    let (node, cni) = setup()?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    cni.add(&a)?;
    let before = cni.reservations()?;
    let lock = std::fs::File::open(cni.store()?.join("lock"))?;
    lock.lock()?;
    // Both wait until their timeout.
    let (added, deleted) = std::thread::scope(|scope| {
        let deleted = scope.spawn(|| cni.del(&a));
        (cni.add(&b), deleted.join().unwrap())
    });
    refused(added, 11).context("ADD")?;
    refused(deleted, 11).context("DEL")?;
    ensure!(cni.reservations()? == before);
    ensure!(b.links()?.len() == 1 && cni.records()?.len() == 1, "the failed ADD left something");
    lock.unlock()?;
    cni.del(&a)?;
    cni.ensure_nothing_left()?;
    cni.add(&b)?;
    Ok(())
}
