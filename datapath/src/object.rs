//! The object with all programs and maps, which is compiled into this library.

/// The compiled programs of `../ebpf`.
pub(crate) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-ebpf"));

/// Programs for network devices, by their names in the object.
pub const TC_PROGRAMS: &[&str] =
    &["from_pod", "to_pod", "from_overlay", "from_uplink", "to_uplink"];
