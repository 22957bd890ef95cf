//! What the node needs besides routes to its peers: kernel parameters, gateway addresses, files.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;
use tracing::info;
use weir_netlink::{Error, Netlink, address, link, offload, sysctl};

use crate::{
    install::{self, PodNetwork},
    options::{Options, TxChecksum},
    overlay::plan::Desired,
};

/// The first kernel version whose vxlan driver computes checksums correctly with every NIC driver.
const CHECKSUMS_CORRECT_SINCE: (u32, u32) = (5, 7);

/// Sets the TX checksum offload of the tunnel device. Returns whether it was changed. Call it in the
/// device's network namespace.
pub(super) fn ensure_offload(desired: &Desired, wanted: TxChecksum) -> Result<bool, Error> {
    let Some(tunnel) = &desired.tunnel else { return Ok(false) };
    let on = match wanted {
        TxChecksum::On => true,
        TxChecksum::Off => false,
        TxChecksum::Auto => match kernel_version() {
            Some(version) if version < CHECKSUMS_CORRECT_SINCE => false,
            // The kernel's default is correct.
            _ => return Ok(false),
        },
    };
    let was_changed = offload::ensure_tx_checksum(&tunnel.name, on)?;
    if was_changed {
        info!(device = tunnel.name, on, "set the TX checksum offload");
    }
    Ok(was_changed)
}

/// Major and minor version of the running kernel.
fn kernel_version() -> Option<(u32, u32)> {
    let name = rustix::system::uname();
    let mut parts = name.release().to_str().ok()?.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Sets kernel parameters. Only forwarding applies to the whole node; the others apply to Weir's own
/// devices.
pub(super) fn ensure_parameters(desired: &Desired, network: &PodNetwork) -> Result<(), Error> {
    let mut wanted = Vec::new();
    if network.subnets.iter().any(IpNetwork::is_ipv4) {
        wanted.push(("net/ipv4/ip_forward".to_owned(), "1"));
    }
    if network.subnets.iter().any(IpNetwork::is_ipv6) {
        wanted.push(("net/ipv6/conf/all/forwarding".to_owned(), "1"));
    }
    if let Some(tunnel) = &desired.tunnel {
        // Loose: a peer that is reached directly may still reply through the tunnel.
        wanted.push((format!("net/ipv4/conf/{}/rp_filter", tunnel.name), "2"));
        wanted.push((format!("net/ipv4/conf/{}/send_redirects", tunnel.name), "0"));
    }
    for (key, value) in wanted {
        if sysctl::ensure(&key, value)? == sysctl::Outcome::Changed {
            info!(key, value, "set a kernel parameter");
        }
    }
    Ok(())
}

/// Updates the bridge's gateway addresses to the node's subnets. A bridge that does not exist or has
/// no address yet is left to the plugin, which creates it.
pub(super) async fn follow_subnets(
    netlink: &Netlink,
    bridge: &str,
    network: &PodNetwork,
    operations: &mut BTreeMap<&'static str, u64>,
) -> Result<(), Error> {
    let Some(bridge) = link::find(netlink, bridge).await? else { return Ok(()) };
    let wanted: Vec<IpNetwork> = network.subnets.iter().filter_map(gateway_of).collect();
    let mut present = address::list(netlink, bridge.index).await?;
    present.retain(|found| found.is_global);
    if present.is_empty() {
        return Ok(());
    }
    let stale = present.iter().filter(|found| !wanted.contains(&found.network));
    for found in stale {
        info!(bridge = bridge.name, address = %found.network, "removed a gateway address");
        address::delete(netlink, bridge.index, found.network).await?;
        *operations.entry("gateway_delete").or_default() += 1;
    }
    for gateway in wanted {
        if !present.iter().any(|found| found.network == gateway) {
            info!(bridge = bridge.name, address = %gateway, "added a gateway address");
            address::ensure(netlink, bridge.index, gateway).await?;
            *operations.entry("gateway_add").or_default() += 1;
        }
    }
    Ok(())
}

/// The first host address of a subnet, with its prefix length. The plugin uses the same address.
fn gateway_of(subnet: &IpNetwork) -> Option<IpNetwork> {
    let first = match subnet.network() {
        std::net::IpAddr::V4(ip) => {
            std::net::Ipv4Addr::from_bits(ip.to_bits().checked_add(1)?).into()
        }
        std::net::IpAddr::V6(ip) => {
            std::net::Ipv6Addr::from_bits(ip.to_bits().checked_add(1)?).into()
        }
    };
    IpNetwork::new(first, subnet.prefix()).ok()
}

/// Writes the plugin first and the CNI configuration last: the container runtime calls the plugin as
/// soon as the configuration exists.
pub(super) fn write_files(options: &Options, network: &PodNetwork) -> Result<(), install::Error> {
    let Options { cni_binary, cni_bin_dir, run_dir, .. } = options;
    if let Some(binary) = cni_binary
        && install::install_plugin(binary, cni_bin_dir)?
    {
        info!(directory = %cni_bin_dir.display(), "installed weir-cni");
    }
    if install::write_subnet_env(run_dir, network)? {
        info!(mtu = network.mtu, subnets = ?network.subnets, "wrote subnet.env");
    }
    if install::write_conflist(options, network)? {
        info!(directory = %options.cni_conf_dir.display(), "wrote the CNI configuration");
    }
    Ok(())
}
