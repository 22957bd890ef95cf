//! Pins that somebody removes are made again, of the same programs and maps.

use std::fs;

use anyhow::{Context, Result, ensure};
use aya::maps::MapData;
use weir_datapath::common::{Reason, V4, map};
use weir_datapath::{Hook, KeptPins, Program, attach_sockets};
use weir_tests::lab::Stack;

use crate::released::{expected, pinned};
use crate::scene::Scene;
use crate::sockets::own_cgroup;
use crate::talk::Talk;

fn map_ids(scene: &Scene) -> Result<Vec<u32>> {
    scene.node.run(|| {
        let id = |map| Ok(MapData::from_pin(scene.pins.map(map))?.info()?.id());
        map::ALL.iter().map(|map| id(*map)).collect()
    })
}

#[test]
fn removed_pins_are_made_again_of_what_was_pinned() -> Result<()> {
    let mut scene = Scene::with_pods(2)?;
    let mut talk = Talk::begin::<V4>(&mut scene)?;
    let kept = scene.node.run(|| Ok(KeptPins::open(&scene.pins)?))?;
    let program = || scene.node.run(|| Ok(Program::open(&scene.pins, Hook::FromPod)?.id()));
    let (maps, from_pod) = (map_ids(&scene)?, program()?);
    ensure!(scene.node.run(|| Ok(kept.restore()?))? == 0, "nothing is missing");

    scene.node.run(|| Ok(fs::remove_dir_all(scene.pins.folder())?))?;
    let (programs_pinned, maps_pinned) = expected(&scene);
    let count = scene.node.run(|| Ok(kept.restore()?))?;
    ensure!(count == programs_pinned.len() + maps_pinned.len(), "{count} pins");
    ensure!(pinned(&scene, "programs")? == programs_pinned);
    ensure!(pinned(&scene, "maps")? == maps_pinned);
    ensure!(map_ids(&scene)? == maps, "the maps are others");
    ensure!(program()? == from_pod, "the program is another");
    talk.exchange()?;
    ensure!(scene.counted(Reason::FlowOpened)? == 2, "a flow was opened anew");
    Ok(())
}

#[test]
fn a_file_system_that_hides_the_pins_gets_them_too() -> Result<()> {
    let scene = Scene::with_pods(0)?;
    let maps = map_ids(&scene)?;
    let kept = scene.node.run(|| Ok(KeptPins::open(&scene.pins)?))?;
    let mount = scene.pins.folder().parent().context("no parent")?;
    scene.node.sh(&format!("mount -t bpf bpf {}", mount.display()))?;
    ensure!(map_ids(&scene).is_err(), "the pins are not hidden");
    scene.node.run(|| Ok(kept.restore()?))?;
    ensure!(map_ids(&scene)? == maps, "the maps are others");
    Ok(())
}

#[test]
fn programs_stay_at_sockets_when_their_links_lose_their_pins() -> Result<()> {
    let scene = Scene::with_pods(0)?;
    let cgroup = own_cgroup()?;
    scene.node.run(|| Ok(attach_sockets(&scene.pins, &cgroup)?))?;
    let before = pinned(&scene, "links")?;
    ensure!(!before.is_empty(), "no links");
    let kept = scene.node.run(|| Ok(KeptPins::open(&scene.pins)?))?;
    scene.node.run(|| Ok(fs::remove_dir_all(scene.pins.folder().join("links"))?))?;
    let count = scene.node.run(|| Ok(kept.restore()?))?;
    ensure!(count == before.len(), "{count} pins");
    ensure!(pinned(&scene, "links")? == before);
    Ok(())
}

#[test]
fn a_pin_that_somebody_else_has_made_stays() -> Result<()> {
    let scene = Scene::with_pods(0)?;
    let kept = scene.node.run(|| Ok(KeptPins::open(&scene.pins)?))?;
    let [first, second] = [map::SERVICES_V4, map::SERVICES_V6].map(|map| scene.pins.map(map));
    scene.node.run(|| {
        fs::remove_file(&first)?;
        MapData::from_pin(&second)?.pin(&first)?;
        Ok(())
    })?;
    let ids = map_ids(&scene)?;
    ensure!(scene.node.run(|| Ok(kept.restore()?))? == 0, "a pin was made");
    ensure!(map_ids(&scene)? == ids, "the pin leads elsewhere");
    Ok(())
}
