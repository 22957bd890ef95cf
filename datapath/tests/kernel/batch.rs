//! Large maps are read in pieces, and nothing is lost or listed twice at their seams.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use weir_datapath::common::map;
use weir_datapath::common::{Address, Backend, Port, Scope, Service, ServiceKey, V4, V6, protocol};
use weir_datapath::maps::{Backends, Family, Services, Slots, Table, fill};
use weir_tests::lab::Stack;

use crate::scene::Scene;

const SERVICES: u32 = 10_000;
const EACH: u32 = 10;

fn service<A: Address>(number: u32) -> (ServiceKey<A>, Service) {
    let address = A::from_words([number + 1, 0, 0, 0]);
    let key = ServiceKey::new(address, Port::new(80), protocol::TCP, Scope::Internal);
    let service =
        Service { id: number + 1, offset: number * EACH, count: EACH, ..Service::default() };
    (key, service)
}

fn backend<A: Address>(id: u32) -> Backend<A> {
    let address = A::from_words([id, 1, 0, 0]);
    Backend { address, port: Port::new(8080), flags: Backend::<A>::SERVING }
}

fn all_are_read<A: Family>(scene: &Scene) -> Result<()> {
    let mut services: Services<A> = scene.table(A::SERVICES)?;
    let mut backends: Backends<A> = scene.table(A::BACKENDS)?;
    for number in 0..SERVICES {
        let (key, value) = service::<A>(number);
        services.set(&key, &value)?;
    }
    for id in 0..SERVICES * EACH {
        backends.set(&id, &backend(id))?;
    }
    let listed = services.entries()?;
    ensure!(listed.len() == SERVICES as usize, "{} Services", listed.len());
    let listed: HashMap<_, _> = listed.into_iter().collect();
    for number in 0..SERVICES {
        let (key, value) = service::<A>(number);
        ensure!(listed.get(&key) == Some(&value), "{key:?}: {:?}", listed.get(&key));
    }
    let listed = backends.entries()?;
    ensure!(listed.len() == (SERVICES * EACH) as usize, "{} backends", listed.len());
    let listed: HashMap<_, _> = listed.into_iter().collect();
    for id in 0..SERVICES * EACH {
        ensure!(listed.get(&id) == Some(&backend(id)), "{id}: {:?}", listed.get(&id));
    }
    Ok(())
}

#[test]
fn ten_thousand_services_with_ten_backends_each_are_read_in_full() -> Result<()> {
    let scene = Scene::with_pods(0)?;
    all_are_read::<V4>(&scene)?;
    all_are_read::<V6>(&scene)?;
    let full = scene.node.run(|| Ok(fill(&scene.pins, map::BACKENDS_V4)?))?;
    assert_eq!(full, ((SERVICES * EACH) as usize, map::capacity::BACKENDS));
    Ok(())
}

#[test]
fn every_slot_is_read_in_its_place() -> Result<()> {
    let scene = Scene::with_pods(0)?;
    let mut slots = scene.node.run(|| Ok(Slots::open(&scene.pins)?))?;
    let ids: Vec<u32> = (0..100_000).map(|slot| slot * 7 + 1).collect();
    slots.set(50, &ids)?;
    let all = slots.all()?;
    assert_eq!(all.len(), slots.capacity() as usize);
    assert_eq!(all[50..100_050], ids);
    assert!(all[..50].iter().chain(&all[100_050..]).all(|id| *id == 0));
    Ok(())
}

#[test]
fn an_empty_map_has_no_entries() -> Result<()> {
    let scene = Scene::with_pods(0)?;
    let services: Table<ServiceKey<V4>, Service> = scene.table(map::SERVICES_V4)?;
    assert_eq!(services.entries()?, []);
    Ok(())
}
