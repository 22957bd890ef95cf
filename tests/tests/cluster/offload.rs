//! The flag `--tx-checksum` sets the TX checksum offload of the tunnel device.

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{Cluster, Member, Stack, until};

use crate::fixture::passes;

/// Whether the device's TX checksum offload is on.
fn is_on(node: &Member) -> Result<bool> {
    let listing = node.sh("ethtool --show-features weir.1")?;
    let state = listing.lines().find_map(|line| line.strip_prefix("tx-checksumming: "));
    Ok(state.context("no tx-checksumming")? == "on")
}

fn set(node: &Member, on: bool) -> Result<()> {
    let word = if on { "on" } else { "off" };
    node.sh(&format!("ethtool --features weir.1 tx {word}"))?;
    ensure!(is_on(node)? == on, "the offload cannot be set {word}");
    Ok(())
}

/// The agent sets the offload as the flag says, and restores it after a change.
fn stays(flag: &str, on: bool) -> Result<()> {
    Cluster::new(1).flag(flag).without_timer().test(|cluster| {
        let node = cluster.node(1)?;
        let is_as_configured = || {
            ensure!(is_on(node)? == on, "not yet");
            Ok(())
        };
        until("the device is as the flag says", is_as_configured)?;
        node.while_agent_paused(|| set(node, !on))?;
        until("the device is as the flag says again", is_as_configured)
    })
}

#[test]
fn tx_checksum_off_turns_the_offload_off() -> Result<()> {
    stays("--tx-checksum=off", false)
}

#[test]
fn tx_checksum_on_turns_the_offload_on() -> Result<()> {
    stays("--tx-checksum=on", true)
}

#[test]
fn without_the_flag_the_agent_keeps_the_offload_setting_of_a_correct_kernel() -> Result<()> {
    Cluster::new(1).without_timer().test(|cluster| {
        let node = cluster.node(1)?;
        ensure!(is_on(node)?, "the offload was turned off");
        set(node, false)?;
        let before = passes(node)?;
        node.sh("ip link set weir.1 mtu 1300")?;
        until("a pass is complete", || {
            ensure!(passes(node)? > before && node.sh("ip link show weir.1")?.contains("mtu 1450"));
            Ok(())
        })?;
        ensure!(!is_on(node)?, "the offload was turned on");
        Ok(())
    })
}
