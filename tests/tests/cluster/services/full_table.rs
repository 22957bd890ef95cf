//! A table of flows that fills up says so before it refuses a flow, and it forgets none.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::lab::{Cluster, Connection, Families, Member, Stack, until};

use super::{Backend, reaches_by_tcp, web, with};

/// The smallest table that the agent accepts, in entries. A flow has two.
const SMALL: &str = "--map-capacity=flows-tcp=64";
const FLOWS: usize = 32;

fn concerns(node: &Member) -> Result<String> {
    Ok(node.get("/concerns")?.body)
}

/// The problems of `weir status`, each with its advice.
fn problems(node: &Member) -> Result<Vec<String>> {
    let (_, status) = node.weir_json(&["status"])?;
    let problems = status["problems"].as_array().context("no problems")?.iter();
    let text = |problem: &Value, key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    let keys = ["kind", "message", "remedy"];
    Ok(problems.map(|problem| keys.map(|key| text(problem, key)).join(" ")).collect())
}

#[test]
fn a_table_full_of_established_connections_says_so_and_forgets_none() -> Result<()> {
    Cluster::new(1).services().flag(SMALL).flag("--resync-seconds=1").test(|cluster| {
        let node = cluster.node(1)?;
        let client = node.pod("client")?;
        let backend = Backend::on(node, "web")?;
        let service = with(web(Families::V4), &[&backend]);
        cluster.manifests()?.put_service(&service)?;
        let target: SocketAddr = service.frontends().into_iter().next().context("no frontend")?;
        reaches_by_tcp(&client, target, "web")?;

        // One less than nine tenths.
        let connect = |_| Connection::start(&client, target);
        let mut open: Vec<_> = (0..28).map(connect).collect::<Result<_>>()?;
        until("the table's connections are counted", || {
            let metrics = node.get("/metrics")?.body;
            ensure!(metrics.contains("weir_map_entries{map=\"flows_tcp_v4\"} 56\n"), "{metrics}");
            Ok(())
        })?;
        ensure!(concerns(node)? == "[]", "{}", concerns(node)?);
        ensure!(problems(node)?.is_empty(), "{:?}", problems(node)?);

        open.push(connect(29)?);
        until("the agent says that the table fills up", || {
            let found = concerns(node)?;
            ensure!(found.contains("FlowTableFilling"), "{found}");
            ensure!(found.contains("map flows_tcp_v4"), "{found}");
            Ok(())
        })?;
        // The log has each Event.
        until("there is an Event", || {
            ensure!(node.log().contains("\"FlowTableFilling\""), "{}", node.log());
            Ok(())
        })?;
        // The node works: it stays ready, with a warning.
        node.ready()?;
        let readiness = node.get("/readyz")?.body;
        ensure!(readiness.contains("\nwarning FlowTableFilling: the 32 flows that"), "{readiness}");
        let shown = problems(node)?;
        let [only] = shown.as_slice() else { anyhow::bail!("{shown:?}") };
        for words in [
            "flow_table_filling map flows_tcp_v4 is 90 % full of established flows: 29 of 32",
            "--map-capacity=flows-tcp=128",
            "weir flows --protocol tcp",
        ] {
            ensure!(only.contains(words), "{words}: {only}");
        }

        // Beyond the capacity, new ones are refused and no established one is forgotten.
        while open.len() < FLOWS + 8 {
            match Connection::start(&client, target) {
                Ok(connection) => open.push(connection),
                Err(_) => break,
            }
        }
        ensure!(open.len() <= FLOWS, "{} connections", open.len());
        until("the agent says that packets were dropped", || {
            let found = concerns(node)?;
            ensure!(found.contains("FlowTableFull"), "{found}");
            let log = node.log();
            ensure!(log.contains("\"FlowTableFull\""), "{log}");
            Ok(())
        })?;
        let metrics = node.get("/metrics")?;
        let refused = metrics.metric("weir_flows_refused_total").unwrap_or_default();
        ensure!(refused > 0.0, "{}", metrics.body);
        let counted = "weir_packets_total{reason=\"dropped_table_full\"}";
        ensure!(metrics.body.contains(counted), "{}", metrics.body);
        let shown = problems(node)?.join("\n");
        ensure!(shown.contains("FlowTableFull"), "{shown}");
        node.ready()?;
        for connection in &mut open {
            ensure!(connection.ask()?.server == "web");
        }

        drop(open);
        until("the table has room again", || {
            let found = concerns(node)?;
            ensure!(!found.contains("FlowTableFilling"), "{found}");
            ensure!(node.log().contains("over: the 32 flows that the map flows_tcp_v4"));
            Ok(())
        })?;
        reaches_by_tcp(&client, target, "web")
    })
}

#[test]
fn an_agent_that_cannot_remove_flows_is_not_ready_until_it_can() -> Result<()> {
    Cluster::new(1).services().test(|cluster| {
        let node = cluster.node(1)?;
        let maps = node.pin_dir().join("maps");
        // Inside of the node, which has a file system of its own for pins.
        let remove = || {
            node.run(|| {
                let entries = fs::read_dir(&maps)?.filter_map(Result::ok);
                let is_flows = |name: &str| name.starts_with("FLOWS_DGRAM_V6");
                let mut found = entries.filter(|e| e.file_name().to_str().is_some_and(is_flows));
                found.try_for_each(|entry| Ok(fs::remove_file(entry.path())?))
            })
        };
        until("the agent says so", || {
            // The agent makes the pin again.
            remove()?;
            let response = node.get("/readyz")?;
            let line = "waiting flows-swept: cannot remove flows that are over: ";
            ensure!(response.body.contains(line), "{}", response.body);
            ensure!(response.ok().is_err(), "it is ready");
            Ok(())
        })?;
        let shown = problems(node)?.join("\n");
        ensure!(shown.contains("the agent waits for flows-swept: cannot remove"), "{shown}");
        until("the agent is ready", || node.ready())
    })
}
