//! What packets are counted by.

/// Why a packet was treated in another way than plain forwarding: the index into the map of
/// counters. Numbers are never given a new meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Reason {
    /// A flow to a Service was opened.
    FlowOpened = 0,
    /// A pod reached itself through a Service.
    Hairpin = 1,
    /// Rejected: the Service has no backend.
    RejectedNoBackend = 2,
    /// Rejected: the Service's address has no such port.
    RejectedNoPort = 3,
    /// Dropped: no backend on this node, and the policy allows no other.
    DroppedLocalPolicy = 4,
    /// Dropped: a later fragment whose first was not seen.
    DroppedFragment = 5,
    /// Dropped: a header that is cut off, or a chain of headers that is too long.
    DroppedMalformed = 6,
    /// Dropped: SCTP to a backend with another port, which would need a new checksum.
    DroppedSctpPort = 7,
    /// Dropped: a helper of the kernel failed to change the packet.
    DroppedRewrite = 8,
    /// Dropped: the slots or backends of a Service are not there.
    DroppedNoSlot = 9,
    /// Dropped: every port that a client could be given towards a backend is taken.
    DroppedCollision = 10,
    /// A flow was given another source port towards its backend.
    PortRemapped = 11,
    /// The flow table took no entry. Not counted by this release.
    FlowNotStored = 12,
    /// Half of a flow had been forgotten and was restored. Not counted by this release.
    FlowRestored = 13,
    /// A direct flow met the leftover of one to a Service, which was removed.
    StaleFlowRemoved = 14,
    /// A UDP flow lost its backend and chose another.
    FlowMoved = 15,
    /// The source or destination of a quoted packet in an ICMP error was translated.
    IcmpTranslated = 16,
    /// Went by the stack: larger than the device it would have been sent to.
    StackMtu = 17,
    /// A process of this node was given a backend.
    SocketTranslated = 18,
    /// A process of this node was refused.
    SocketRefused = 19,
    /// A flow that was not established, or had been closed, was removed for others.
    FlowForgotten = 20,
    /// Dropped: the flow table is full of established flows.
    DroppedTableFull = 21,
    /// Dropped: a pod sent it as somebody else, or about a packet of others; or it came from outside with
    /// the address of a pod or of a Service, or with tags that could hide one.
    DroppedSource = 22,
    /// Dropped: a pod sent a router advertisement, a redirect, or a query of multicast listeners.
    DroppedRouter = 23,
    /// Dropped: a pod sent it to the tunnel's port of a node.
    DroppedTunnel = 24,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 25] = [
        Self::FlowOpened,
        Self::Hairpin,
        Self::RejectedNoBackend,
        Self::RejectedNoPort,
        Self::DroppedLocalPolicy,
        Self::DroppedFragment,
        Self::DroppedMalformed,
        Self::DroppedSctpPort,
        Self::DroppedRewrite,
        Self::DroppedNoSlot,
        Self::DroppedCollision,
        Self::PortRemapped,
        Self::FlowNotStored,
        Self::FlowRestored,
        Self::StaleFlowRemoved,
        Self::FlowMoved,
        Self::IcmpTranslated,
        Self::StackMtu,
        Self::SocketTranslated,
        Self::SocketRefused,
        Self::FlowForgotten,
        Self::DroppedTableFull,
        Self::DroppedSource,
        Self::DroppedRouter,
        Self::DroppedTunnel,
    ];

    /// How metrics and people name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FlowOpened => "flow_opened",
            Self::Hairpin => "hairpin",
            Self::RejectedNoBackend => "rejected_no_backend",
            Self::RejectedNoPort => "rejected_no_port",
            Self::DroppedLocalPolicy => "dropped_local_policy",
            Self::DroppedFragment => "dropped_fragment",
            Self::DroppedMalformed => "dropped_malformed",
            Self::DroppedSctpPort => "dropped_sctp_port",
            Self::DroppedRewrite => "dropped_rewrite",
            Self::DroppedNoSlot => "dropped_no_slot",
            Self::DroppedCollision => "dropped_collision",
            Self::PortRemapped => "port_remapped",
            Self::FlowNotStored => "flow_not_stored",
            Self::FlowRestored => "flow_restored",
            Self::StaleFlowRemoved => "stale_flow_removed",
            Self::FlowMoved => "flow_moved",
            Self::IcmpTranslated => "icmp_translated",
            Self::StackMtu => "stack_mtu",
            Self::SocketTranslated => "socket_translated",
            Self::SocketRefused => "socket_refused",
            Self::FlowForgotten => "flow_forgotten",
            Self::DroppedTableFull => "dropped_table_full",
            Self::DroppedSource => "dropped_source",
            Self::DroppedRouter => "dropped_router",
            Self::DroppedTunnel => "dropped_tunnel",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_found_at_its_number() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.name());
        }
    }
}
