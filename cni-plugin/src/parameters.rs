//! Kernel parameters of a pod's network namespace: the pod follows no router advertisement and no
//! redirect, and sends no redirect.
//!
//! Its only router is the node, which sends neither. Whatever arrives is from a neighbour that wants the
//! pod's packets. A kernel without a family has no parameters of it, and nothing to protect.

use weir_netlink::sysctl;

use crate::Error;

/// Of IPv4. The kernel also obeys `all`: unless the pod forwards packets, an interface accepts redirects
/// if either of the two is set, and it sends them if either is set. `secure_redirects` is left alone: 1,
/// the kernel's default, is the stricter value.
const V4: [&str; 2] = ["accept_redirects", "send_redirects"];

/// Of IPv6. The kernel obeys those of the interface alone.
const V6: [&str; 2] = ["accept_ra", "accept_redirects"];

/// Sets the parameters that later interfaces begin with, and those for all interfaces that IPv4 has. Call
/// it in the pod's namespace, before its interface is created.
pub(crate) fn ensure_defaults() -> Result<(), Error> {
    for key in V4.map(|name| ("all", name)).into_iter().chain(V4.map(|name| ("default", name))) {
        ensure("ipv4", key)?;
    }
    V6.into_iter().try_for_each(|name| ensure("ipv6", ("default", name)))
}

/// Sets the parameters of an interface. Call it in the pod's namespace, before the interface is up.
pub(crate) fn ensure_interface(ifname: &str) -> Result<(), Error> {
    V4.into_iter().try_for_each(|name| ensure("ipv4", (ifname, name)))?;
    V6.into_iter().try_for_each(|name| ensure("ipv6", (ifname, name)))
}

/// The first parameter of an interface that differs. Call it in the pod's namespace.
pub(crate) fn difference(ifname: &str) -> Result<Option<String>, Error> {
    let v4 = V4.map(|name| format!("net/ipv4/conf/{ifname}/{name}"));
    let v6 = V6.map(|name| format!("net/ipv6/conf/{ifname}/{name}"));
    for key in v4.into_iter().chain(v6) {
        match sysctl::read(&key) {
            Ok(value) if value != "0" => {
                return Ok(Some(format!("sysctl {key} is {value}, not 0")));
            }
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
    }
    Ok(None)
}

fn ensure(family: &str, (interface, name): (&str, &str)) -> Result<(), Error> {
    match sysctl::ensure(&format!("net/{family}/conf/{interface}/{name}"), "0") {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}
