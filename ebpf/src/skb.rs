//! The packet, and the kernel's helpers that read and change it. Offsets count from the Ethernet
//! header.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "helpers take sizes and give numbers of 32 bits in wider types"
)]

use core::mem::{MaybeUninit, size_of};
use core::ptr;

use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
use aya_ebpf::bindings::{
    __sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM, bpf_redir_neigh,
    bpf_redir_neigh__bindgen_ty_1,
};
use aya_ebpf::helpers::generated::{
    bpf_csum_diff, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_redirect_neigh, bpf_redirect_peer,
    bpf_sk_release, bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_change_type,
    bpf_skb_load_bytes, bpf_skb_store_bytes, bpf_skc_lookup_tcp,
};
use aya_ebpf::programs::TcContext;
use weir_ebpf_common::{Address, Port};

/// A helper of the kernel could not read or change a packet.
#[derive(Clone, Copy)]
pub(crate) struct HelperFailed;

/// How a checksum field is to be kept right.
#[derive(Clone, Copy)]
pub(crate) enum Checksum {
    /// The changed field lies in the checksum's own packet.
    Plain = 0,
    /// It lies in the pseudo header, the addresses.
    Pseudo = BPF_F_PSEUDO_HDR as isize,
}

/// A packet at TC.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Skb(*mut __sk_buff);

impl Skb {
    #[inline(always)]
    pub(crate) fn of(context: &TcContext) -> Self {
        Self(context.skb.skb)
    }

    /// A field of the context. Volatile, so that the compiler does not merge the reads of two
    /// fields into one of a computed pointer, which the verifier refuses.
    #[inline(always)]
    fn field(field: *const u32) -> u32 {
        // SAFETY: every caller passes a field of the context, which the kernel keeps alive.
        unsafe { ptr::read_volatile(field) }
    }

    /// The Ethernet protocol, in network byte order.
    #[inline(always)]
    pub(crate) fn protocol(self) -> u32 {
        // SAFETY: the context is valid for as long as the program runs.
        Self::field(unsafe { &raw const (*self.0).protocol })
    }

    /// The number of the VLAN whose tag the kernel has taken off, or 0 (IEEE 802.1Q).
    #[inline(always)]
    pub(crate) fn vlan(self) -> u32 {
        // SAFETY: the context is valid for as long as the program runs.
        Self::field(unsafe { &raw const (*self.0).vlan_tci }) & 0xfff
    }

    /// Length of the packet from its Ethernet header on.
    #[inline(always)]
    pub(crate) fn len(self) -> u32 {
        // SAFETY: the context is valid for as long as the program runs.
        Self::field(unsafe { &raw const (*self.0).len })
    }

    /// Bytes of payload in each packet that it will be cut into, 0 if it is not.
    #[inline(always)]
    pub(crate) fn gso_size(self) -> u32 {
        // SAFETY: the context is valid for as long as the program runs.
        Self::field(unsafe { &raw const (*self.0).gso_size })
    }

    /// The device that the program runs at.
    #[inline(always)]
    pub(crate) fn ifindex(self) -> u32 {
        // SAFETY: the context is valid for as long as the program runs.
        Self::field(unsafe { &raw const (*self.0).ifindex })
    }

    /// The first bytes in place, if so many lie in one piece.
    #[inline(always)]
    pub(crate) fn head(self, length: u32) -> Option<Head> {
        // SAFETY: the context is valid for as long as the program runs.
        let data = Self::field(unsafe { &raw const (*self.0).data }) as usize;
        let head = Head(data as *mut u8);
        if self.reaches(head, length) { Some(head) } else { None }
    }

    /// Whether so many bytes lie in one piece, from the head on.
    #[inline(always)]
    pub(crate) fn reaches(self, head: Head, length: u32) -> bool {
        // SAFETY: the context is valid for as long as the program runs.
        let end = Self::field(unsafe { &raw const (*self.0).data_end }) as usize;
        head.0 as usize + length as usize <= end
    }

    /// Sets bits of the mark, and leaves the others to whom they belong.
    #[inline(always)]
    pub(crate) fn mark(self, bits: u32) {
        // SAFETY: the context is valid for as long as the program runs.
        let mark = unsafe { &raw mut (*self.0).mark };
        // SAFETY: as above, and programs at TC may write this field.
        unsafe { ptr::write_volatile(mark, ptr::read_volatile(mark) | bits) }
    }

