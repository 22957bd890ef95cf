//! The key of everything: one interface of one container.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::names::HOST_INTERFACE_PREFIX;

/// How many hexadecimal digits follow the prefix: with it they fill the 15 characters that Linux
/// gives an interface name.
const DIGITS: usize = 11;

/// A container and one of its interfaces, as the runtime names them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attachment {
    /// `CNI_CONTAINERID`.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
}

impl Attachment {
    /// The name of the veth's end on the host: a hash, so that `DEL` finds it without a record and
    /// without the container's network namespace.
    pub fn host_interface(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.container_id.as_bytes());
        // Neither part can hold this byte, so no two attachments have the same input.
        hash.update([0]);
        hash.update(self.ifname.as_bytes());
        let mut name = String::from(HOST_INTERFACE_PREFIX);
        for byte in hash.finalize().iter().take(DIGITS.div_ceil(2)) {
            // Writing to a String cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        name.truncate(HOST_INTERFACE_PREFIX.len() + DIGITS);
        name
    }
}

/// Whether a link's name is one that [`Attachment::host_interface`] makes.
pub fn is_host_interface(name: &str) -> bool {
    name.strip_prefix(HOST_INTERFACE_PREFIX).is_some_and(|digits| {
        digits.len() == DIGITS
            && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(container_id: &str, ifname: &str) -> Attachment {
        Attachment { container_id: container_id.into(), ifname: ifname.into() }
    }

    #[test]
    fn a_host_interface_name_is_stable_and_fits_linux() {
        let name = attachment("c1", "eth0").host_interface();
        assert_eq!(name.len(), 15);
        assert!(is_host_interface(&name));
        // A changed name would orphan the interfaces of running pods at an upgrade.
        assert_eq!(name, "weirec43057c07a");
    }

    #[test]
    fn attachments_differ_in_their_host_interface() {
        let names = [("c1", "eth0"), ("c1", "eth1"), ("c1e", "th0"), ("c2", "eth0")]
            .map(|(id, ifname)| attachment(id, ifname).host_interface());
        for (i, name) in names.iter().enumerate() {
            assert!(!names[..i].contains(name), "{names:?}");
        }
    }

    #[test]
    fn the_bridge_and_the_tunnel_are_not_host_interfaces() {
        for name in ["weir0", "weir.1", "weirABCDEF01234", "weir0a1b2c3d4e", "eth0"] {
            assert!(!is_host_interface(name), "{name}");
        }
    }
}
