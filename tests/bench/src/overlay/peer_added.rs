//! A peer is added: from its manifest to its last entry.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::cold_start::{ENTRIES, Fixture};
use super::notifications::{NetlinkMonitor, Notification};
use super::peers::peer;

/// Adds a peer and removes it again, `samples` times.
pub(crate) fn measure(fixture: &Fixture, samples: u32) -> Result<Vec<Duration>> {
    let manifests = fixture.cluster.manifests()?;
    let mut notifications = NetlinkMonitor::of(fixture.cluster.node(1)?)?;
    let mut took = Vec::new();
    for sample in 0..samples {
        let new = peer(fixture.count + sample);
        let written = Instant::now();
        manifests.put(&new)?;
        let added =
            |notification| matches!(notification, Notification::Route | Notification::Neighbour);
        let (_, last) = notifications.wait(ENTRIES, added)?;
        took.push(last - written);
        manifests.remove(&new)?;
        notifications.wait(1, |notification| notification == Notification::RouteRemoved)?;
        notifications
            .wait(ENTRIES - 1, |notification| notification == Notification::NeighbourRemoved)
            .map(drop)?;
    }
    Ok(took)
}
