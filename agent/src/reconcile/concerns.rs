//! What a pass has found that only an operator can put right.

use std::collections::BTreeSet;

use tracing::{debug, warn};

use crate::{
    events::Concern,
    forward::{self, PodTraffic},
    install::PodNetwork,
    overlay::{
        peers::{Reason, Refusal},
        plan::{Unreachable, UnreachableReason},
    },
};

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
