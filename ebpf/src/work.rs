//! What a packet leaves to be done for the flow table.

use weir_ebpf_common::header::TcpFlags;

/// What a packet means for its flow.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Work {
    pub(crate) kind: u32,
    pub(crate) tcp: TcpFlags,
}

impl Work {
    pub(crate) const OPENED: u32 = 0;
    pub(crate) const REFUSED: u32 = 1;
    pub(crate) const OF_CLIENT: u32 = 2;
    pub(crate) const OF_BACKEND: u32 = 3;

    /// It has opened a flow.
    #[inline(always)]
    pub(crate) fn opened() -> Self {
        Self { kind: Self::OPENED, tcp: TcpFlags::default() }
    }

    /// It would have opened a flow, but the table is full.
    #[inline(always)]
    pub(crate) fn refused() -> Self {
        Self { kind: Self::REFUSED, tcp: TcpFlags::default() }
    }

    /// The client of a flow has sent it.
    #[inline(always)]
    pub(crate) fn of_client(tcp: TcpFlags) -> Self {
        Self { kind: Self::OF_CLIENT, tcp }
    }

    /// The backend of a flow has sent it.
    #[inline(always)]
    pub(crate) fn of_backend(tcp: TcpFlags) -> Self {
        Self { kind: Self::OF_BACKEND, tcp }
    }
}
