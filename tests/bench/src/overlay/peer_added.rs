//! One more peer: from its manifest to its entries.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::cold_start::{ENTRIES, Scene};
use super::notices::{Notice, Notices};
use super::peers::peer;

/// Adds a peer and removes it again, so many times.
pub(crate) fn measure(scene: &Scene, samples: u32) -> Result<Vec<Duration>> {
    let world = scene.cluster.manifests()?;
    let mut notices = Notices::of(scene.cluster.node(1)?)?;
    let mut took = Vec::new();
    for sample in 0..samples {
        let new = peer(scene.count + sample);
        let written = Instant::now();
        world.put(&new)?;
        let added = |notice| matches!(notice, Notice::Route | Notice::Neighbour);
        let (_, last) = notices.wait(ENTRIES, added)?;
        took.push(last - written);
        world.remove(&new)?;
        notices.wait(1, |notice| notice == Notice::RouteGone)?;
        notices.wait(ENTRIES - 1, |notice| notice == Notice::NeighbourGone).map(drop)?;
    }
    Ok(took)
}
