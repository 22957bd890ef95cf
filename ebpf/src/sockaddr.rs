//! The address that a process hands to the kernel, or gets from it.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the context holds ports and protocols in wider fields"
)]

use core::ptr;

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval};
use aya_ebpf::programs::SockAddrContext;
use weir_ebpf_common::{Address, Port, V4, V6, halves, protocol};

/// The protocol number that sockets of Multipath TCP have; on the wire it is TCP.
const MPTCP: u32 = 262;

/// The call of a process that names an address.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct SockAddr(*mut bpf_sock_addr);

/// How a family's address is written in a call.
pub(crate) trait Form<A> {
    fn read(call: SockAddr) -> A;
    fn write(call: SockAddr, address: &A);
}

/// In its own way.
pub(crate) struct Plain;
/// An IPv4 address as an IPv6 socket writes it.
pub(crate) struct Mapped;

impl SockAddr {
    #[inline(always)]
    pub(crate) fn of(context: &SockAddrContext) -> Self {
        Self(context.sock_addr)
    }

    /// Volatile for the reason that [`crate::skb::Skb`] gives.
    #[inline(always)]
    fn get(field: *const u32) -> u32 {
        // SAFETY: every caller passes a field of the context, which the kernel keeps alive.
        unsafe { ptr::read_volatile(field) }
    }

    #[inline(always)]
    fn set(field: *mut u32, value: u32) {
        // SAFETY: as above, and these programs may write the fields that are passed.
        unsafe { ptr::write_volatile(field, value) }
    }

    #[inline(always)]
    pub(crate) fn port(self) -> Port {
        // SAFETY: the context is valid for as long as the program runs.
        Port::from_raw(Self::get(unsafe { &raw const (*self.0).user_port }) as u16)
    }

    #[inline(always)]
    pub(crate) fn set_port(self, port: Port) {
        // SAFETY: the context is valid for as long as the program runs.
        Self::set(unsafe { &raw mut (*self.0).user_port }, port.raw().into());
    }

    /// The number of the IP protocol.
    #[inline(always)]
    pub(crate) fn protocol(self) -> u8 {
        // SAFETY: the context is valid for as long as the program runs.
        match Self::get(unsafe { &raw const (*self.0).protocol }) {
            MPTCP => protocol::TCP,
            number => number as u8,
        }
    }

    /// The socket's cookie, low half first.
    #[inline(always)]
    pub(crate) fn cookie(self) -> [u32; 2] {
        // SAFETY: the helper takes this context.
        halves(unsafe { bpf_get_socket_cookie(self.0.cast()) })
    }

    /// The cookie of the process's network namespace, low half first.
    #[inline(always)]
    pub(crate) fn netns_cookie(self) -> [u32; 2] {
        // SAFETY: the helper takes this context.
        halves(unsafe { bpf_get_netns_cookie(self.0.cast()) })
    }

    /// The cookie of the namespace that the machine has started with, low half first.
    #[inline(always)]
    pub(crate) fn initial_netns_cookie() -> [u32; 2] {
        // SAFETY: no context asks the helper for that namespace.
        halves(unsafe { bpf_get_netns_cookie(ptr::null_mut()) })
    }

    /// The address of an IPv6 socket.
    #[inline(always)]
    pub(crate) fn v6(self) -> V6 {
        Plain::read(self)
    }
}

impl Form<V4> for Plain {
    #[inline(always)]
    fn read(call: SockAddr) -> V4 {
        // SAFETY: the context is valid for as long as the program runs.
        let word = SockAddr::get(unsafe { &raw const (*call.0).user_ip4 });
        V4::from_words([word, 0, 0, 0])
    }

    #[inline(always)]
    fn write(call: SockAddr, address: &V4) {
        // SAFETY: the context is valid for as long as the program runs.
        SockAddr::set(unsafe { &raw mut (*call.0).user_ip4 }, address.words()[0]);
    }
}

impl Form<V6> for Plain {
    #[inline(always)]
    fn read(call: SockAddr) -> V6 {
        // SAFETY: the context is valid for as long as the program runs.
        let words = unsafe {
            [
                &raw const (*call.0).user_ip6[0],
                &raw const (*call.0).user_ip6[1],
                &raw const (*call.0).user_ip6[2],
                &raw const (*call.0).user_ip6[3],
            ]
        };
        V6::from_words(words.map(SockAddr::get))
    }

    #[inline(always)]
    fn write(call: SockAddr, address: &V6) {
        let [a, b, c, d] = address.words();
        // SAFETY: the context is valid for as long as the program runs.
        unsafe {
            SockAddr::set(&raw mut (*call.0).user_ip6[0], a);
            SockAddr::set(&raw mut (*call.0).user_ip6[1], b);
            SockAddr::set(&raw mut (*call.0).user_ip6[2], c);
            SockAddr::set(&raw mut (*call.0).user_ip6[3], d);
        }
    }
}

impl Form<V4> for Mapped {
    #[inline(always)]
    fn read(call: SockAddr) -> V4 {
        V4::from_words([call.v6().words()[3], 0, 0, 0])
    }

    #[inline(always)]
    fn write(call: SockAddr, address: &V4) {
        Plain::write(call, &V6::from_mapped(*address));
    }
}

/// Answers the process with an error instead of `EPERM`, when the program denies its call (5.18).
#[inline(always)]
pub(crate) fn set_error(number: i32) {
    // SAFETY: no memory is passed. It refuses what is no error number, which this is.
    let _ = unsafe { bpf_set_retval(-number) };
}
