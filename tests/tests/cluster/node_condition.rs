//! A node that the cluster takes for one without a network.

use anyhow::{Result, ensure};
use weir_tests::lab::{Cluster, until};

#[test]
fn without_an_api_server_the_agent_logs_the_condition_that_it_cannot_clear() -> Result<()> {
    Cluster::new(1).flag("--resync-seconds=1").test(|cluster| {
        let (node, manifests) = (cluster.node(1)?, cluster.manifests()?);
        let yaml = node.manifest().yaml();
        let condition = "  conditions:\n  - type: NetworkUnavailable\n    status: \"True\"\n";
        let told =
            || node.log().matches("WARN the Node has the condition NetworkUnavailable").count();
        ensure!(told() == 0, "it was said before");
        manifests.write("node1.yaml", &(yaml.clone() + condition))?;
        until("the log says it", || {
            ensure!(told() == 1 && node.log().contains("has no API server"), "not yet");
            Ok(())
        })?;
        // It is as good a node as any.
        node.ready()?;
        node.pod("pod")?;
        manifests.write("node1.yaml", &yaml)?;
        until("the log says that it is over", || {
            ensure!(node.log().contains("over: the Node has the condition"), "not yet");
            Ok(())
        })?;
        ensure!(told() == 1, "it was said {} times", told());
        Ok(())
    })
}
