//! Session affinity: the backend that a client had last.

use crate::unpadded::unpadded;

/// A client of one port of one Service, whichever of the Service's addresses it used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct AffinityKey<A> {
    /// The client's address; all zero for the node's own processes.
    pub client: A,
    /// [`crate::Service::id`].
    pub service: u32,
}

/// What the client had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Affinity {
    /// The backend's id.
    pub backend: u32,
    /// When its last flow was opened, in seconds of the kernel's monotonic clock.
    pub used: u32,
}

impl Affinity {
    /// Whether it still holds at `now`, for a Service whose affinity lasts `timeout` seconds.
    #[inline(always)]
    #[must_use]
    pub const fn holds(&self, now: u32, timeout: u32) -> bool {
        now.wrapping_sub(self.used) < timeout
    }
}

unpadded!(AffinityKey<crate::V4>: crate::V4, u32);
unpadded!(AffinityKey<crate::V6>: crate::V6, u32);
unpadded!(Affinity: u32, u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affinity_ends_after_its_timeout_and_at_once_without_one() {
        let affinity = Affinity { backend: 1, used: 100 };
        assert!(affinity.holds(109, 10));
        assert!(!affinity.holds(110, 10));
        assert!(!affinity.holds(100, 0));
    }
}
