//! The overlay in a pass: when the kernel is looked at, and what is then done.

use std::{collections::BTreeMap, sync::Arc};

use tracing::info;
use weir_netlink::{Error, Netlink, link};

use crate::overlay::{
    apply::{Failure, apply},
    diff::{Observed, Op, diff},
    observe::observe,
    plan::Desired,
};

/// So many operations of a pass are logged one by one.
const LOGGED: usize = 20;

/// What is known of the overlay in the kernel.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// What the last pass has made of the kernel, or tried to.
    desired: Arc<Desired>,
    /// Index of the tunnel device, if it is there.
    tunnel: Option<u32>,
    /// The last pass has left the kernel as desired. What others have changed since, the kernel has
    /// told or will tell.
    is_settled: bool,
}

/// What has been done.
pub(super) struct Programmed {
    /// Operations by kind.
    pub(super) operations: BTreeMap<&'static str, u64>,
    /// Those that did not work.
    pub(super) failures: Vec<Failure>,
}

impl Overlay {
    /// What the kernel shall be.
    pub(super) const fn desired(&self) -> &Arc<Desired> {
        &self.desired
    }

    /// Index of the tunnel device, if it is there.
    pub(super) const fn tunnel(&self) -> Option<u32> {
        self.tunnel
    }

    /// How the kernel is according to what was done so far, if the kernel has told of nothing else:
    /// a look at thousands of entries is spared. The device itself is always looked at.
    pub(super) fn remembered(&self, desired: &Desired) -> Option<Observed> {
        let is_same_device = self.desired.tunnel == desired.tunnel;
        let known = self.is_settled && is_same_device;
        known.then(|| Observed::settled(&self.desired, self.tunnel)).flatten()
    }

    /// Looks at the kernel.
    pub(super) async fn observe(
        netlink: &Netlink,
        tunnel_name: &str,
        desired: &Desired,
    ) -> Result<Observed, Error> {
        let own_mac = desired.tunnel.as_ref().map(|tunnel| tunnel.mac);
        observe(netlink, tunnel_name, own_mac).await
    }

    /// Makes the kernel, which is as `observed`, what is desired.
    pub(super) async fn program(
        &mut self,
        netlink: &Netlink,
        tunnel_name: &str,
        desired: Arc<Desired>,
        observed: &Observed,
    ) -> Result<Programmed, Error> {
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
        let failures = apply(netlink, tunnel_name, ops).await;
        self.tunnel = link::find(netlink, tunnel_name).await?.map(|link| link.index);
        self.is_settled = failures.is_empty();
        Ok(Programmed { operations, failures })
    }
}
