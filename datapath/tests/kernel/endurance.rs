//! Established connections of a table of the default size, as long as it takes. Left out unless asked for:
//! `cargo test -p weir-datapath --test kernel -- --ignored endurance`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_datapath::Hook;
use weir_datapath::common::{Config, Reason, V4};

use crate::family::Addresses;
use crate::frames::{Step, dropped, tcp};
use crate::lifetimes::{establish, forward, scene_with, short_connection};
use crate::scene::Scene;

/// Entries of the table on a machine with 24 GiB.
const ROOM: u32 = 262_144;
/// So many ports a client goes round in.
const PORTS: u32 = 50_000;

fn with_idle_connection() -> Result<Scene> {
    let scene = scene_with::<V4>(Config::FAST_PATH, ROOM)?;
    establish::<V4>(&scene, 4000, 1)?;
    Ok(scene)
}

fn is_there(scene: &Scene) -> Result<()> {
    let flow = forward::<V4>(scene, true, 4000)?.context("it was forgotten")?;
    ensure!(flow.is_lasting(), "{flow:?}");
    ensure!(scene.counted(Reason::DroppedTableFull)? == 0, "some found no room");
    Ok(())
}

#[test]
#[ignore = "it takes minutes"]
fn an_idle_connection_outlives_ten_million_short_ones() -> Result<()> {
    let scene = with_idle_connection()?;
    let connections = (0..10_000_000).flat_map(|number| short_connection(number % PORTS));
    let dropped = dropped(&scene, connections)?;
    ensure!(dropped == 0, "{dropped} segments were dropped");
    is_there(&scene)
}

#[test]
#[ignore = "it takes a minute"]
fn an_idle_connection_outlives_a_minute_of_syns() -> Result<()> {
    let scene = with_idle_connection()?;
    let end = Instant::now() + Duration::from_secs(60);
    let syn = |number: u32| -> Result<Step> {
        let port = u16::try_from(10_000 + number % PORTS)?;
        let frame = tcp((V4::pod(0), port), (V4::service(10), 80), (number, "S"))?;
        Ok((Hook::FromPod, "veth0", frame))
    };
    dropped(&scene, (0..).take_while(|_| Instant::now() < end).map(syn))?;
    ensure!(scene.counted(Reason::FlowForgotten)? > u64::from(ROOM), "no flood");
    is_there(&scene)
}
