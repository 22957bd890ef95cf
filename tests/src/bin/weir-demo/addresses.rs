//! Addresses of an interface, as the demonstration prints them.

use std::net::IpAddr;

use weir_tests::lab::Address;

/// The global addresses; the link-local address is left out.
pub(crate) fn global_addresses(addresses: &[Address]) -> Vec<String> {
    let global = addresses.iter().filter(|address| address.scope == "global");
    let shown = |ip: IpAddr, length: u8| format!("{ip}/{length}");
    global.map(|address| shown(address.local, address.prefixlen)).collect()
}
