//! Upgrades from an earlier release, whose programs run meanwhile.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{HashMap, MapData};
use weir_datapath::common::map::{self, Map};
use weir_datapath::common::{Config, Reason, Route, RouteKind, V4, V6};
use weir_datapath::maps::{ConfigMap, Routes, Table};
use weir_datapath::upgrade::{Completed, Entry, Former, RELEASED, Transfer, Upgrade};
use weir_datapath::{Capacities, Hook, LogLevel, Pins, Program, attach_all, load, load_over};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::released::{FIRST, NEW, Release, SAME, SECOND, attached, expected, links, pinned};
use crate::scene::{MASQUERADE, Scene};
use crate::talk::Talk;

/// What an agent of this release does when it starts.
fn upgrade(scene: &Scene) -> Result<Completed> {
    let links = links(scene)?;
    load_only(scene)?;
    let completed = scene.node.run(|| Ok(Upgrade::new(&scene.pins).complete(links)?))?;
    attach_to_pods(scene, scene.pods.len())?;
    Ok(completed)
}

/// Room that takes little memory.
fn small() -> Capacities {
    [map::FLOWS_TCP_V4, map::FLOWS_TCP_V6, map::FLOWS_DGRAM_V4, map::FLOWS_DGRAM_V6]
        .into_iter()
        .fold(Capacities::default(), |all, map| all.with(map, 1024))
}

fn scene(pods: u8) -> Result<Scene> {
    Scene::with_capacities(pods, &small())
}

fn load_only(scene: &Scene) -> Result<()> {
    scene.node.run(|| Ok(load(&scene.pins, &small()).map(|_| ())?))
}

fn attach_to_pods(scene: &Scene, pods: usize) -> Result<()> {
    for number in 0..pods {
        let ifindex = scene.ifindex(&format!("veth{number}"))?;
        scene.node.run(|| {
            let [from, to] = Hook::POD;
            let programs = [Program::open(&scene.pins, from)?, Program::open(&scene.pins, to)?];
            Ok(attach_all(ifindex, &programs)?)
        })?;
    }
    Ok(())
}

/// Nothing but this release is pinned and attached.
fn is_complete(scene: &Scene) -> Result<()> {
    let (programs, maps) = expected(scene);
    ensure!(pinned(scene, "programs")? == programs, "{:?}", pinned(scene, "programs")?);
    ensure!(pinned(scene, "maps")? == maps, "{:?}", pinned(scene, "maps")?);
    ensure!(!scene.node.run(|| Ok(Upgrade::new(&scene.pins).is_pending()?))?);
    let mut own = Vec::new();
    for hook in Hook::POD {
        own.push(scene.node.run(|| Ok(Program::open(&scene.pins, hook)?.id()))?);
    }
    let found = attached(scene)?;
    ensure!(found.chunks(2).all(|pair| pair == own), "{found:?} are attached, not {own:?}");
    Ok(())
}

#[test]
fn earlier_releases_are_known_as_they_were() {
    let known: Vec<_> = RELEASED.iter().map(|former| (former.map, former.successor)).collect();
    let [.., second_v4, second_v6] = SECOND.flows;
    let formers = [&FIRST.flows[..], &[second_v4, second_v6], FIRST.renamed].concat();
    assert_eq!(known, formers);
    let pins = Pins::new("/");
    let is_same = |map: &&Map| formers.iter().all(|(_, new)| new != *map) && !NEW.contains(map);
    let now = map::ALL.iter().filter(is_same);
    let mut same: Vec<_> = now.map(|map| pins.map(*map)).collect();
    same.sort();
    assert_eq!(same, SAME.map(|name| std::path::PathBuf::from(format!("/maps/{name}"))));
}

