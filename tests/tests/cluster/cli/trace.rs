//! `weir trace` shows what the programs would do, and leaves no entries in maps.

use std::collections::HashSet;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weir_tests::lab::{Cluster, Families, Member, ServiceManifest, ask_tcp, until};

use super::super::services::{Backend, reaches, web, with};
use super::{list, text};

fn trace(node: &Member, pod: &str, to: &str) -> Result<Value> {
    let (code, report) = node.weir_json(&["trace", pod, to])?;
    ensure!(code == 0, "exit code {code}");
    Ok(report)
}

/// The clients of all flows, with their ports.
fn flows(node: &Member) -> Result<HashSet<String>> {
    let (_, listing) = node.weir_json(&["flows"])?;
    list(&listing, "/flows")?
        .iter()
        .map(|flow| Ok(format!("{} {}", flow["client"], flow["client_port"])))
        .collect()
}

fn with_endpoints(families: Families, backends: &[&Backend]) -> ServiceManifest {
    with(web(families), backends)
}

#[test]
fn trace_shows_the_backend_and_the_redirect_that_bypasses_the_stack() -> Result<()> {
    Cluster::new(2).pods(Families::Dual).services().test(|cluster| {
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let client = near.pod("client")?;
        for (node, verdict, device) in
            [(near, "redirected_to_pod", None), (far, "redirected_to_node", Some("weir.1"))]
        {
            let backend = Backend::on(node, &format!("backend{}", node.number()))?;
            let service = with_endpoints(Families::Dual, &[&backend]);
            cluster.manifests()?.put_service(&service)?;
            for target in service.frontends() {
                reaches(&client, target, &backend.name)?;
                let before = flows(near)?;
                for protocol in ["tcp", "udp"] {
                    let report = trace(near, "default/client", &format!("{target}/{protocol}"))?;
                    ensure!(text(&report, "/verdict")? == verdict, "{report:#}");
                    ensure!(text(&report, "/service/name/name")? == "web", "{report:#}");
                    let ip = backend
                        .pod
                        .addresses()
                        .into_iter()
                        .find(|ip| ip.is_ipv4() == target.is_ipv4());
                    ensure!(report["backend"]["address"] == json!(ip), "{report:#}");
                    ensure!(report["rewritten"]["destination"] == json!(ip), "{report:#}");
                    ensure!(report["rewritten"]["destination_port"] == 8080, "{report:#}");
                    ensure!(report["sent"]["destination"] == json!(target.ip()), "{report:#}");
                    ensure!(device.is_none_or(|device| report["device"] == device), "{report:#}");
                    ensure!(report["counters"]["flow_opened"] == 1, "{report:#}");
                    ensure!(report["entries_removed"] == 2, "{report:#}");
                }
                ensure!(
                    flows(near)?.is_subset(&before),
                    "the trace left flows: {}",
                    near.weir_text(&["flows"])?
                );
                ask_tcp(&client, target)?;
            }
        }
        Ok(())
    })
}

#[test]
fn trace_accepts_the_name_the_address_or_the_container_of_a_pod() -> Result<()> {
    Cluster::new(1).services().test(|cluster| {
        let node = cluster.node(1)?;
        let (client, backend) = (node.pod("client")?, Backend::on(node, "backend")?);
        let service = with_endpoints(Families::V4, &[&backend]);
        cluster.manifests()?.put_service(&service)?;
        let target = service.frontends()[0];
        reaches(&client, target, "backend")?;
        node.kill_agent()?;
        let address = client.address()?.to_string();
        for pod in ["default/client", "client-c", &address] {
            let report = trace(node, pod, &target.to_string())?;
            ensure!(text(&report, "/pod")? == "default/client", "{report:#}");
            ensure!(text(&report, "/verdict")? == "redirected_to_pod", "{report:#}");
            ensure!(report["service"]["name"].is_null(), "a name without an agent: {report:#}");
        }
        ensure!(node.weir(&["trace", "default/nobody", "10.96.0.10:80"])?.status.code() == Some(1));
        Ok(())
    })
}

