//! A Node whose condition says that it has no network.

use anyhow::{Result, ensure};
use weir_tests::lab::{Cluster, until};

#[test]
fn without_an_api_server_the_agent_logs_the_condition_that_it_cannot_clear() -> Result<()> {
    Cluster::new(1).flag("--resync-seconds=1").test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let yaml = node.manifest().yaml();
        let condition = "  conditions:\n  - type: NetworkUnavailable\n    status: \"True\"\n";
        let count =
            || node.log().matches("WARN the Node has the condition NetworkUnavailable").count();
        ensure!(count() == 0, "the condition was logged before");
        manifests.write("node1.yaml", &(yaml.clone() + condition))?;
        until("the condition is logged", || {
            ensure!(count() == 1 && node.log().contains("has no API server"), "not yet");
            Ok(())
        })?;
        // The node works nevertheless.
        node.ready()?;
        node.pod("pod")?;
        manifests.write("node1.yaml", &yaml)?;
        until("the end of the condition is logged", || {
            ensure!(node.log().contains("over: the Node has the condition"), "not yet");
            Ok(())
        })?;
        ensure!(count() == 1, "the condition was logged {} times", count());
        Ok(())
    })
}
