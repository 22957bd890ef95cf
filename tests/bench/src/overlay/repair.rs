//! The VXLAN device is deleted: from the kernel's notification of that to the last repaired entry.

use std::time::Duration;

use anyhow::Result;
use weir_tests::lab::{Stack, until};

use super::cold_start::{ENTRIES, Fixture};
use super::notifications::{NetlinkMonitor, Notification};

/// Deletes the device `samples` times.
pub(crate) fn measure(fixture: &Fixture, samples: u32) -> Result<Vec<Duration>> {
    let node = fixture.cluster.node(1)?;
    let mut took = Vec::new();
    for _ in 0..samples {
        until("the agent is ready", || node.ready())?;
        let mut notifications = NetlinkMonitor::of(node)?;
        let repaired_after = std::thread::scope(|scope| -> Result<Duration> {
            // The command returns some time after the deletion.
            let deleting = scope.spawn(|| node.sh("ip link del weir.1"));
            let (_, removed) =
                notifications.wait(1, |notification| notification == Notification::LinkRemoved)?;
            let restored = |notification| {
                matches!(notification, Notification::Route | Notification::Neighbour)
            };
            let (_, last) = notifications.wait(fixture.count * ENTRIES, restored)?;
            deleting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok(last - removed)
        })?;
        took.push(repaired_after);
    }
    Ok(took)
}