fn connections_go_on<A: Addresses>(release: &Release, flags: u32) -> Result<()> {
    let mut scene = scene(2)?;
    let config = Config { flags, masquerade_mark: MASQUERADE, ..Config::default() };
    scene.set(config)?;
    let route = Route { kind: RouteKind::Node as u32, ifindex: 0, mtu: 0, next_hop: A::default() };
    scene.node.run(|| Ok(Routes::open(&scene.pins)?.set(A::pod(100), A::BITS, &route)?))?;
    let mut talk = Talk::begin::<A>(&mut scene)?;
    release.pin(&scene)?;
    let before = attached(&scene)?;
    let ended = AtomicBool::new(false);
    let completed = thread::scope(|scope| -> Result<Completed> {
        let talking = scope.spawn(|| -> Result<Talk> {
            while !ended.load(Ordering::Relaxed) {
                talk.exchange()?;
            }
            Ok(talk)
        });
        let completed = upgrade(&scene);
        ended.store(true, Ordering::Relaxed);
        let mut talk = talking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        talk.exchange().context("after the upgrade")?;
        completed
    })?;
    ensure!(completed.programs == 4, "{completed:?}");
    is_complete(&scene)?;
    ensure!(before.iter().all(|id| !attached(&scene).is_ok_and(|now| now.contains(id))));
    ensure!(scene.counted(Reason::FlowOpened)? == 2, "a flow was opened anew");
    let config = Config { flags: flags | Config::SOURCE_CHECK, ..config };
    ensure!(scene.node.run(|| Ok(ConfigMap::open(&scene.pins)?.get()?))? == config);
    let routes = scene.node.run(|| Ok(Routes::<A>::open(&scene.pins)?.entries()?))?;
    ensure!(routes == [(A::pod(100), A::BITS, route)], "{routes:?}");
    Ok(())
}

#[test]
fn connections_that_the_first_release_has_translated_go_on_by_ipv4() -> Result<()> {
    connections_go_on::<V4>(&FIRST, 0)?;
    connections_go_on::<V4>(&FIRST, Config::FAST_PATH)
}

#[test]
fn connections_that_the_second_release_has_translated_go_on_by_ipv4() -> Result<()> {
    connections_go_on::<V4>(&SECOND, 0)?;
    connections_go_on::<V4>(&SECOND, Config::FAST_PATH)
}

#[test]
fn connections_that_the_first_release_has_translated_go_on_by_ipv6() -> Result<()> {
    connections_go_on::<V6>(&FIRST, 0)?;
    connections_go_on::<V6>(&FIRST, Config::FAST_PATH)
}

#[test]
fn connections_that_the_second_release_has_translated_go_on_by_ipv6() -> Result<()> {
    connections_go_on::<V6>(&SECOND, 0)?;
    connections_go_on::<V6>(&SECOND, Config::FAST_PATH)
}

#[test]
fn a_map_that_keeps_its_layout_is_shared_until_the_old_programs_are_replaced() -> Result<()> {
    let mut scene = scene(2)?;
    let mut talk = Talk::begin::<V4>(&mut scene)?;
    FIRST.pin(&scene)?;
    scene.node.run(|| Ok(load(&scene.pins, &small())?))?;
    for &(old, new) in FIRST.renamed {
        let id = |map| -> Result<u32> { Ok(MapData::from_pin(scene.pins.map(map))?.info()?.id()) };
        let (old, new) = scene.node.run(|| Ok((id(old)?, id(new)?)))?;
        ensure!(old == new, "{old} and {new} are two maps");
    }
    talk.exchange()
}

/// What an agent has done when it is killed.
type Beginning = fn(&Scene) -> Result<()>;

fn replace(scene: &Scene, pods: usize) -> Result<()> {
    load_only(scene)?;
    attach_to_pods(scene, pods)
}

const BEGINNINGS: [(&str, Beginning); 9] = [
    ("one map has both names", |scene| {
        scene.node.run(|| {
            let [(old, new), ..] = *FIRST.renamed else { bail!("no map") };
            MapData::from_pin(scene.pins.map(old))?.pin(scene.pins.map(new))?;
            Ok(())
        })
    }),
    ("a program has been pinned beside its place", |scene| {
        load_only(scene)?;
        let place = scene.pins.program("from_pod");
        let mut beside = place.clone().into_os_string();
        beside.push("_new");
        scene.node.run(|| Ok(fs::rename(&place, &beside)?))
    }),
    ("half of the programs are pinned", |scene| {
        load_only(scene)?;
        scene.node.run(|| {
            for name in ["from_pod", "to_pod", "from_overlay"] {
                fs::remove_file(scene.pins.program(name))?;
            }
            Ok(())
        })
    }),
    ("all programs are pinned", load_only),
    ("one pod has the new programs", |scene| replace(scene, 1)),
    ("both pods have the new programs", |scene| replace(scene, 2)),
    ("one old program is removed", |scene| {
        replace(scene, 2)?;
        scene.node.run(|| Ok(fs::remove_file(FIRST.program(&scene.pins, "from_pod"))?))
    }),
    ("some old maps are removed", |scene| {
        replace(scene, 2)?;
        scene.node.run(|| {
            for (old, _) in FIRST.renamed {
                fs::remove_file(scene.pins.map(*old))?;
            }
            Ok(())
        })
    }),
    ("everything is done", |scene| upgrade(scene).map(|_| ())),
];

