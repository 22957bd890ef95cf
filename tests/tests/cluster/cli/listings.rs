//! `weir services`, `weir flows` and `weir endpoints`.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::lab::{Cluster, Families, Member, Stack, ask_tcp, until};

use super::super::services::{Backend, reaches, web, with};
use super::{list, text};

/// The flows that `weir flows` lists with these filters.
fn flows(node: &Member, filters: &[&str]) -> Result<Vec<Value>> {
    let (code, listing) = node.weir_json(&[&["flows"], filters].concat())?;
    ensure!(code == 0, "exit code {code}");
    Ok(list(&listing, "/flows")?.clone())
}

#[test]
fn services_lists_a_service_with_its_name_and_its_backends_on_both_nodes() -> Result<()> {
    Cluster::new(2).pods(Families::Dual).services().test(|cluster| {
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let client = near.pod("client")?;
        let backends = [Backend::on(near, "near")?, Backend::on(far, "far")?];
        let service = with(web(Families::Dual), &[&backends[0], &backends[1]]);
        cluster.manifests()?.put_service(&service)?;
        until("both backends are listed", || {
            let (_, listed) = near.weir_json(&["services", "default/web"])?;
            let frontends = list(&listed, "")?;
            // Two addresses with two protocols each.
            ensure!(frontends.len() == 4, "{listed:#}");
            for frontend in frontends {
                ensure!(text(frontend, "/service/name")? == "web", "{frontend:#}");
                ensure!(text(frontend, "/algorithm")? == "random", "{frontend:#}");
                let backends = list(frontend, "/backends")?;
                let local = backends.iter().filter(|backend| backend["local"] == true).count();
                ensure!((backends.len(), local) == (2, 1), "{frontend:#}");
                ensure!(backends.iter().all(|b| b["serving"] == true && b["in_set"] == true));
            }
            Ok(())
        })?;
        let target = service.frontends()[0];
        ask_tcp(&client, target)?;
        let shown = near.weir_text(&["services", &target.ip().to_string()])?;
        ensure!(
            shown.contains("default/web:tcp") && shown.contains("2 backends (1 local)"),
            "{shown}"
        );

        near.kill_agent()?;
        let shown = near.weir_text(&["services"])?;
        ensure!(!shown.contains("web") && shown.contains(&target.to_string()), "{shown}");
        ensure!(shown.contains("does not answer"), "{shown}");
        Ok(())
    })
}

#[test]
fn flows_lists_flows_that_match_the_filters_up_to_the_limit() -> Result<()> {
    Cluster::new(1).pods(Families::Dual).services().test(|cluster| {
        let node = cluster.node(1)?;
        let client = node.pod("client")?;
        let backend = Backend::on(node, "backend")?;
        let service = with(web(Families::Dual), &[&backend]);
        cluster.manifests()?.put_service(&service)?;
        ensure!(flows(node, &[])?.is_empty(), "flows are listed before any traffic");
        for target in service.frontends() {
            reaches(&client, target, "backend")?;
        }
        let all = flows(node, &[])?;
        ensure!(all.len() >= 4, "{all:#?}");
        for (filters, matches) in [
            (["--protocol", "udp"], (|flow| flow["protocol"] == "udp") as fn(&Value) -> bool),
            (["--service", "default/web"], |flow| flow["service"]["name"] == "web"),
            (["--address", "10.96.0.10"], |flow| flow["service_address"] == "10.96.0.10"),
            (["--port", "8080"], |flow| flow["backend_port"] == 8080),
        ] {
            let found = flows(node, &filters)?;
            ensure!(!found.is_empty() && found.iter().all(matches), "{filters:?}: {found:#?}");
        }
        for filters in [["--service", "default/other"], ["--address", "192.0.2.1"], ["--port", "1"]]
        {
            ensure!(flows(node, &filters)?.is_empty(), "{filters:?}");
        }
        let pod = backend.pod.address()?.to_string();
        ensure!(all.iter().any(|flow| flow["backend"] == *pod), "{all:#?}");
        let (_, listing) = node.weir_json(&["flows", "--limit", "1"])?;
        ensure!(list(&listing, "/flows")?.len() == 1 && listing["limited"] == true, "{listing:#}");
        let shown = node.weir_text(&["flows", "--limit", "1"])?;
        ensure!(shown.contains("only 1 shown"), "{shown}");
        Ok(())
    })
}

#[test]
fn flows_shows_a_connection_as_open_until_it_is_closed() -> Result<()> {
    Cluster::new(1).services().test(|cluster| {
        let node = cluster.node(1)?;
        let client = node.pod("client")?;
        let backend = Backend::on(node, "backend")?;
        let service = with(web(Families::V4), &[&backend]);
        cluster.manifests()?.put_service(&service)?;
        let target = service.frontends()[0];
        reaches(&client, target, "backend")?;
        let connection = client.run(|| std::net::TcpStream::connect(target).context("connect"))?;
        let port = connection.local_addr()?.port().to_string();
        let state = || {
            let found = flows(node, &["--port", &port])?;
            let flow = found.first().context("the flow is not listed")?;
            Ok::<_, anyhow::Error>(text(flow, "/state")?.to_owned())
        };
        ensure!(state()? == "open", "{}", state()?);
        drop(connection);
        until("the flow is closed", || {
            ensure!(state()? != "open", "{}", state()?);
            Ok(())
        })
    })
}

#[test]
fn endpoints_lists_pods_by_name_with_their_programs() -> Result<()> {
    Cluster::new(1).pods(Families::Dual).services().test(|cluster| {
        let node = cluster.node(1)?;
        let pod = node.pod("a")?;
        let (_, listed) = node.weir_json(&["endpoints"])?;
        ensure!(list(&listed, "")?.len() == 1, "{listed:#}");
        ensure!(text(&listed, "/0/namespace")? == "default" && text(&listed, "/0/name")? == "a");
        ensure!(list(&listed, "/0/addresses")?.len() == 2, "{listed:#}");
        ensure!(text(&listed, "/0/map_entry")? == "present", "{listed:#}");
        for program in ["from_pod", "to_pod"] {
            ensure!(text(&listed, &format!("/0/{program}/state"))? == "current", "{listed:#}");
        }
        node.kill_agent()?;
        let port = &pod.added().interfaces[1].name;
        node.sh(&format!("tc filter del dev {port} ingress"))?;
        let (_, listed) = node.weir_json(&["endpoints"])?;
        ensure!(text(&listed, "/0/from_pod/state")? == "missing", "{listed:#}");
        pod.detach()?;
        let (_, listed) = node.weir_json(&["endpoints"])?;
        ensure!(list(&listed, "")?.is_empty(), "{listed:#}");
        Ok(())
    })
}