#[test]
fn trace_shows_why_a_packet_is_rejected() -> Result<()> {
    Cluster::new(1).pods(Families::Dual).services().test(|cluster| {
        let node = cluster.node(1)?;
        let client = node.pod("client")?;
        let backend = Backend::on(node, "backend")?;
        let service = with_endpoints(Families::Dual, &[&backend]);
        cluster.manifests()?.put_service(&service)?;
        for target in service.frontends() {
            reaches(&client, target, "backend")?;
            for protocol in ["tcp", "udp"] {
                let other = SocketAddr::new(target.ip(), 81);
                let report = trace(node, "default/client", &format!("{other}/{protocol}"))?;
                ensure!(text(&report, "/verdict")? == "rejected", "{report:#}");
                ensure!(text(&report, "/reason")? == "rejected_no_port", "{report:#}");
                ensure!(text(&report, "/explanation")?.contains("no such port"), "{report:#}");
            }
        }
        cluster.manifests()?.put_service(&service.clone().without_endpoints())?;
        for target in service.frontends() {
            until("packets are rejected", || {
                let report = trace(node, "default/client", &target.to_string())?;
                ensure!(text(&report, "/verdict")? == "rejected", "{report:#}");
                ensure!(text(&report, "/reason")? == "rejected_no_backend", "{report:#}");
                Ok(())
            })?;
        }
        Ok(())
    })
}

#[test]
fn trace_shows_a_drop_by_the_local_traffic_policy() -> Result<()> {
    Cluster::new(2).services().test(|cluster| {
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let _client = near.pod("client")?;
        let backend = Backend::on(far, "far")?;
        let service = with_endpoints(Families::V4, &[&backend]);
        let service = service.with("internalTrafficPolicy", json!("Local"));
        cluster.manifests()?.put_service(&service)?;
        until("the policy is programmed", || {
            let report = trace(near, "default/client", "10.96.0.10:80")?;
            ensure!(text(&report, "/verdict")? == "dropped", "{report:#}");
            ensure!(text(&report, "/reason")? == "dropped_local_policy", "{report:#}");
            Ok(())
        })
    })
}

#[test]
fn trace_shows_masquerading_of_hairpin_traffic_and_passes_packets_to_other_addresses() -> Result<()>
{
    Cluster::new(1).services().test(|cluster| {
        let node = cluster.node(1)?;
        let backend = Backend::on(node, "me")?;
        let service = with_endpoints(Families::V4, &[&backend]);
        cluster.manifests()?.put_service(&service)?;
        let target = service.frontends()[0];
        reaches(&backend.pod, target, "me")?;
        let report = trace(node, "default/me", &target.to_string())?;
        ensure!(
            text(&report, "/verdict")? == "stack" && report["masqueraded"] == true,
            "{report:#}"
        );
        let report = trace(node, "default/me", "203.0.113.1:80")?;
        ensure!(text(&report, "/verdict")? == "stack" && report["service"].is_null(), "{report:#}");
        ensure!(report["entries_removed"] == 0, "{report:#}");
        ensure!(report["rewritten"]["destination"] == "203.0.113.1", "{report:#}");
        Ok(())
    })
}

#[test]
fn trace_keeps_session_affinity_unchanged() -> Result<()> {
    Cluster::new(1).services().test(|cluster| {
        let node = cluster.node(1)?;
        let (client, backend) = (node.pod("client")?, Backend::on(node, "backend")?);
        let service = with_endpoints(Families::V4, &[&backend])
            .with("sessionAffinity", json!("ClientIP"))
            .with("sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 600}}));
        cluster.manifests()?.put_service(&service)?;
        let entries = || {
            let (_, status) = node.weir_json(&["status"])?;
            let map = list(&status, "/maps")?.iter().find(|map| map["map"] == "affinity_v4");
            Ok::<_, anyhow::Error>(map.map(|map| map["entries"].clone()))
        };
        until("affinity is programmed", || {
            let report = trace(node, "default/client", "10.96.0.10:80")?;
            ensure!(report["service"]["affinity_seconds"] == 600, "{report:#}");
            ensure!(report["entries_removed"] == 3, "{report:#}");
            Ok(())
        })?;
        ensure!(entries()? == Some(json!(0)), "{:?}", entries()?);
        reaches(&client, service.frontends()[0], "backend")?;
        let report = trace(node, "default/client", "10.96.0.10:80")?;
        ensure!(report["entries_removed"] == 2, "{report:#}");
        let kept = entries()?;
        ensure!(kept != Some(json!(0)), "the client's affinity was removed");
        Ok(())
    })
}