#[test]
fn an_upgrade_that_is_killed_at_any_step_is_completed_by_the_next_agent() -> Result<()> {
    for (step, begin) in BEGINNINGS {
        let test = || -> Result<()> {
            let mut scene = scene(2)?;
            let mut talk = Talk::begin::<V4>(&mut scene)?;
            FIRST.pin(&scene)?;
            begin(&scene)?;
            talk.exchange().context("before the next agent")?;
            upgrade(&scene)?;
            talk.exchange().context("after the next agent")?;
            ensure!(scene.counted(Reason::FlowOpened)? == 2, "a flow was opened anew");
            is_complete(&scene)
        };
        test().context(step)?;
    }
    Ok(())
}

#[test]
fn a_plugin_of_the_first_release_finds_no_program_and_nothing_that_it_does_not_know() -> Result<()>
{
    let scene = scene(1)?;
    FIRST.pin(&scene)?;
    upgrade(&scene)?;
    scene.node.run(|| {
        ensure!(!FIRST.program(&scene.pins, "from_pod").exists());
        let mut folders = Vec::new();
        for entry in fs::read_dir(scene.pins.folder())? {
            folders.push(entry?.file_name());
        }
        folders.sort();
        ensure!(folders == ["links", "maps", "programs"], "{folders:?}");
        Ok(())
    })
}

/// A layout that no release has had: keys with four more bytes, values with eight more.
type OldKey = [u8; 20];
type OldValue = [u8; 40];
type Key = [u8; 16];
type Value = [u8; 32];

const OLD_TCP: Map = Map { name: "FLOWS_TCP_V4", layout: 1 };
const OLD_DATAGRAMS: Map = Map { name: "FLOWS_OLD_V4", layout: 9 };
const OTHER_LAYOUT: [Former; 2] = [
    Former { map: OLD_TCP, successor: map::FLOWS_TCP_V4, transfer: Transfer::Entries(convert) },
    Former {
        map: OLD_DATAGRAMS,
        successor: map::FLOWS_DGRAM_V4,
        transfer: Transfer::Entries(convert),
    },
];

/// An entry that begins with this byte has no meaning any more.
const MEANINGLESS: u8 = 0xff;

fn convert(key: &[u8], value: &[u8]) -> Option<Entry> {
    let key = key.strip_prefix(&[1, 2, 3, 4])?;
    Some((key.to_owned(), value.strip_prefix(&[5; 8])?.to_owned()))
}

fn old_entry(key: Key, value: Value) -> (OldKey, OldValue) {
    let (mut old_key, mut old_value) = ([0; 20], [5; 40]);
    old_key[..4].copy_from_slice(&[1, 2, 3, 4]);
    old_key[4..].copy_from_slice(&key);
    old_value[8..].copy_from_slice(&value);
    (old_key, old_value)
}

/// The flows of a map, which programs go on using when its pin is gone.
fn take_flows(scene: &Scene, map: Map) -> Result<Vec<(OldKey, OldValue)>> {
    let entries = scene.table::<Key, Value>(map)?.entries()?;
    ensure!(entries.len() == 2, "{} entries", entries.len());
    scene.node.run(|| Ok(fs::remove_file(scene.pins.map(map))?))?;
    Ok(entries.into_iter().map(|(key, value)| old_entry(key, value)).collect())
}

fn make_old(scene: &Scene, map: Map) -> Result<HashMap<MapData, OldKey, OldValue>> {
    let table = HashMap::<MapData, OldKey, OldValue>::create(64, 0)?;
    scene.node.run(|| {
        aya::maps::IterableMap::map(&table).pin(scene.pins.map(map))?;
        Ok(table)
    })
}

