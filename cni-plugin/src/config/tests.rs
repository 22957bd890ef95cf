//! Valid configurations, and the errors of invalid ones.

use proptest::prelude::*;
use serde_json::json;
use weir_node::endpoint::Protocol;

use super::*;

fn check(config: &Value) -> Result<NetworkConfig, Error> {
    Document::decode(config.to_string().as_bytes())?.check()
}

/// Checks what `ADD` and `GC` use.
fn use_all(config: &NetworkConfig) -> Result<(), Error> {
    config.ipam.range_sets()?;
    config.for_pod()?;
    if config.valid_attachments.is_some() {
        config.valid_attachments()?;
    }
    Ok(())
}

fn minimal() -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "weir", "type": "weir-cni",
        "ipam": { "ranges": [[{ "subnet": "10.244.1.0/24" }]] },
    })
}

#[test]
fn a_missing_key_has_the_documented_default() {
    let config = check(&minimal()).unwrap();
    assert_eq!(config.bridge, "weir0");
    assert_eq!(config.mtu, None);
    assert!(config.hairpin && config.default_gateway);
    assert_eq!(config.run_dir, PathBuf::from("/run/weir"));
    assert_eq!(config.pin_dir, PathBuf::from("/sys/fs/bpf/weir"));
    assert_eq!(config.routing_namespaces().unwrap(), []);
    assert_eq!(config.ipam.data_dir, PathBuf::from("/var/lib/cni/networks"));
    assert_eq!(
        config.ipam.range_sets().unwrap()[0].ranges()[0].gateway().to_string(),
        "10.244.1.1"
    );
}

#[test]
fn unknown_keys_are_ignored() {
    let mut config = minimal();
    config["somethingNew"] = json!({ "deep": [1, 2] });
    config["ipam"]["somethingNew"] = json!(true);
    assert!(check(&config).is_ok());
}

#[test]
fn a_single_range_may_be_directly_in_ipam() {
    let mut config = minimal();
    config["ipam"] =
        json!({ "type": "host-local", "subnet": "10.1.0.0/16", "gateway": "10.1.9.9" });
    let sets = check(&config).unwrap().ipam.range_sets().unwrap();
    assert_eq!(sets[0].ranges()[0].gateway().to_string(), "10.1.9.9");
}

#[test]
fn ranges_of_the_runtime_come_before_those_of_the_file() {
    let mut config = minimal();
    config["runtimeConfig"] = json!({ "ipRanges": [[{ "subnet": "10.9.0.0/24" }]] });
    let sets = check(&config).unwrap().ipam.range_sets().unwrap();
    let subnets: Vec<_> = sets.iter().map(|set| set.ranges()[0].subnet().to_string()).collect();
    assert_eq!(subnets, ["10.9.0.0/24", "10.244.1.0/24"]);
}

