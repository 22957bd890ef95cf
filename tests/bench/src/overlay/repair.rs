//! The tunnel's device is deleted: from the kernel's notice of that to the last entry.

use std::time::Duration;

use anyhow::Result;
use weir_tests::lab::{Stack, until};

use super::cold_start::{ENTRIES, Scene};
use super::notices::{Notice, Notices};

/// Deletes it so many times.
pub(crate) fn measure(scene: &Scene, samples: u32) -> Result<Vec<Duration>> {
    let node = scene.cluster.node(1)?;
    let mut took = Vec::new();
    for _ in 0..samples {
        until("the agent is ready", || node.ready())?;
        let mut notices = Notices::of(node)?;
        let deleted = std::thread::scope(|scope| -> Result<Duration> {
            // It returns some time after the deletion.
            let deleting = scope.spawn(|| node.sh("ip link del weir.1"));
            let (_, gone) = notices.wait(1, |notice| notice == Notice::LinkGone)?;
            let back = |notice| matches!(notice, Notice::Route | Notice::Neighbour);
            let (_, last) = notices.wait(scene.count * ENTRIES, back)?;
            deleting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok(last - gone)
        })?;
        took.push(deleted);
    }
    Ok(took)
}
