//! The maps, and the only code that touches what is in them.
//!
//! A value of an LRU map is copied out at once: its entry can be taken for another key at any time.

#![expect(clippy::cast_possible_truncation, reason = "of what counts up, the low bits are kept")]

use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_ANY, BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::helpers::generated::{
    bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_ns,
};
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
/// Where each CPU is in each ring of flows that do not last.
#[map]
static CURSORS: PerCpuArray<u32> = PerCpuArray::with_max_entries(8, 0);
/// How many flows that open have yet to make room for another one.
#[map]
static DEBT: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);
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

/// An entry of the flow table. When it is removed, what it points to may be taken for another flow at
/// once, which at worst costs the packet that it is read for.
pub(crate) struct FlowEntry<A>(*mut Flow<A>);

impl<A: Mapped> FlowEntry<A> {
    #[inline(always)]
    pub(crate) fn get(&self) -> Flow<A> {
        // SAFETY: the kernel keeps the memory of a map's values for as long as the map is used.
        unsafe { *self.0 }
    }

    /// When a packet was last seen.
    #[inline(always)]
    pub(crate) fn last_seen(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).last_seen }
    }

    /// The entry where it is, for who needs little of it.
    #[inline(always)]
    pub(crate) fn borrow(&self) -> &Flow<A> {
        // SAFETY: as above.
        unsafe { &*self.0 }
    }

    /// See [`Flow::flags`].
    #[inline(always)]
    pub(crate) fn flags(&self) -> u16 {
        // SAFETY: as above.
        unsafe { (*self.0).flags }
    }

    /// See [`Flow::opening`].
    #[inline(always)]
    pub(crate) fn opening(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).opening }
    }

    /// The ids of the Service and of the backend.
    #[inline(always)]
    pub(crate) fn ids(&self) -> (u32, u32) {
        // SAFETY: as above.
        unsafe { ((*self.0).service, (*self.0).backend) }
    }

    /// Whether it is the other entry of a flow, if it was found by that one's key.
    #[inline(always)]
    pub(crate) fn is_peer_of(&self, flow: &Flow<A>) -> bool {
        // SAFETY: as above.
        let own = unsafe { &*self.0 };
        (own.is_reverse() != flow.is_reverse())
            & (own.backend == flow.backend)
            & (own.service == flow.service)
    }

    /// Says that a packet was seen, without making the cache line dirty for every packet.
    #[inline(always)]
    pub(crate) fn see(&self, now: u32) {
        // SAFETY: as above; a concurrent write of another CPU writes the same.
        unsafe {
            if (*self.0).last_seen != now {
                (*self.0).last_seen = now;
            }
        }
    }

    /// Says in which tick and when a packet was seen.
    #[inline(always)]
    pub(crate) fn touch(&self, tick: u16, now: u32) {
        // SAFETY: as above; a concurrent write of another CPU writes the same or a time close to it.
        unsafe {
            (*self.0).last_seen_tick = tick;
            (*self.0).last_seen = now;
        }
    }

    /// Says by which pod's device its packets come.
    #[inline(always)]
    pub(crate) fn set_ifindex(&self, ifindex: u32) {
        // SAFETY: as above; one pod has the address that its packets come from.
        unsafe {
            if (*self.0).ifindex != ifindex {
                (*self.0).ifindex = ifindex;
            }
        }
    }

    /// See [`Flow::ifindex`].
    #[inline(always)]
    pub(crate) fn ifindex(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).ifindex }
    }

    /// Makes it the entry of a flow that is as this one but younger.
    #[inline(always)]
    pub(crate) fn renew(&self, flow: &Flow<A>) {
        // SAFETY: as above; what another CPU reads meanwhile is of the one flow or of the other.
        unsafe {
            (*self.0).opening = flow.opening;
            (*self.0).last_seen = flow.last_seen;
            (*self.0).last_seen_tick = flow.last_seen_tick;
            (*self.0).ifindex = flow.ifindex;
            (*self.0).flags = flow.flags;
        }
    }

    /// Takes flags away and sets others.
    #[inline(always)]
    pub(crate) fn change(&self, over: u16, flags: u16) {
        // SAFETY: as for `set`.
        unsafe { (*self.0).flags = (*self.0).flags & !over | flags }
    }

    #[inline(always)]
    pub(crate) fn set(&self, flags: u16) {
        // SAFETY: as above. A bit that two CPUs write at once can be lost: then the flow stays in its
        // state until its next packet, or is kept longer than it had to be.
        unsafe {
            if (*self.0).flags & flags != flags {
                (*self.0).flags |= flags;
            }
        }
    }
}

