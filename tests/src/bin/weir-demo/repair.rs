//! A tunnel is deleted while datagrams pass through it, and the agent repairs it.

use std::time::Instant;

use anyhow::{Context, Result};
use weir_tests::lab::{Flow, Member, Observe, Stack, until};

use crate::paint::Paint;
use crate::pods::DemoPod;

/// Deletes the tunnel of `node`, and measures how long the repair takes.
pub(crate) fn tunnel(
    node: &Member,
    peer: &Member,
    pods: &[DemoPod],
    paint: Paint,
) -> Result<Vec<String>> {
    let on = |member: &Member| {
        let found = pods.iter().find(|pod| pod.node == member.name());
        found.with_context(|| format!("no pod on {}", member.name()))
    };
    let (from, to) = (on(node)?, on(peer)?);
    let flow = Flow::start(&from.sandbox, &to.sandbox, to.added.address()?)?;
    node.sh("ip link del weir.1")?;
    let started = Instant::now();
    until("the tunnel is back", || node.link("weir.1").map(drop))?;
    let device = started.elapsed();
    until("the tunnel has its peers again", || node.check_peers([peer.manifest()]))?;
    let entries = started.elapsed();
    weir_tests::lab::ping(&from.sandbox, to.added.address()?)?;
    let tally = flow.stop()?;
    Ok(vec![
        format!("ip link del weir.1 on {}", paint.name(node.name())),
        paint.good(format!("device repaired after {:.0} ms", device.as_secs_f64() * 1e3)),
        paint.good(format!(
            "route, neighbour and forwarding entry repaired after {:.0} ms",
            entries.as_secs_f64() * 1e3
        )),
        paint.faint(format!(
            "{} of {} datagrams lost, at 500 per second",
            tally.lost(),
            tally.sent
        )),
    ])
}
