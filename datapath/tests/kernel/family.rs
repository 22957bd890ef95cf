//! The addresses of the scene, in both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_datapath::common::{V4, V6};
use weir_datapath::maps::Family;

/// An address family with the scene's addresses.
pub(crate) trait Addresses: Family + Into<IpAddr> {
    /// The address of pod number `pod`; from 100 on it is one of the second node.
    fn pod(pod: u8) -> Self;
    /// The bridge's.
    fn bridge() -> Self;
    /// The address of Service number `service`.
    fn service(service: u8) -> Self;
}

impl Addresses for V4 {
    fn pod(pod: u8) -> Self {
        Ipv4Addr::new(10, 244, 1 + pod / 100, 10 + pod % 100).into()
    }

    fn bridge() -> Self {
        Ipv4Addr::new(10, 244, 1, 1).into()
    }

    fn service(service: u8) -> Self {
        Ipv4Addr::new(10, 96, 0, service).into()
    }
}

impl Addresses for V6 {
    fn pod(pod: u8) -> Self {
        let (node, pod) = (1 + u16::from(pod / 100), 0x10 + u16::from(pod % 100));
        Ipv6Addr::new(0xfd00, 0x244, node, 0, 0, 0, 0, pod).into()
    }

    fn bridge() -> Self {
        Ipv6Addr::new(0xfd00, 0x244, 1, 0, 0, 0, 0, 1).into()
    }

    fn service(service: u8) -> Self {
        Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, service.into()).into()
    }
}
