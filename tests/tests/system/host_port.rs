//! A requested host port is recorded, and a warning says that it does not work yet.

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::lab::{Cni, Config, Node};

#[test]
fn a_host_port_is_recorded_and_causes_a_warning() -> Result<()> {
    let node = Node::new()?;
    let mappings = json!([
        { "hostPort": 8080, "containerPort": 80, "protocol": "tcp" },
        { "hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "192.0.2.2" },
    ]);
    let config = Config::new("10.1.0.0/24")
        .with("capabilities", json!({ "portMappings": true }))
        .with_runtime("portMappings", mappings.clone());
    let cni = Cni::new(&node, config)?;
    let pod = node.pod("a")?;
    let reply = cni.call("ADD").pod(&pod).run()?;
    let warned = reply
        .stderr
        .lines()
        .any(|line| line.contains("WARN") && line.contains("hostPort") && line.contains("8080"));
    ensure!(warned, "no warning names hostPort in {:?}", reply.stderr);
    let record = cni.record(&reply.added()?.host()?.name)?;
    let found = record.get("portMappings").and_then(|found| found.as_array()).cloned();
    let found = found.unwrap_or_default();
    ensure!(found.len() == 2, "{record}");
    for (found, asked) in found.iter().zip(mappings.as_array().into_iter().flatten()) {
        for key in ["hostPort", "containerPort", "protocol"] {
            ensure!(found.get(key) == asked.get(key), "{key} of {found}");
        }
    }
    Ok(())
}

#[test]
fn a_pod_without_a_host_port_causes_no_warning() -> Result<()> {
    let node = Node::new()?;
    for runtime in [None, Some(json!([]))] {
        let mut config = Config::new("10.1.0.0/24");
        if let Some(mappings) = runtime {
            config = config.with_runtime("portMappings", mappings);
        }
        let cni = Cni::new(&node, config)?;
        let reply = cni.call("ADD").pod(&node.pod("a")?).run()?;
        ensure!(!reply.stderr.contains("WARN"), "{}", reply.stderr);
        cni.del(&node.pod("b")?)?;
        cni.gc(&[])?;
    }
    Ok(())
}

#[test]
fn an_invalid_host_port_is_refused() -> Result<()> {
    let node = Node::new()?;
    for mapping in [
        json!({ "hostPort": 70_000, "containerPort": 80, "protocol": "tcp" }),
        json!({ "hostPort": "8080", "containerPort": 80, "protocol": "tcp" }),
    ] {
        let config = Config::new("10.1.0.0/24").with_runtime("portMappings", json!([mapping]));
        let cni = Cni::new(&node, config)?;
        let pod = node.pod("a")?;
        let error = weir_tests::lab::refused(cni.add(&pod), 7)?;
        ensure!(error.to_string().contains("portMappings"), "{error}");
        cni.ensure_nothing_left()?;
    }
    Ok(())
}
