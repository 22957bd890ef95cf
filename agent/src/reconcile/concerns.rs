//! What a pass has found that only an operator can put right.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tracing::{debug, warn};

use super::trigger::Trigger;
use crate::{
    events::Concern,
    forward::{self, PodTraffic},
    install::PodNetwork,
    overlay::{
        peers::{Reason, Refusal},
        plan::{Unreachable, UnreachableReason},
    },
};

/// Foreign firewalls change seldom, and reading them all takes a while on a node with many rules.
const FIREWALL_PERIOD: Duration = Duration::from_secs(60);

/// Whether foreign firewalls are to be looked at, which was last done at `last`: at the start, and
/// from then on when the agent has nothing better to do.
pub(super) fn is_forwarding_due(last: Option<Instant>, now: Instant, trigger: &Trigger) -> bool {
    last.is_none_or(|last| {
        trigger.is_resync() && now.saturating_duration_since(last) >= FIREWALL_PERIOD
    })
}

/// A node that is left out. One that has no subnet or no address is new and will have it in a
/// moment; the node itself says so if it does not.
pub(super) fn of_refusal(refusal: &Refusal) -> Option<Concern> {
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

/// A peer that there is no way to; `uplink` is the link that it should be on.
pub(super) fn of_unreachable(unreachable: &Unreachable, uplink: &str) -> Option<Concern> {
    match unreachable.reason {
        UnreachableReason::NotOnLink(address) => Some(Concern::EndpointNotOnLink {
            peer: unreachable.node.clone(),
            address,
            link: uplink.to_owned(),
        }),
        UnreachableReason::OtherFamily { .. } => {
            debug!(node = unreachable.node, reason = %unreachable.reason, "not reachable");
            None
        }
    }
}

/// Foreign firewalls that drop pod traffic. That they cannot be read is no reason to stop.
pub(super) async fn of_forwarding(
    network: &PodNetwork,
    bridge: &str,
    overlay: Option<String>,
) -> BTreeSet<Concern> {
    let pod_networks = network.networks.clone();
    let traffic = PodTraffic { pod_networks, bridge: bridge.to_owned(), overlay };
    match forward::check(&traffic).await {
        Ok(findings) => findings
            .into_iter()
            .map(|finding| Concern::ForwardingDropped { finding: finding.to_string() })
            .collect(),
        Err(error) => {
            warn!(%error, "cannot tell whether a firewall drops pod traffic");
            BTreeSet::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firewalls_are_looked_at_at_the_start_and_then_once_a_minute() {
        let started = Instant::now();
        let after = |seconds| started + Duration::from_secs(seconds);
        assert!(is_forwarding_due(None, started, &Trigger::Source));
        let looks = (1..=30).map(|resync| resync * 10).scan(started, |last, seconds| {
            let due = is_forwarding_due(Some(*last), after(seconds), &Trigger::Resync);
            if due {
                *last = after(seconds);
            }
            Some(due)
        });
        assert_eq!(looks.filter(|due| *due).count(), 5);
        assert!(
            !is_forwarding_due(Some(started), after(600), &Trigger::Source),
            "something is new"
        );
    }
}
