//! The concerns that a pass finds: problems that only an operator can solve.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tracing::{debug, warn};

use super::trigger::Trigger;
use crate::{
    events::Concern,
    firewall_check::{self, PodTraffic},
    install::PodNetwork,
    overlay::{
        peers::{Reason, Refusal},
        plan::{Unreachable, UnreachableReason},
    },
};

/// Foreign firewalls seldom change, and reading all of them takes long on a node with many rules.
const FIREWALL_PERIOD: Duration = Duration::from_secs(60);

/// Whether it is time to check foreign firewalls, which were last checked at `last`. The first pass
/// checks them, and after that only a resync does.
pub(super) fn is_firewall_check_due(
    last: Option<Instant>,
    now: Instant,
    trigger: &Trigger,
) -> bool {
    last.is_none_or(|last| {
        trigger.is_resync() && now.saturating_duration_since(last) >= FIREWALL_PERIOD
    })
}

/// The concern about a refused node. A node without a subnet or an address is usually new and gets
/// one soon. If it does not, its own agent reports that.
pub(super) fn from_refusal(refusal: &Refusal) -> Option<Concern> {
    let refused = refusal.node.clone();
    match &refusal.reason {
        Reason::Overlap { cidr, other, .. } => {
            Some(Concern::PodCidrOverlap { refused, cidr: *cidr, kept: other.clone() })
        }
        Reason::SameEndpoint { ip, other } => {
            Some(Concern::EndpointShared { refused, address: *ip, kept: other.clone() })
        }
        Reason::NoPodCidr | Reason::NoUnderlay => None,
    }
}

/// The concern about a peer that cannot be reached; `uplink` is the link that it should be on.
pub(super) fn from_unreachable(unreachable: &Unreachable, uplink: &str) -> Option<Concern> {
    match unreachable.reason {
        UnreachableReason::NotOnLink(address) => Some(Concern::EndpointNotOnLink {
            peer: unreachable.node.clone(),
            address,
            link: uplink.to_owned(),
        }),
        UnreachableReason::OtherFamily { .. } => {
            debug!(node = unreachable.node, reason = %unreachable.reason, "the peer cannot be reached");
            None
        }
    }
}

/// The concerns about foreign firewalls that drop pod traffic. If they cannot be read, the pass goes
/// on.
pub(super) async fn check_firewalls(
    network: &PodNetwork,
    bridge: &str,
    overlay: Option<String>,
) -> BTreeSet<Concern> {
    let pod_networks = network.networks.clone();
    let traffic = PodTraffic { pod_networks, bridge: bridge.to_owned(), overlay };
    match firewall_check::check(&traffic).await {
        Ok(findings) => findings
            .into_iter()
            .map(|finding| Concern::ForwardingDropped { finding: finding.to_string() })
            .collect(),
        Err(error) => {
            warn!(%error, "cannot check whether a firewall drops pod traffic");
            BTreeSet::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firewalls_are_checked_at_the_start_and_then_once_a_minute() {
        let started = Instant::now();
        let after = |seconds| started + Duration::from_secs(seconds);
        assert!(is_firewall_check_due(None, started, &Trigger::Source));
        let checks = (1..=30).map(|resync| resync * 10).scan(started, |last, seconds| {
            let due = is_firewall_check_due(Some(*last), after(seconds), &Trigger::Resync);
            if due {
                *last = after(seconds);
            }
            Some(due)
        });
        assert_eq!(checks.filter(|due| *due).count(), 5);
        assert!(
            !is_firewall_check_due(Some(started), after(600), &Trigger::Source),
            "a new snapshot comes first"
        );
    }
}
