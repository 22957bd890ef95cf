//! The entry points at the sockets of the node's processes.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use weir_ebpf_common::{V4, V6};

use crate::sockaddr::{Mapped, Plain, SockAddr};
use crate::socket::{by_family, connect, of_node, send, show};

/// `connect` of an IPv4 socket.
#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    of_node(SockAddr::of(&context), connect::<V4, Plain>)
}

/// `connect` of an IPv6 socket.
#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    by_family(SockAddr::of(&context), connect::<V4, Mapped>, connect::<V6, Plain>)
}

/// `sendto` of an IPv4 socket that is not connected.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(context: SockAddrContext) -> i32 {
    of_node(SockAddr::of(&context), send::<V4, Plain>)
}

/// `sendto` of an IPv6 socket that is not connected.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(context: SockAddrContext) -> i32 {
    by_family(SockAddr::of(&context), send::<V4, Mapped>, send::<V6, Plain>)
}

/// The sender that `recvfrom` of an IPv4 socket tells.
#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(context: SockAddrContext) -> i32 {
    of_node(SockAddr::of(&context), show::<V4, Plain>)
}

/// The sender that `recvfrom` of an IPv6 socket tells.
#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(context: SockAddrContext) -> i32 {
    by_family(SockAddr::of(&context), show::<V4, Mapped>, show::<V6, Plain>)
}

/// `getpeername` of an IPv4 socket.
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(context: SockAddrContext) -> i32 {
    of_node(SockAddr::of(&context), show::<V4, Plain>)
}

/// `getpeername` of an IPv6 socket.
#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(context: SockAddrContext) -> i32 {
    by_family(SockAddr::of(&context), show::<V4, Mapped>, show::<V6, Plain>)
}
