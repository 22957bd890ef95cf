//! The concerns that a pass finds: problems that only an operator can solve.

use tracing::debug;

use crate::{
    events::Concern,
    overlay::{
        peers::{Reason, Refusal},
        plan::{Unreachable, UnreachableReason},
    },
};

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

/// The concern about what the source does not know of the cluster.
pub(super) fn from_problems(problems: &[String]) -> Option<Concern> {
    let (first, others) = problems.split_first()?;
    Some(Concern::ClusterStateIncomplete { problem: first.clone(), others: others.len() })
}
