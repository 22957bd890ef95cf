//! The maps, and the only code that touches what is in them.
//!
//! A value of an LRU map is copied out at once: its entry can be taken for another key at any time.

#![expect(clippy::cast_possible_truncation, reason = "of what counts up, the low bits are kept")]

pub(crate) mod flow_table;
pub(crate) mod rings;

use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_ANY, BPF_F_NO_PREALLOC};
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_jiffies64, bpf_ktime_get_ns};
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use weir_ebpf_common::map::capacity;
use weir_ebpf_common::{
    Address, Affinity, AffinityKey, Backend, Config, Endpoint, Flow, FlowKey, Fragment,
    FragmentKey, Reason, Route, RouteKind, Scope, Service, ServiceKey, Socket, SocketKey, V4, V6,
};

#[map]
static SLOTS: Array<u32> = Array::with_max_entries(capacity::SLOTS, 0);
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(capacity::COUNTERS, 0);
#[map]
static CONFIG: Array<Config> = Array::with_max_entries(1, 0);
/// The devices of pods that may send with addresses of others.
#[map]
static ROUTERS: HashMap<u32, u32> =
    HashMap::with_max_entries(capacity::ENDPOINTS, BPF_F_NO_PREALLOC);

/// The maps of an address family.
pub(crate) struct Maps<A: 'static> {
    services: &'static HashMap<ServiceKey<A>, Service>,
    backends: &'static HashMap<u32, Backend<A>>,
    flows_tcp: &'static HashMap<FlowKey<A>, Flow<A>>,
    flows_dgram: &'static HashMap<FlowKey<A>, Flow<A>>,
    brief_tcp: &'static Array<FlowKey<A>>,
    brief_dgram: &'static Array<FlowKey<A>>,
    affinity: &'static LruHashMap<AffinityKey<A>, Affinity>,
    endpoints: &'static HashMap<A, Endpoint>,
    routes: &'static LpmTrie<A, Route<A>>,
    fragments: &'static LruHashMap<FragmentKey<A>, Fragment>,
    sockets: &'static LruHashMap<SocketKey<A>, Socket<A>>,
}

/// An address family that has maps.
pub(crate) trait Mapped: Address {
    const MAPS: Maps<Self>;
}

macro_rules! maps_of {
    (
        $address:ty: $services:ident, $backends:ident, $flows_tcp:ident, $flows_dgram:ident,
        $brief_tcp:ident, $brief_dgram:ident, $affinity:ident, $endpoints:ident, $routes:ident, $fragments:ident, $sockets:ident
    ) => {
        // Without preallocation an entry that is replaced stays as it is while somebody reads it.
        #[map]
        static $services: HashMap<ServiceKey<$address>, Service> =
            HashMap::with_max_entries(capacity::SERVICES, BPF_F_NO_PREALLOC);
        #[map]
        static $backends: HashMap<u32, Backend<$address>> =
            HashMap::with_max_entries(capacity::BACKENDS, BPF_F_NO_PREALLOC);
        #[map]
        static $flows_tcp: HashMap<FlowKey<$address>, Flow<$address>> =
            HashMap::with_max_entries(capacity::FLOWS, 0);
        #[map]
        static $flows_dgram: HashMap<FlowKey<$address>, Flow<$address>> =
            HashMap::with_max_entries(capacity::FLOWS, 0);
        #[map]
        static $brief_tcp: Array<FlowKey<$address>> = Array::with_max_entries(capacity::BRIEF, 0);
        #[map]
        static $brief_dgram: Array<FlowKey<$address>> = Array::with_max_entries(capacity::BRIEF, 0);
        #[map]
        static $affinity: LruHashMap<AffinityKey<$address>, Affinity> =
            LruHashMap::with_max_entries(capacity::AFFINITY, 0);
        #[map]
        static $endpoints: HashMap<$address, Endpoint> =
            HashMap::with_max_entries(capacity::ENDPOINTS, BPF_F_NO_PREALLOC);
        #[map]
        static $routes: LpmTrie<$address, Route<$address>> =
            LpmTrie::with_max_entries(capacity::ROUTES, 0);
        #[map]
        static $fragments: LruHashMap<FragmentKey<$address>, Fragment> =
            LruHashMap::with_max_entries(capacity::FRAGMENTS, 0);
        #[map]
        static $sockets: LruHashMap<SocketKey<$address>, Socket<$address>> =
            LruHashMap::with_max_entries(capacity::SOCKETS, 0);

        impl Mapped for $address {
            const MAPS: Maps<Self> = Maps {
                services: &$services,
                backends: &$backends,
                flows_tcp: &$flows_tcp,
                flows_dgram: &$flows_dgram,
                brief_tcp: &$brief_tcp,
                brief_dgram: &$brief_dgram,
                affinity: &$affinity,
                endpoints: &$endpoints,
                routes: &$routes,
                fragments: &$fragments,
                sockets: &$sockets,
            };
        }
    };
}

maps_of!(
    V4: SERVICES_V4, BACKENDS_V4, FLOWS_TCP_V4, FLOWS_DGRAM_V4,
    BRIEF_TCP_V4, BRIEF_DGRAM_V4, AFFINITY_V4, ENDPOINTS_V4, ROUTES_V4, FRAGMENTS_V4, SOCKETS_V4
);
maps_of!(
    V6: SERVICES_V6, BACKENDS_V6, FLOWS_TCP_V6, FLOWS_DGRAM_V6,
    BRIEF_TCP_V6, BRIEF_DGRAM_V6, AFFINITY_V6, ENDPOINTS_V6, ROUTES_V6, FRAGMENTS_V6, SOCKETS_V6
);

