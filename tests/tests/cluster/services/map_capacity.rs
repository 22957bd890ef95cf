//! The capacity of maps.

use anyhow::{Result, ensure};
use rustix::process::Signal;
use weir_tests::lab::{Cluster, until};

#[test]
fn new_maps_have_the_configured_capacity_and_existing_maps_keep_theirs() -> Result<()> {
    Cluster::new(1).services().flag("--map-capacity=sockets=1024,flows-any=2048").test(|cluster| {
        let node = cluster.node(1)?;
        let wait_for = |line: &str| {
            until("the metrics have the capacity", || {
                let metrics = node.get("/metrics")?.body;
                ensure!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
                Ok(())
            })
        };
        wait_for("weir_map_capacity{map=\"sockets_v6\"} 1024")?;
        wait_for("weir_map_capacity{map=\"flows_dgram_v4\"} 2048")?;
        node.end_agent(Signal::TERM)?;
        node.start_agent_with(&["--map-capacity=sockets=4096"])?;
        until("the agent is ready", || node.ready())?;
        wait_for("weir_map_capacity{map=\"sockets_v6\"} 1024")?;
        let log = node.log();
        ensure!(log.contains("keeps the room") && log.contains("SOCKETS_V6"), "{log}");
        Ok(())
    })
}