#[test]
fn an_invalid_value_is_error_seven_and_names_its_key() {
    for (pointer, value, key) in [
        ("/name", json!(null), "name"),
        ("/name", json!("../etc"), "name"),
        ("/name", json!(5), "name"),
        ("/bridge", json!("a/b"), "bridge"),
        ("/mtu", json!("1500"), "mtu"),
        ("/mtu", json!(-1), "mtu"),
        ("/mtu", json!(20), "mtu"),
        ("/hairpinMode", json!("yes"), "hairpinMode"),
        ("/logLevel", json!("loud"), "logLevel"),
        ("/routingNamespaces", json!("vpn"), "routingNamespaces"),
        ("/routingNamespaces", json!([1]), "routingNamespaces[0]"),
        ("/routingNamespaces", json!(["vpn", ""]), "routingNamespaces[1]"),
        ("/routingNamespaces", json!(["*"]), "routingNamespaces[0]"),
        ("/ipam", json!([]), "ipam"),
        ("/ipam/type", json!("dhcp"), "ipam.type"),
        ("/ipam/ranges", json!([[{ "subnet": "10.1.0.0" }]]), "ipam.ranges[0][0].subnet"),
        ("/ipam/ranges", json!([[{ "subnet": "10.1.0.0/33" }]]), "ipam.ranges[0][0].subnet"),
        ("/ipam/ranges", json!([[{ "subnet": 1 }]]), "ipam.ranges[0][0].subnet"),
        ("/ipam/ranges", json!([[{}]]), "ipam.ranges[0][0]"),
        ("/ipam/ranges", json!([[]]), "ipam.ranges[0]"),
        ("/ipam/ranges", json!([]), "ipam.ranges"),
        (
            "/ipam/ranges",
            json!([[{ "subnet": "10.1.0.0/24", "rangeStart": "10.2.0.1" }]]),
            "ipam.ranges[0][0].rangeStart",
        ),
        ("/ipam/routes", json!([{ "dst": "everywhere" }]), "ipam.routes[0].dst"),
        ("/ipam/routes", json!([{ "dst": "0.0.0.0/0", "gw": "fd00::1" }]), "ipam.routes[0].gw"),
        ("/runtimeConfig", json!({ "ips": ["x"] }), "runtimeConfig.ips[0]"),
        ("/runtimeConfig", json!({ "mac": "ff:ff:ff:ff:ff:ff" }), "runtimeConfig.mac"),
        (
            "/runtimeConfig",
            json!({ "portMappings": [{ "hostPort": 70000, "containerPort": 80 }] }),
            "runtimeConfig.portMappings[0].hostPort",
        ),
        (
            "/runtimeConfig",
            json!({ "portMappings": [{ "hostPort": 80, "containerPort": 80, "protocol": "quic" }] }),
            "runtimeConfig.portMappings[0].protocol",
        ),
        ("/ipam/ranges", json!([[{ "subnet": "0.0.0.0/0" }]]), "ipam.ranges[0][0].subnet"),
        ("/ipam/ranges", json!([[{ "subnet": "127.0.0.0/8" }]]), "ipam.ranges[0][0].subnet"),
        ("/ipam/ranges", json!([[{ "subnet": "224.0.0.0/24" }]]), "ipam.ranges[0][0].subnet"),
        ("/ipam/ranges", json!([[{ "subnet": "fe80::/64" }]]), "ipam.ranges[0][0].subnet"),
        ("/ipam/routes", json!([{ "dst": "10.9.0.7/16" }]), "ipam.routes[0].dst"),
        ("/ipam/routes", json!([{ "dst": "10.9.0.0/16", "gw": "0.0.0.0" }]), "ipam.routes[0].gw"),
        ("/ipam/routes", json!([{ "dst": "10.9.0.0/16", "gw": "" }]), "ipam.routes[0].gw"),
        ("/ipam/routes", json!([{ "dst": "::/0", "gw": "ff02::1" }]), "ipam.routes[0].gw"),
        ("/runtimeConfig", json!({ "ips": [""] }), "runtimeConfig.ips[0]"),
        ("/runtimeConfig", json!({ "mac": "" }), "runtimeConfig.mac"),
        ("/runtimeConfig", json!({ "mac": "00:00:00:00:00:00" }), "runtimeConfig.mac"),
        ("/runtimeConfig", json!({ "mac": "01:00:5e:00:00:01" }), "runtimeConfig.mac"),
        ("/args", json!({ "cni": { "mac": "ff:ff:ff:ff:ff:ff" } }), "args.cni.mac"),
        ("/args", json!({ "cni": { "ips": ["10.244.1.7", ""] } }), "args.cni.ips[1]"),
        (
            "/runtimeConfig",
            json!({ "portMappings": [{ "hostPort": 80, "containerPort": 0 }] }),
            "runtimeConfig.portMappings[0].containerPort",
        ),
        (
            "/runtimeConfig",
            json!({ "portMappings": [{ "hostPort": 80, "containerPort": 80, "hostIP": "all" }] }),
            "runtimeConfig.portMappings[0].hostIP",
        ),
        ("/dns", json!({ "nameservers": ["10.96.0.10", ""] }), "dns.nameservers[1]"),
        ("/dns", json!({ "search": ["a\nnameserver 192.0.2.1"] }), "dns.search[0]"),
        ("/dns", json!({ "options": [""] }), "dns.options[0]"),
        ("/dns", json!({ "domain": "a b" }), "dns.domain"),
        ("/cni.dev~1valid-attachments", json!([{ "containerID": 1 }]), "valid-attachments"),
        (
            "/cni.dev~1valid-attachments",
            json!([{ "containerID": "c1", "ifname": "eth0" }, { "containerID": "", "ifname": "eth0" }]),
            "cni.dev/valid-attachments[1].containerID",
        ),
        (
            "/cni.dev~1valid-attachments",
            json!([{ "containerID": "c1", "ifname": "" }]),
            "cni.dev/valid-attachments[0].ifname",
        ),
        (
            "/cni.dev~1valid-attachments",
            json!([{ "containerID": "../c1", "ifname": "eth0" }]),
            "cni.dev/valid-attachments[0].containerID",
        ),
        (
            "/cni.dev~1valid-attachments",
            json!([{ "containerID": "c1", "ifname": "eth0/../eth1" }]),
            "cni.dev/valid-attachments[0].ifname",
        ),
    ] {
        let mut config = minimal();
        let (parent, leaf) = pointer.rsplit_once('/').unwrap();
        let parent = config.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        parent.insert(leaf.replace("~1", "/"), value.clone());
        let error = check(&config)
            .and_then(|config| use_all(&config))
            .expect_err(&format!("{pointer} = {value}"));
        assert_eq!(error.code(), 7, "{pointer} = {value}: {error}");
        assert!(error.to_string().contains(key), "{pointer} = {value}: {error}");
    }
}