#[inline(always)]
pub(crate) fn service<A: Mapped>(key: &ServiceKey<A>) -> Option<&'static Service> {
    // SAFETY: the map is not preallocated: an entry is not reused while this program runs.
    unsafe { A::MAPS.services.get(key) }
}

/// Whether an address is a Service's for packets from this `scope`.
#[inline(always)]
pub(crate) fn is_service<A: Mapped>(address: &A, scope: Scope) -> bool {
    service(&ServiceKey::unknown_port_guard(*address, scope)).is_some()
}

#[inline(always)]
pub(crate) fn slot(index: u32) -> Option<u32> {
    SLOTS.get(index).copied()
}

#[inline(always)]
pub(crate) fn backend<A: Mapped>(id: u32) -> Option<Backend<A>> {
    // SAFETY: the map is not preallocated: an entry is not reused while this program runs.
    unsafe { A::MAPS.backends.get(id) }.copied()
}

#[inline(always)]
pub(crate) fn endpoint<A: Mapped>(address: &A) -> Option<&'static Endpoint> {
    // SAFETY: the map is not preallocated: an entry is not reused while this program runs.
    unsafe { A::MAPS.endpoints.get(address) }
}

/// Whether the address is that of the pod at this device.
#[inline(always)]
pub(crate) fn is_of_pod<A: Mapped>(address: &A, ifindex: u32) -> bool {
    endpoint(address).is_some_and(|endpoint| endpoint.ifindex == ifindex)
}

/// The device of the pod of this node that has the address, or 0.
#[inline(always)]
pub(crate) fn device_of<A: Mapped>(address: &A) -> u32 {
    endpoint(address).map_or(0, |endpoint| endpoint.ifindex)
}

/// Whether the pod at this device may send with addresses of others.
#[inline(always)]
pub(crate) fn is_router(ifindex: u32) -> bool {
    // SAFETY: the map is not preallocated, and only whether there is a value matters.
    unsafe { ROUTERS.get(ifindex) }.is_some()
}

/// Whether the address is that of a pod, here or on another node.
#[inline(always)]
pub(crate) fn is_pod<A: Mapped>(address: &A) -> bool {
    endpoint(address).is_some() || is_remote_pod(address)
}

/// Whether the address is that of a pod on another node.
#[inline(always)]
pub(crate) fn is_remote_pod<A: Mapped>(address: &A) -> bool {
    route(address).is_some_and(|route| route.is(RouteKind::RemotePods))
}

#[inline(always)]
pub(crate) fn route<A: Mapped>(address: &A) -> Option<&'static Route<A>> {
    A::MAPS.routes.get(Key::new(A::BITS, *address))
}

#[inline(always)]
pub(crate) fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// Counts a packet.
#[inline(always)]
pub(crate) fn count(reason: Reason) {
    if let Some(counter) = COUNTERS.get_ptr_mut(reason as u32) {
        // SAFETY: it is this CPU's own, and no other program runs on it meanwhile.
        unsafe { *counter += 1 }
    }
}

#[inline(always)]
pub(crate) fn affinity<A: Mapped>(key: &AffinityKey<A>) -> Option<Affinity> {
    // SAFETY: see `FlowEntry`.
    unsafe { A::MAPS.affinity.get(key) }.copied()
}

#[inline(always)]
pub(crate) fn set_affinity<A: Mapped>(key: &AffinityKey<A>, value: Affinity) {
    // Not remembered is as good as not had.
    let _ = A::MAPS.affinity.insert(key, value, BPF_ANY.into());
}

#[inline(always)]
pub(crate) fn fragment<A: Mapped>(key: &FragmentKey<A>) -> Option<Fragment> {
    // SAFETY: see `FlowEntry`.
    unsafe { A::MAPS.fragments.get(key) }.copied()
}

#[inline(always)]
pub(crate) fn add_fragment<A: Mapped>(key: &FragmentKey<A>, ports: Fragment) {
    // Without it the later fragments are dropped and counted.
    let _ = A::MAPS.fragments.insert(key, ports, BPF_ANY.into());
}

#[inline(always)]
pub(crate) fn socket<A: Mapped>(key: &SocketKey<A>) -> Option<Socket<A>> {
    // SAFETY: see `FlowEntry`.
    unsafe { A::MAPS.sockets.get(key) }.copied()
}

#[inline(always)]
pub(crate) fn set_socket<A: Mapped>(key: &SocketKey<A>, value: &Socket<A>) {
    // Without it the process sees the backend's address, which does no harm to its packets.
    let _ = A::MAPS.sockets.insert(key, value, BPF_ANY.into());
}

/// What [`random`] gives each time, or 0. Only a test that compares decisions sets it when it loads the
/// programs; for the kernel it is a constant.
#[unsafe(no_mangle)]
static FIXED_RANDOM: Global<u32> = Global::new(0);

#[inline(always)]
pub(crate) fn random() -> u32 {
    let fixed = FIXED_RANDOM.load();
    if fixed != 0 {
        return fixed;
    }
    // SAFETY: no memory is passed.
    unsafe { bpf_get_prandom_u32() }
}

/// A number that changes every 256 of the kernel's jiffies: a quarter of a second to two and a half,
/// by the kernel's configuration. It takes a read of memory, not of a clock.
#[inline(always)]
pub(crate) fn tick() -> u16 {
    // SAFETY: no memory is passed.
    (unsafe { bpf_jiffies64() } >> 8) as u16
}

/// Seconds of the kernel's monotonic clock.
#[inline(always)]
pub(crate) fn now() -> u32 {
    // SAFETY: no memory is passed.
    (unsafe { bpf_ktime_get_ns() } / 1_000_000_000) as u32
}