    /// Clears bits of the mark.
    #[inline(always)]
    pub(crate) fn clear_mark(self, bits: u32) {
        // SAFETY: the context is valid for as long as the program runs.
        let mark = unsafe { &raw mut (*self.0).mark };
        // SAFETY: as above, and programs at TC may write this field.
        unsafe { ptr::write_volatile(mark, ptr::read_volatile(mark) & !bits) }
    }

    /// Copies bytes out of the packet. `T` is integers or arrays of them.
    #[inline(always)]
    pub(crate) fn load<T: Copy>(self, offset: u32) -> Result<T, HelperFailed> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes as many bytes as the value has, or says that it did not.
        let result = unsafe {
            bpf_skb_load_bytes(
                self.0.cast(),
                offset,
                value.as_mut_ptr().cast(),
                size_of::<T>() as u32,
            )
        };
        // SAFETY: it was written, and any bytes are a `T`.
        if result == 0 { Ok(unsafe { value.assume_init() }) } else { Err(HelperFailed) }
    }

    /// Copies bytes into the packet. No checksum is changed.
    #[inline(always)]
    pub(crate) fn store<T: Copy>(self, offset: u32, value: &T) -> Result<(), HelperFailed> {
        self.store_with(offset, value, 0)
    }

    /// Copies bytes into the packet whose checksum fields do not cancel the change.
    #[inline(always)]
    pub(crate) fn store_recomputing<T: Copy>(
        self,
        offset: u32,
        value: &T,
    ) -> Result<(), HelperFailed> {
        self.store_with(offset, value, BPF_F_RECOMPUTE_CSUM.into())
    }

    #[inline(always)]
    fn store_with<T: Copy>(self, offset: u32, value: &T, flags: u64) -> Result<(), HelperFailed> {
        // SAFETY: the helper reads as many bytes as the value has.
        let result = unsafe {
            bpf_skb_store_bytes(
                self.0.cast(),
                offset,
                ptr::from_ref(value).cast(),
                size_of::<T>() as u32,
                flags,
            )
        };
        done(result)
    }

    /// Corrects the IPv4 header's checksum at `offset` for a changed word.
    #[inline(always)]
    pub(crate) fn correct_header(
        self,
        offset: u32,
        from: u32,
        to: u32,
    ) -> Result<(), HelperFailed> {
        // SAFETY: the helper checks the offset.
        done(unsafe { bpf_l3_csum_replace(self.0.cast(), offset, from.into(), to.into(), 4) })
    }

    /// Corrects the checksum of TCP, UDP or ICMP at `offset` for a changed field of `size` bytes,
    /// or, with size 0, by the difference `to`.
    ///
    /// `optional`: a checksum of 0 means that there is none, and it stays so (UDP).
    #[inline(always)]
    pub(crate) fn correct(
        self,
        offset: u32,
        (from, to, size): (u32, u32, u64),
        kind: Checksum,
        optional: bool,
    ) -> Result<(), HelperFailed> {
        let mangled = if optional { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
        let flags = kind as u64 | mangled | size;
        // SAFETY: the helper checks the offset.
        done(unsafe { bpf_l4_csum_replace(self.0.cast(), offset, from.into(), to.into(), flags) })
    }

    /// Cuts or lengthens the packet.
    #[inline(always)]
    pub(crate) fn cut(self, length: u32) -> Result<(), HelperFailed> {
        // SAFETY: no memory is passed; the helper checks the length.
        done(unsafe { bpf_skb_change_tail(self.0, length, 0) })
    }

    /// Makes room between the Ethernet header and what follows.
    #[inline(always)]
    pub(crate) fn make_room(self, length: u32) -> Result<(), HelperFailed> {
        // SAFETY: no memory is passed; the helper checks the length.
        done(unsafe { bpf_skb_adjust_room(self.0, length as i32, BPF_ADJ_ROOM_MAC, 0) })
    }

    /// Makes the kernel take the packet as one for the device's own address.
    #[inline(always)]
    pub(crate) fn set_packet_host(self) {
        // SAFETY: no memory is passed. It fails for no packet that this program sees.
        let _ = unsafe { bpf_skb_change_type(self.0, 0) };
    }
}