#[test]
fn a_version_that_is_missing_or_unknown_is_error_one() {
    for version in [json!(null), json!("0.2.0"), json!("2.0.0"), json!("")] {
        let mut config = minimal();
        if version.is_null() {
            config.as_object_mut().unwrap().remove("cniVersion");
        } else {
            config["cniVersion"] = version.clone();
        }
        assert_eq!(check(&config).unwrap_err().code(), 1, "{version}");
    }
}

#[test]
fn null_means_absent() {
    let mut config = minimal();
    for key in ["dns", "args", "mtu", "prevResult", "cni.dev/valid-attachments"] {
        config[key] = Value::Null;
    }
    config["runtimeConfig"] = json!({ "ips": null, "ipRanges": null, "portMappings": null });
    config["ipam"]["routes"] = Value::Null;
    assert!(check(&config).is_ok());
    config["args"] = json!({ "cni": { "ips": null } });
    config["dns"] = json!({ "nameservers": null });
    assert!(check(&config).is_ok());
}

#[test]
fn container_ports_without_a_host_port_are_ignored() {
    let mut config = minimal();
    config["runtimeConfig"] = json!({ "portMappings": [
        { "hostPort": 0, "containerPort": 53, "protocol": "UDP" },
        { "hostPort": 8080, "containerPort": 80, "protocol": "TCP", "hostIP": "" },
    ] });
    let mappings = check(&config).unwrap().for_pod().unwrap().runtime.port_mappings;
    assert_eq!(mappings.len(), 1);
    assert_eq!((mappings[0].host_port, mappings[0].host_ip), (8080, None));
}

#[test]
fn what_only_add_uses_does_not_prevent_del() {
    let mut config = minimal();
    config["ipam"]["ranges"] = json!([[{ "subnet": "10.1.0.7/24" }]]);
    config["ipam"]["routes"] = json!([{ "dst": "10.9.0.7/16" }]);
    config["runtimeConfig"] = json!({ "mac": "ff:ff:ff:ff:ff:ff", "ips": [""] });
    config["dns"] = json!({ "nameservers": ["none"] });
    assert!(check(&config).is_ok());
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = Document::decode(&bytes).and_then(Document::check);
    }

    #[test]
    fn checking_never_panics(
        key in prop::sample::select(vec![
            "name", "bridge", "mtu", "hairpinMode", "ipam", "dns", "runtimeConfig", "args", "runDir",
            "logLevel", "prevResult", "cni.dev/valid-attachments", "cniVersion",
        ]),
        inner in prop::sample::select(vec![
            "type", "ranges", "subnet", "rangeStart", "routes", "dataDir", "ips", "mac", "ipRanges",
            "portMappings", "cni",
        ]),
        text in "\\PC{0,24}",
        number in any::<i64>(),
        shape in 0_u8..6,
    ) {
        let value = match shape {
            0 => json!(text),
            1 => json!(number),
            2 => json!([text, number, null]),
            3 => json!({ inner: text }),
            4 => json!({ inner: [[{ "subnet": text }]] }),
            _ => json!({ inner: number, "subnet": text, "gateway": text }),
        };
        let mut config = minimal();
        config[key] = value;
        let _ = check(&config).and_then(|config| use_all(&config));
    }
}

#[test]
fn port_mappings_with_the_keys_of_containerd_are_read() {
    let mut config = minimal();
    config["runtimeConfig"] = json!({ "portMappings": [
        { "HostPort": 8080, "ContainerPort": 80, "Protocol": "udp", "HostIP": "192.0.2.7" },
        { "HostPort": 8081, "ContainerPort": 81, "Protocol": "tcp", "HostIP": "" },
    ] });
    let mappings = check(&config).unwrap().for_pod().unwrap().runtime.port_mappings;
    assert_eq!(mappings.len(), 2);
    assert_eq!((mappings[0].host_port, mappings[0].container_port), (8080, 80));
    assert_eq!(mappings[0].protocol, Protocol::Udp);
    assert_eq!(mappings[0].host_ip, Some([192, 0, 2, 7].into()));
    assert_eq!(mappings[1].host_ip, None);
}
