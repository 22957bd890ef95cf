//! A foreign firewall, which Weir reports and does not change.

use anyhow::{Result, ensure};
use weir_tests::lab::{Cluster, Stack, until};

#[test]
fn a_new_agent_reports_a_firewall_that_drops_traffic_of_pods() -> Result<()> {
    Cluster::new(1).flag("--resync-seconds=1").stopped().test(|cluster| {
        let node = cluster.node(1)?;
        node.sh("nft add table inet guard")?;
        let chain = "forward { type filter hook forward priority 0; policy drop; }";
        node.sh(&format!("nft add chain inet guard {chain}"))?;
        node.start_agent()?;
        until("the firewall is logged", || {
            let logged = |line: &str| line.contains("inet guard drops forwarded packets");
            ensure!(node.log().lines().any(logged), "not yet");
            Ok(())
        })
    })
}

#[test]
fn a_firewall_is_reported_and_forgotten_soon_after_its_change() -> Result<()> {
    Cluster::new(1).flag("--resync-seconds=1").test(|cluster| {
        let node = cluster.node(1)?;
        let concerns = || -> Result<String> { Ok(node.get("/concerns")?.body) };
        let chain = "forward { type filter hook forward priority 0; policy drop; }";
        // Without a notification of the change, a minute passes before the next check.
        for removal in ["delete table inet guard", "flush ruleset", "delete table inet guard"] {
            node.sh("nft add table inet guard")?;
            node.sh(&format!("nft add chain inet guard {chain}"))?;
            until("it is reported", || {
                let found = concerns()?;
                ensure!(found.contains("ForwardingDropped"), "{found}");
                Ok(())
            })?;
            node.sh(&format!("nft {removal}"))?;
            until("it is over", || {
                let found = concerns()?;
                ensure!(found == "[]", "{found}");
                Ok(())
            })?;
        }
        Ok(())
    })
}
