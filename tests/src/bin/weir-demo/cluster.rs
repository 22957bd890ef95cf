//! The cluster of the demonstration.

use std::time::Instant;

use anyhow::Result;
use weir_tests::lab::{Cluster, Families};

use crate::paint::Paint;

/// Creates the cluster, waits for its agents and prints a line for each node.
pub(crate) fn start(paint: Paint) -> Result<Cluster> {
    let started = Instant::now();
    let cluster = Cluster::new(2).pods(Families::Dual).services().build()?;
    for node in cluster.nodes() {
        let addresses = node.manifest().addresses().iter().map(ToString::to_string);
        println!(
            "  {}",
            paint.good(format!(
                "{}  {}  {}",
                paint.name(node.name()),
                addresses.collect::<Vec<_>>().join("  "),
                paint.faint(format!("pods {}", node.manifest().subnets().join("  "))),
            ))
        );
    }
    let took = started.elapsed().as_secs_f64() * 1e3;
    println!("  {}", paint.faint(format!("created and ready in {took:.0} ms")));
    Ok(cluster)
}
