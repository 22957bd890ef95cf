//! Processes of the node itself. They are given a backend when they name a Service's address to
//! the kernel, so that none of their packets needs to be changed.

use weir_ebpf_common::{
    Address, Backend, Direction, Port, Reason, Scope, Service, ServiceKey, Socket, SocketKey, V4,
    V6,
};

use aya_ebpf::Global;

use crate::family::Family;
use crate::service::NewAffinity;
use crate::sockaddr::{Form, SockAddr};
use crate::{maps, service, sockaddr};

/// Whether this kernel has `bpf_set_retval`: who loads the programs says so.
#[unsafe(no_mangle)]
static HAS_SET_RETVAL: Global<u8> = Global::new(0);

/// What the kernel goes on with.
pub(crate) const ALLOW: i32 = 1;
/// What it answers `EPERM` to, or the error that was set.
const DENY: i32 = 0;

/// Nobody listens there (errno.h).
const ECONNREFUSED: i32 = 111;

/// A socket is connected to an address.
#[inline(always)]
pub(crate) fn connect<A: Loopback, F: Form<A>>(call: SockAddr) -> i32 {
    match translate::<A, F>(call, false) {
        Outcome::Untouched | Outcome::Translated => {}
        Outcome::Refused => {
            maps::count(Reason::SocketRefused);
            if set_refused() {
                return DENY;
            }
            // Nobody listens at port 0, so the kernel answers ECONNREFUSED by itself.
            F::write(call, &A::LOOPBACK);
            call.set_port(Port::ANY);
        }
    }
    ALLOW
}

/// A datagram is sent to an address by a socket that is not connected.
#[inline(always)]
pub(crate) fn send<A: Loopback, F: Form<A>>(call: SockAddr) -> i32 {
    match translate::<A, F>(call, true) {
        Outcome::Untouched | Outcome::Translated => ALLOW,
        Outcome::Refused => {
            maps::count(Reason::SocketRefused);
            set_refused();
            DENY
        }
    }
}

/// Makes ECONNREFUSED what the process is answered, where the kernel can.
#[inline(always)]
fn set_refused() -> bool {
    let can = HAS_SET_RETVAL.load() != 0;
    if can {
        sockaddr::set_error(ECONNREFUSED);
    }
    can
}

/// A process asks who sent a datagram, or whom a socket is connected to.
#[inline(always)]
pub(crate) fn show<A: Loopback, F: Form<A>>(call: SockAddr) -> i32 {
    let key = key(call, F::read(call), call.port(), Direction::Reverse);
    if let Some(socket) = maps::socket(&key) {
        F::write(call, &socket.address);
        call.set_port(socket.port);
    }
    ALLOW
}

/// Runs a variant for a call of a process of the node. Those of pods are translated at their veth.
#[inline(always)]
pub(crate) fn of_node(call: SockAddr, variant: impl FnOnce(SockAddr) -> i32) -> i32 {
    if is_node(call) { variant(call) } else { ALLOW }
}

/// Runs the right one of two variants for an address of an IPv6 socket.
#[inline(always)]
pub(crate) fn by_family(
    call: SockAddr,
    mapped: impl FnOnce(SockAddr) -> i32,
    plain: impl FnOnce(SockAddr) -> i32,
) -> i32 {
    of_node(call, |call| if call.v6().mapped_v4().is_some() { mapped(call) } else { plain(call) })
}

/// The address that only the node itself can reach.
pub(crate) trait Loopback: Family {
    const LOOPBACK: Self;
}

impl Loopback for V4 {
    const LOOPBACK: Self = Self::new([127, 0, 0, 1]);
}

impl Loopback for V6 {
    const LOOPBACK: Self = Self::new([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
}

#[derive(Clone, Copy)]
enum Outcome {
    Untouched,
    Translated,
    Refused,
}

/// Replaces a Service's address by a backend's. With `sticky` the socket keeps the backend that it
/// was given for that Service, for as long as that serves.
#[inline(always)]
fn translate<A: Loopback, F: Form<A>>(call: SockAddr, sticky: bool) -> Outcome {
    let (address, port) = (F::read(call), call.port());
    let found = maps::service(&ServiceKey::new(address, port, call.protocol(), Scope::Internal));
    let Some(service) = found else {
        let known =
            maps::service(&ServiceKey::unknown_port_guard(address, Scope::Internal)).is_some();
        return if known { Outcome::Refused } else { Outcome::Untouched };
    };
    if service.count == 0 {
        return Outcome::Refused;
    }
    let forward = key(call, address, port, Direction::Forward);
    let (cookie, protocol) = (forward.cookie, forward.protocol);
    let Some((id, backend)) = backend(&forward, service, sticky) else {
        return Outcome::Refused;
    };
    let mut value = Socket {
        address: backend.address,
        port: backend.port,
        reserved: [0; 2],
        backend: id,
        service: service.id,
    };
    if sticky {
        maps::set_socket(&forward, &value);
    }
    (value.address, value.port) = (address, port);
    let reverse = SocketKey {
        cookie,
        address: backend.address,
        port: backend.port,
        protocol,
        direction: Direction::Reverse as u8,
    };
    maps::set_socket(&reverse, &value);
    F::write(call, &backend.address);
    call.set_port(backend.port);
    maps::count(Reason::SocketTranslated);
    Outcome::Translated
}

#[inline(always)]
fn backend<A: Loopback>(
    key: &SocketKey<A>,
    service: &Service,
    sticky: bool,
) -> Option<(u32, Backend<A>)> {
    if sticky
        && let Some(socket) = maps::socket(key)
        && let Some(backend) = maps::backend::<A>(socket.backend)
        && backend.flags & Backend::<A>::SERVING != 0
    {
        return Some((socket.backend, backend));
    }
    service::backend(&A::default(), service, maps::now(), NewAffinity::AtOnce).ok()
}

/// Whether the process is one of the node.
#[inline(always)]
fn is_node(call: SockAddr) -> bool {
    let Some(config) = maps::config() else { return false };
    let told = config.netns_cookie;
    let node = if told == [0; 2] { SockAddr::initial_netns_cookie() } else { told };
    call.netns_cookie() == node
}

#[inline(always)]
fn key<A: Address>(call: SockAddr, address: A, port: Port, direction: Direction) -> SocketKey<A> {
    SocketKey {
        cookie: call.cookie(),
        address,
        port,
        protocol: call.protocol(),
        direction: direction as u8,
    }
}