/// The flow table of a protocol. Who looks at it more than once keeps it, so that the verifier need not
/// follow both of them at each look.
#[derive(Clone, Copy)]
pub(crate) struct Flows<A: 'static>(&'static HashMap<FlowKey<A>, Flow<A>>);

/// The flow table that a key belongs to.
#[inline(always)]
pub(crate) fn flows<A: Mapped>(key: &FlowKey<A>) -> Flows<A> {
    Flows(if key.protocol == weir_ebpf_common::protocol::TCP {
        A::MAPS.flows_tcp
    } else {
        A::MAPS.flows_dgram
    })
}

impl<A: Mapped> Flows<A> {
    #[inline(always)]
    pub(crate) fn get(self, key: &FlowKey<A>) -> Option<FlowEntry<A>> {
        self.0.get_ptr_mut(key).map(FlowEntry)
    }

    /// Adds an entry, unless there is one; tells whether it was added.
    #[inline(always)]
    pub(crate) fn add(self, key: &FlowKey<A>, flow: &Flow<A>) -> bool {
        self.0.insert(key, flow, BPF_NOEXIST.into()).is_ok()
    }

    #[inline(always)]
    pub(crate) fn remove(self, key: &FlowKey<A>) {
        // Another CPU was faster if it fails.
        let _ = self.0.remove(key);
    }
}

/// A slot of the rings of flows that do not last (see [`crate::brief`]).
pub(crate) struct BriefSlot<A: 'static>(*mut FlowKey<A>);

impl<A: Mapped> BriefSlot<A> {
    /// The forward key of the flow that it has, or zeroes. Another CPU may write it meanwhile: then it is
    /// the key of one flow or of another, or of none.
    #[inline(always)]
    pub(crate) fn get(&self) -> FlowKey<A> {
        // SAFETY: a value of an array stays where it is.
        unsafe { *self.0 }
    }

    #[inline(always)]
    pub(crate) fn set(&self, key: &FlowKey<A>) {
        // SAFETY: as above.
        unsafe { *self.0 = *key }
    }
}

/// How many lanes the rings have: who loads the programs says so. Each CPU has one, so that they do not
/// wait for each other.
#[unsafe(no_mangle)]
static LANES: Global<u32> = Global::new(1);

/// This CPU's lane of the rings.
#[inline(always)]
pub(crate) fn own_lane() -> u32 {
    // SAFETY: no memory is passed.
    (unsafe { bpf_get_smp_processor_id() } as u32) % LANES.load().max(1)
}

/// Any lane of the rings.
#[inline(always)]
pub(crate) fn any_lane() -> u32 {
    random() % LANES.load().max(1)
}

/// The next slot in a lane of one of the rings of a protocol.
#[inline(always)]
pub(crate) fn next_brief<A: Mapped>(protocol: u8, ring: u32, lane: u32) -> Option<BriefSlot<A>> {
    let is_tcp = protocol == weir_ebpf_common::protocol::TCP;
    let slots = if is_tcp { A::MAPS.brief_tcp } else { A::MAPS.brief_dgram };
    let cursor = CURSORS.get_ptr_mut(A::BITS / 128 * 4 + u32::from(is_tcp) * 2 + ring)?;
    let at = |turn: u32| (turn * 2 + ring) * LANES.load() + lane;
    // SAFETY: it is this CPU's own, and no other program runs on it meanwhile.
    let turn = unsafe { *cursor };
    let (slot, turn) = match slots.get_ptr_mut(at(turn)) {
        Some(slot) => (slot, turn),
        None => (slots.get_ptr_mut(at(0))?, 0),
    };
    // SAFETY: as above.
    unsafe { *cursor = turn + 1 }
    Some(BriefSlot(slot))
}

/// Says that flows which open make room for as many others.
#[inline(always)]
pub(crate) fn owe_room(flows: u32) {
    if let Some(debt) = DEBT.get_ptr_mut(0) {
        // SAFETY: it is this CPU's own, and no other program runs on it meanwhile.
        unsafe { *debt = flows }
    }
}

/// For how many flows, this one included, a flow that opens has to make room; then one less.
#[inline(always)]
pub(crate) fn owed_room() -> u32 {
    let Some(debt) = DEBT.get_ptr_mut(0) else { return 0 };
    // SAFETY: as above.
    unsafe {
        let owed = *debt;
        if owed != 0 {
            *debt = owed - 1;
        }
        owed
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
