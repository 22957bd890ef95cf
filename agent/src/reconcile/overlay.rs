//! The overlay in a pass: when the kernel is read, and what is then changed.

use std::{collections::BTreeMap, sync::Arc};

use tracing::info;
use weir_netlink::{Error, Netlink, link};

use crate::overlay::{
    apply::{Failure, apply},
    diff::{Observed, Op, diff},
    observe::observe,
    plan::Desired,
};

/// How many operations of a pass are logged one by one.
const LOGGED: usize = 20;

/// What is known of the overlay in the kernel.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// The state that the last pass has programmed, or tried to program.
    desired: Arc<Desired>,
    /// Index of the tunnel device, if it exists.
    tunnel: Option<u32>,
    /// The last pass has left the kernel as desired. The kernel notifies about every change since.
    is_settled: bool,
}

/// The changes of a pass.
pub(super) struct Changes {
    /// The tunnel devices that have to go, as operations.
    removals: Vec<Op>,
    /// All other operations.
    rest: Vec<Op>,
    /// All operations by kind.
    operations: BTreeMap<&'static str, u64>,
    /// Operations that failed.
    failures: Vec<Failure>,
}

/// What was done.
pub(super) struct Programmed {
    /// Operations by kind.
    pub(super) operations: BTreeMap<&'static str, u64>,
    /// Operations that failed.
    pub(super) failures: Vec<Failure>,
}

impl Overlay {
    /// The desired state of the kernel.
    pub(super) const fn desired(&self) -> &Arc<Desired> {
        &self.desired
    }

    /// Index of the tunnel device, if it exists.
    pub(super) const fn tunnel(&self) -> Option<u32> {
        self.tunnel
    }

    /// The state of the kernel that the last pass has left, if that is known. It saves reading
    /// thousands of entries.
    pub(super) fn remembered(&self, desired: &Desired) -> Option<Observed> {
        let is_same_device = self.desired.tunnel == desired.tunnel;
        let known = self.is_settled && is_same_device;
        known.then(|| Observed::settled(&self.desired, self.tunnel)).flatten()
    }

    /// Reads the state of the kernel.
    pub(super) async fn observe(
        netlink: &Netlink,
        tunnel_name: &str,
        desired: &Desired,
    ) -> Result<Observed, Error> {
        let own_mac = desired.tunnel.as_ref().map(|tunnel| tunnel.mac);
        observe(netlink, tunnel_name, own_mac).await
    }

    /// The changes from `observed` to `desired`.
    pub(super) fn plan(&mut self, desired: Arc<Desired>, observed: &Observed) -> Changes {
        self.is_settled = false;
        let ops = diff(&desired, observed);
        self.desired = desired;
        let mut operations = BTreeMap::new();
        for (number, op) in ops.iter().enumerate() {
            *operations.entry(Op::kind(op)).or_default() += 1;
            if number < LOGGED {
                info!("{op}");
            }
        }
        if let Some(more) = ops.len().checked_sub(LOGGED).filter(|more| *more > 0) {
            info!("and {more} more operations");
        }
        let (removals, rest) = ops.into_iter().partition(|op| matches!(op, Op::DeleteTunnel(_)));
        Changes { removals, rest, operations, failures: Vec::new() }
    }

    /// Deletes the tunnel devices that have to go.
    pub(super) async fn remove_tunnels(
        netlink: &Netlink,
        tunnel_name: &str,
        changes: &mut Changes,
    ) {
        let removals = std::mem::take(&mut changes.removals);
        if !removals.is_empty() {
            changes.failures.extend(apply(netlink, tunnel_name, removals).await);
        }
    }

    /// Makes all other changes.
    pub(super) async fn program(
        &mut self,
        netlink: &Netlink,
        tunnel_name: &str,
        changes: Changes,
    ) -> Result<Programmed, Error> {
        let Changes { removals: _, rest, operations, mut failures } = changes;
        failures.extend(apply(netlink, tunnel_name, rest).await);
        self.tunnel = link::find(netlink, tunnel_name).await?.map(|link| link.index);
        self.is_settled = failures.is_empty();
        Ok(Programmed { operations, failures })
    }
}