#[test]
fn flows_of_another_layout_are_carried_over_before_and_after_programs_are_replaced() -> Result<()> {
    let mut scene = scene(2)?;
    let mut talk = Talk::begin::<V4>(&mut scene)?;
    let tcp = take_flows(&scene, map::FLOWS_TCP_V4)?;
    let datagrams = take_flows(&scene, map::FLOWS_DGRAM_V4)?;
    let (mut old_tcp, mut old_datagrams) =
        (make_old(&scene, OLD_TCP)?, make_old(&scene, OLD_DATAGRAMS)?);
    for (key, value) in &datagrams {
        old_datagrams.insert(key, value, 0)?;
    }
    old_datagrams.insert([MEANINGLESS; 20], [MEANINGLESS; 40], 0)?;
    let upgrade = Upgrade::from_maps(&scene.pins, &OTHER_LAYOUT);
    let (loaded, _) = scene.node.run(|| Ok(load_over(&upgrade, &small(), LogLevel::Off)?))?;
    ensure!(loaded.copied == 2, "{}", loaded.copied);
    talk.exchange().context("with programs of the old layout")?;
    // Written by an old program after the copy.
    for (key, value) in &tcp {
        old_tcp.insert(key, value, 0)?;
    }
    // Written by a new program.
    let mut new = scene.table::<Key, Value>(map::FLOWS_DGRAM_V4)?;
    let mut entries = new.entries()?;
    ensure!(entries.len() == 2, "{} entries", entries.len());
    // The tick in which a packet was last seen.
    let last_seen_tick = 28;
    for (key, value) in &mut entries {
        value[last_seen_tick] = value[last_seen_tick].wrapping_add(1);
        new.set(key, value)?;
    }
    let links = links(&scene)?;
    let completed = scene.node.run(|| Ok(upgrade.complete(links)?))?;
    ensure!(completed.entries == 2, "{completed:?}");
    let mut found = new.entries()?;
    found.sort();
    entries.sort();
    ensure!(found == entries, "an entry of the new map was replaced");
    talk.exchange().context("with programs of the new layout")?;
    ensure!(scene.counted(Reason::FlowOpened)? == 2, "a flow was opened anew");
    is_complete(&scene)
}

#[test]
fn copying_again_adds_what_is_missing_and_replaces_nothing() -> Result<()> {
    let scene = scene(0)?;
    let mut old = make_old(&scene, OLD_TCP)?;
    for number in 0..3 {
        let (key, value) = old_entry([number; 16], [number; 32]);
        old.insert(key, value, 0)?;
    }
    let mut new: Table<Key, Value> = scene.table(map::FLOWS_TCP_V4)?;
    // As if an agent had been killed while it copied, and the flow was used since.
    new.set(&[1; 16], &[99; 32])?;
    let upgrade = Upgrade::from_maps(&scene.pins, &OTHER_LAYOUT);
    for copied in [2, 0] {
        let load = || Ok(load_over(&upgrade, &small(), LogLevel::Off)?.0.copied);
        let found = scene.node.run(load)?;
        ensure!(found == copied, "{found} were copied");
    }
    let mut entries = new.entries()?;
    entries.sort();
    let expected = [([0; 16], [0; 32]), ([1; 16], [99; 32]), ([2; 16], [2; 32])];
    ensure!(entries == expected, "{entries:?}");
    Ok(())
}

/// The first release has been started again over this one, which leaves two maps of flows.
#[test]
fn after_going_back_and_forth_flows_of_both_releases_are_known() -> Result<()> {
    let mut scene = scene(2)?;
    let mut talk = Talk::begin::<V4>(&mut scene)?;
    FIRST.pin(&scene)?;
    let own = HashMap::<MapData, Key, Value>::create(64, 0)?;
    scene.node.run(|| {
        aya::maps::IterableMap::map(&own).pin(scene.pins.map(map::FLOWS_DGRAM_V4))?;
        Ok(())
    })?;
    scene.table::<Key, Value>(map::FLOWS_DGRAM_V4)?.set(&[1; 16], &[1; 32])?;
    upgrade(&scene)?;
    let entries = scene.table::<Key, Value>(map::FLOWS_DGRAM_V4)?.entries()?;
    ensure!(entries.len() == 3, "{} entries", entries.len());
    talk.exchange()?;
    is_complete(&scene)
}

#[test]
fn a_map_that_is_not_as_that_release_has_made_it_is_left_out() -> Result<()> {
    let scene = scene(1)?;
    FIRST.pin(&scene)?;
    let [(old, _), ..] = *FIRST.renamed else { bail!("no map") };
    scene.node.run(|| Ok(fs::remove_file(scene.pins.map(old))?))?;
    let _other = make_old(&scene, old)?;
    upgrade(&scene)?;
    is_complete(&scene)
}
