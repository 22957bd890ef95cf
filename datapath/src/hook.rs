//! The hooks of devices that Weir's programs are attached to.

use rtnetlink::packet_route::tc::TcHandle;

/// The handle of Weir's filters: "weir".
const HANDLE: u32 = 0x7765_6972;
/// The handle of filters for traffic with the outside: an uplink can have one for the overlay too.
const OUTER_HANDLE: u32 = HANDLE + 1;

/// A hook of a device for one of Weir's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Packets from a pod: ingress of the host's end of its veth.
    FromPod,
    /// Packets to a pod: egress of the host's end of its veth.
    ToPod,
    /// Packets from other nodes: ingress of the tunnel device.
    FromOverlay,
    /// Packets from outside the node: ingress of an uplink.
    FromUplink,
    /// Packets that leave the node: egress of an uplink.
    ToUplink,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 5] =
        [Self::FromPod, Self::ToPod, Self::FromOverlay, Self::FromUplink, Self::ToUplink];

    /// Both hooks of a pod's veth.
    pub const POD: [Self; 2] = [Self::FromPod, Self::ToPod];

    /// Every hook of a device that does not belong to a pod.
    pub const NODE: [Self; 3] = [Self::FromOverlay, Self::FromUplink, Self::ToUplink];

    /// Both hooks of an uplink.
    pub const UPLINK: [Self; 2] = [Self::FromUplink, Self::ToUplink];

    /// The name of the program.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::FromPod => "from_pod",
            Self::ToPod => "to_pod",
            Self::FromOverlay => "from_overlay",
            Self::FromUplink => "from_uplink",
            Self::ToUplink => "to_uplink",
        }
    }

    /// The name of the filter, which shows that it is Weir's.
    pub(crate) fn filter(self) -> String {
        format!("weir/{}", self.program())
    }

    /// The parent of its filter.
    pub(crate) const fn parent(self) -> TcHandle {
        let minor = match self {
            Self::FromPod | Self::FromOverlay | Self::FromUplink => TcHandle::MIN_INGRESS,
            Self::ToPod | Self::ToUplink => TcHandle::MIN_EGRESS,
        };
        TcHandle { major: u16::MAX, minor }
    }

    /// The handle of its filter.
    pub(crate) const fn handle(self) -> u32 {
        match self {
            Self::FromPod | Self::ToPod | Self::FromOverlay => HANDLE,
            Self::FromUplink | Self::ToUplink => OUTER_HANDLE,
        }
    }
}
