//! `weir status`.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::lab::{Cluster, Families, Mode, Stack};

use super::super::services::{Backend, web, with};
use super::{list, text, wait_for_problems};

#[test]
fn status_of_a_healthy_node_begins_with_healthy() -> Result<()> {
    for mode in [Mode::Vxlan, Mode::HostGw] {
        Cluster::new(2).mode(mode).pods(Families::Dual).services().test(|cluster| {
            let node = cluster.node(1)?;
            let backend = Backend::on(node, "a")?;
            cluster.manifests()?.put_service(&with(web(Families::Dual), &[&backend]))?;
            wait_for_problems(node, &[])?;
            let shown = node.weir_text(&["status"])?;
            ensure!(shown.lines().next() == Some("healthy"), "{shown}");
            for text in ["default/a", "from_pod", "to_pod", "connect4", "services_v4", "1 of 1"] {
                ensure!(shown.contains(text), "{text} is missing:\n{shown}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn status_of_a_node_without_services_is_healthy() -> Result<()> {
    Cluster::new(1).test(|cluster| {
        let node = cluster.node(1)?;
        let _pod = node.pod("a")?;
        wait_for_problems(node, &[])
    })
}

#[test]
fn status_reports_that_the_agent_is_down_and_what_to_do() -> Result<()> {
    Cluster::new(1).services().test(|cluster| {
        let node = cluster.node(1)?;
        wait_for_problems(node, &[])?;
        node.kill_agent()?;
        wait_for_problems(node, &["agent_down"])?;
        let finished = node.weir(&["status"])?;
        let shown = String::from_utf8_lossy(&finished.stdout).into_owned();
        let first = shown.lines().next().context("no output")?;
        ensure!(first.contains("the agent does not answer at 127.0.0.1:9470"), "{shown}");
        ensure!(shown.contains("do: ") && shown.contains("weir-agent"), "{shown}");
        ensure!(finished.status.code() == Some(2), "{}", finished.status);
        Ok(())
    })
}

#[test]
fn status_reports_what_the_agent_waits_for() -> Result<()> {
    Cluster::new(1).stopped().test(|cluster| {
        let node = cluster.node(1)?;
        cluster.manifests()?.remove(node.manifest())?;
        node.start_agent()?;
        weir_tests::lab::until("the agent responds", || node.get("/healthz")?.ok())?;
        let (_, status) = node.weir_json(&["status"])?;
        let messages: Result<Vec<_>> =
            list(&status, "/problems")?.iter().map(|p| text(p, "/message")).collect();
        let messages = messages?.join("\n");
        ensure!(messages.contains("the agent waits for subnets-assigned: "), "{messages}");
        Ok(())
    })
}

#[test]
fn status_reports_a_missing_program_and_its_pod() -> Result<()> {
    Cluster::new(1).services().test(|cluster| {
        let node = cluster.node(1)?;
        let pod = node.pod("a")?;
        wait_for_problems(node, &[])?;
        let port = &pod.added().interfaces[1].name;
        node.while_agent_paused(|| {
            node.sh(&format!("tc filter del dev {port} egress"))?;
            let finished = node.weir(&["status"])?;
            let shown = String::from_utf8_lossy(&finished.stdout).into_owned();
            ensure!(
                shown.contains(&format!("{port} (pod default/a) has no program to_pod")),
                "{shown}"
            );
            Ok(())
        })?;
        wait_for_problems(node, &[])?;
        node.kill_agent()?;
        node.sh(&format!("tc filter del dev {port} egress"))?;
        wait_for_problems(node, &["agent_down", "program_missing"])?;
        node.start_agent()?;
        wait_for_problems(node, &[])
    })
}

#[test]
fn status_reports_a_missing_program_of_the_uplink() -> Result<()> {
    for mode in [Mode::Vxlan, Mode::HostGw] {
        Cluster::new(2).mode(mode).services().test(|cluster| {
            let node = cluster.node(1)?;
            wait_for_problems(node, &[])?;
            let overlay = if mode == Mode::HostGw { "uplink" } else { "weir.1" };
            let (_, status) = node.weir_json(&["status"])?;
            for (device, program) in
                [(overlay, "from_overlay"), ("uplink", "from_uplink"), ("uplink", "to_uplink")]
            {
                let is_listed =
                    |found: &Value| found["device"] == device && found["program"] == program;
                ensure!(
                    list(&status, "/attachments")?.iter().any(is_listed),
                    "{program}: {status:#}"
                );
            }
            node.kill_agent()?;
            for (direction, program) in [("egress", "to_uplink"), ("ingress", "from_uplink")] {
                node.sh(&format!("tc filter del dev uplink {direction}"))?;
                let finished = node.weir(&["status"])?;
                let shown = String::from_utf8_lossy(&finished.stdout).into_owned();
                let expected = format!("uplink has no program {program}: ");
                ensure!(shown.contains(&expected), "{shown}");
            }
            node.start_agent()?;
            wait_for_problems(node, &[])
        })?;
    }
    Ok(())
}

#[test]
fn status_reports_a_program_of_another_version_than_the_pinned_one() -> Result<()> {
    Cluster::new(1).services().test(|cluster| {
        let node = cluster.node(1)?;
        let pod = node.pod("a")?;
        wait_for_problems(node, &[])?;
        node.kill_agent()?;
        // The pinned program is another one now, as after an agent that was killed after it had loaded programs.
        let [from_pod, to_pod] = [node.program_pin("from_pod")?, node.program_pin("to_pod")?];
        node.run(|| Ok(std::fs::rename(to_pod, from_pod)?))?;
        let port = &pod.added().interfaces[1].name;
        let (_, status) = node.weir_json(&["status"])?;
        let outdated = list(&status, "/attachments")?
            .iter()
            .filter(|found| found["state"] == "outdated" && found["device"] == **port);
        ensure!(outdated.count() == 1, "{status:#}");
        Ok(())
    })
}

#[test]
fn status_reports_a_bridge_whose_mtu_is_smaller_than_that_of_pods() -> Result<()> {
    Cluster::new(1).test(|cluster| {
        let node = cluster.node(1)?;
        let _pod = node.pod("a")?;
        wait_for_problems(node, &[])?;
        node.sh("ip link set weir0 mtu 1280")?;
        wait_for_problems(node, &["mtu_mismatch"])
    })
}

#[test]
fn status_reports_the_agents_warning_about_a_firewall_that_drops_packets_of_pods() -> Result<()> {
    Cluster::new(1).flag("--resync-seconds=1").stopped().test(|cluster| {
        let node = cluster.node(1)?;
        node.sh("nft add table inet others")?;
        node.sh("nft add chain inet others forward { type filter hook forward priority 0 ; policy drop ; }")?;
        node.start_agent()?;
        wait_for_problems(node, &["concern"])?;
        let (_, status) = node.weir_json(&["status"])?;
        ensure!(text(&status, "/problems/0/message")?.starts_with("ForwardingDropped: "), "{status:#}");
        Ok(())
    })
}

#[test]
fn an_invalid_argument_has_another_exit_code_than_a_problem_of_the_node() -> Result<()> {
    Cluster::new(1).stopped().test(|cluster| {
        let node = cluster.node(1)?;
        ensure!(node.weir(&["status", "--no-such-flag"])?.status.code() == Some(1));
        ensure!(node.weir(&["services"])?.status.code() == Some(1));
        Ok(())
    })
}
