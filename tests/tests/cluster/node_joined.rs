//! A node that cannot be part of the pod network says why, and its devices stay as they are.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use weir_tests::lab::{Cluster, Member, Stack, until};

const UPLINK: &str = "uplink";

/// The addresses of a device, with their prefixes, as `ip` takes them.
fn addresses(node: &Member, device: &str) -> Result<Vec<String>> {
    let text = node.sh(&format!("ip -o addr show dev {device} scope global"))?;
    let address = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
    text.lines().map(|line| address(line).context("no address")).collect()
}

fn says(node: &Member, reason: &str) -> Result<()> {
    until("the node says why it has not joined", || {
        let ready = node.get("/readyz")?;
        ensure!(ready.status == 503, "{}", ready.body);
        let mut lines = ready.body.lines();
        let line = lines.find(|line| line.starts_with("waiting node-joined"));
        ensure!(line.is_some_and(|line| line.contains(reason)), "{}", ready.body);
        let concerns = node.get("/concerns")?.body;
        ensure!(concerns.contains("NodeNotJoined"), "{concerns}");
        Ok(())
    })?;
    let (_, status) = node.weir_json(&["status"])?;
    ensure!(status["problems"].to_string().contains(reason), "{status:#}");
    Ok(())
}

#[test]
fn a_device_of_the_node_is_not_taken_for_the_pods_bridge() -> Result<()> {
    Cluster::new(1).test(|cluster| {
        let node = cluster.node(1)?;
        until("the agent is ready", || node.ready())?;
        let before = addresses(node, UPLINK)?;
        node.end_agent(Signal::TERM)?;
        node.start_agent_with(&["--bridge=uplink"])?;
        says(node, "names uplink, which is no bridge")?;
        ensure!(addresses(node, UPLINK)? == before, "{:?}", addresses(node, UPLINK)?);

        node.end_agent(Signal::TERM)?;
        let own = before.first().context("no address")?;
        node.sh("ip link add own type bridge")?;
        node.sh(&format!("ip addr add {own} dev own"))?;
        let of_bridge = addresses(node, "own")?;
        node.start_agent_with(&["--bridge=own"])?;
        says(node, "names own, which has the node's address")?;
        ensure!(addresses(node, "own")? == of_bridge, "{:?}", addresses(node, "own")?);

        node.end_agent(Signal::TERM)?;
        node.sh("ip link del own")?;
        node.start_agent()?;
        until("the agent is ready", || node.ready())
    })
}

#[test]
fn a_node_that_loses_its_address_is_not_ready_and_says_so() -> Result<()> {
    Cluster::new(2).test(|cluster| {
        let node = cluster.node(1)?;
        until("the agent is ready", || node.ready())?;
        let before = addresses(node, UPLINK)?;
        for address in &before {
            node.sh(&format!("ip addr del {address} dev {UPLINK}"))?;
        }
        says(node, "is on a link that is up")?;
        for address in &before {
            node.sh(&format!("ip addr add {address} dev {UPLINK}"))?;
        }
        until("the agent is ready", || node.ready())
    })
}
