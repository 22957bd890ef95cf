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