/// Who a TCP connection is between, as the one end sees it.
#[repr(C)]
struct Ends<A> {
    remote: A,
    local: A,
    remote_port: Port,
    local_port: Port,
}

/// States of a TCP socket that no packet of another connection can disturb: it is over, or takes
/// whoever comes (linux/tcp_states.h).
const TIME_WAIT: u32 = 6;
const CLOSED: u32 = 7;
const LISTENS: u32 = 10;

impl Skb {
    /// Whether a socket in that namespace has a connection between these ends. `netns` is its number
    /// in the namespace of the device.
    #[inline(always)]
    pub(crate) fn has_connection<A: Address>(
        self,
        (remote, remote_port): (A, Port),
        (local, local_port): (A, Port),
        netns: u32,
    ) -> bool {
        let mut ends = Ends { remote, local, remote_port, local_port };
        // SAFETY: the helper reads as many bytes as the structure has, whose size tells the family.
        let socket = unsafe {
            bpf_skc_lookup_tcp(
                self.0.cast(),
                (&raw mut ends).cast(),
                size_of::<Ends<A>>() as u32,
                netns.into(),
                0,
            )
        };
        if socket.is_null() {
            return false;
        }
        // SAFETY: it is a socket until it is released.
        let state = Self::field(unsafe { &raw const (*socket).state });
        // SAFETY: it was found above, and is not used any more.
        unsafe { bpf_sk_release(socket.cast()) };
        !matches!(state, TIME_WAIT | CLOSED | LISTENS)
    }
}

/// The first bytes of a packet, where they are. Good until a helper changes the packet, which the
/// verifier knows: it refuses programs that use one later, or read beyond what was asked for.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Head(*mut u8);

impl Head {
    /// Reads. `T` is integers or arrays of them.
    #[inline(always)]
    pub(crate) fn load<T: Copy>(self, offset: u32) -> T {
        // SAFETY: it lies within the bytes that were asked for, or the verifier refuses the program.
        // Words of a packet lie at odd multiples of two bytes; the machine that this is compiled for
        // reads them, and the verifier refuses it where the real one cannot.
        unsafe { ptr::read(self.0.add(offset as usize).cast::<T>()) }
    }

    /// Writes. No checksum is changed.
    #[inline(always)]
    pub(crate) fn store<T: Copy>(self, offset: u32, value: T) {
        // SAFETY: as for reading.
        unsafe { ptr::write(self.0.add(offset as usize).cast::<T>(), value) }
    }
}

/// The sum to correct a checksum by when `from` becomes `to`.
#[inline(always)]
pub(crate) fn difference<A: Address>(from: &A, to: &A) -> u32 {
    let size = size_of::<A>() as u32;
    let (from, to) = (ptr::from_ref(from), ptr::from_ref(to));
    // SAFETY: the helper reads as many bytes as it is told, and writes none.
    let sum = unsafe { bpf_csum_diff(from.cast_mut().cast(), size, to.cast_mut().cast(), size, 0) };
    sum as u32
}

/// Hands the packet to the other end of a veth, in its network namespace, now.
#[inline(always)]
pub(crate) fn redirect_peer(ifindex: u32) -> i32 {
    // SAFETY: no memory is passed.
    unsafe { bpf_redirect_peer(ifindex, 0) as i32 }
}

/// Sends the packet by a device to a neighbour on it.
#[inline(always)]
pub(crate) fn redirect_neigh<A: Address>(ifindex: u32, next_hop: &A) -> i32 {
    let mut neighbour = bpf_redir_neigh {
        nh_family: A::FAMILY,
        __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 { ipv6_nh: next_hop.words() },
    };
    // SAFETY: the helper reads as many bytes as the structure has.
    unsafe {
        bpf_redirect_neigh(ifindex, &raw mut neighbour, size_of::<bpf_redir_neigh>() as i32, 0)
            as i32
    }
}

#[inline(always)]
fn done(result: i64) -> Result<(), HelperFailed> {
    if result == 0 { Ok(()) } else { Err(HelperFailed) }
}
