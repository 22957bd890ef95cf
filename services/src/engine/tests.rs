use std::net::IpAddr;
use std::time::Instant;

use super::*;
use crate::allocator::{Capacity, GRACE};
use crate::diff::tests::Maps;
use crate::index::tests::{ep, name, service, slice, snapshot};
use weir_model::{ObjectName, Service};

const CAPACITY: Capacity = Capacity { frontends: 65_536, backends: 262_144, slots: 524_288 };

fn engine() -> Engine {
    Engine::new("here", NodeContext::default(), Allocator::new(CAPACITY, 0))
}

#[test]
fn a_restarted_engine_changes_nothing_where_nothing_changed() {
    let now = Instant::now();
    let snapshot = snapshot(
        &[service("a", 1), service("b", 2)],
        &[slice("a-1", "a", &[ep(1), ep(2)]), slice("b-1", "b", &[ep(3)])],
    );
    let mut maps = Maps::default();
    maps.apply_all(&engine().update(&snapshot, now));
    let allocator = Allocator::adopt(maps.read(), CAPACITY, 1_000_000, now);
    let mut restarted = Engine::new("here", NodeContext::default(), allocator);
    assert_eq!(restarted.update(&snapshot, now), []);
    assert_eq!(restarted.allocator().tables(), maps.read());
}

#[test]
fn a_service_is_not_served_while_the_node_has_its_address() {
    let (now, mut engine, mut maps) = (Instant::now(), engine(), Maps::default());
    let snapshot = snapshot(&[service("dns", 10)], &[slice("dns-1", "dns", &[ep(1)])]);
    maps.apply_all(&engine.update(&snapshot, now));
    assert_eq!(maps.frontends.len(), 2);
    let context = NodeContext {
        bound_addresses: [IpAddr::from([10, 96, 0, 10])].into(),
        ..NodeContext::default()
    };
    maps.apply_all(&engine.set_context(context.clone(), now));
    assert_eq!(maps.frontends.len(), 0);
    assert_eq!(engine.set_context(context, now), []);
    maps.apply_all(&engine.set_context(NodeContext::default(), now));
    maps.apply_all(&engine.expire(now + GRACE));
    assert_eq!(maps.frontends.len(), 2);
    assert_eq!(maps.read(), engine.allocator().tables());
}

#[test]
fn an_address_can_pass_from_one_service_to_another_in_one_snapshot() {
    let (now, mut engine, mut maps) = (Instant::now(), engine(), Maps::default());
    let mut snapshot =
        snapshot(&[service("b", 1)], &[slice("a-1", "a", &[ep(1)]), slice("b-1", "b", &[ep(2)])]);
    maps.apply_all(&engine.update(&snapshot, now));
    snapshot.services.remove(&name("b"));
    snapshot.services.insert(name("a"), service("a", 1).into());
    maps.apply_all(&engine.update(&snapshot, now));
    assert_eq!(maps.read(), engine.allocator().tables());
    let value = maps.frontends.values().find(|value| value.service != 0).unwrap();
    assert_eq!(maps.backends_of(value).unwrap()[0].0, IpAddr::from([10, 244, 0, 1]));
    assert_eq!(engine.allocator().problems().count(), 0);
}

/// Prints how long the steps take: run it with `--release -- --nocapture`. No time is asserted.
#[test]
fn one_of_ten_thousand_services_changes() {
    let mut snapshot = snapshot(&[], &[]);
    let big = |number: u16, endpoints: u8| {
        let [high, low] = number.to_be_bytes();
        let name: ObjectName = name(&format!("s{number}"));
        let service = Service {
            name: name.clone(),
            cluster_ips: vec![IpAddr::from([10, 96, high, low])],
            ..service("s", 0)
        };
        let mut slice = slice("x", &name.name, &(0..endpoints).map(ep).collect::<Vec<_>>());
        slice.name = ObjectName::new("ns", format!("s{number}-1"));
        for endpoint in &mut slice.endpoints {
            let IpAddr::V4(ip) = endpoint.ip else { continue };
            endpoint.ip = IpAddr::from([10, high, low, ip.octets()[3]]);
        }
        (service, slice)
    };
    let began = Instant::now();
    for number in 0..10_000 {
        let (service, slice) = big(number, 10);
        snapshot.services.insert(service.name.clone(), service.into());
        snapshot.slices.insert(slice.name.clone(), slice.into());
    }
    println!("snapshot: {:?}", began.elapsed());
    let (mut engine, mut maps) = (engine(), Maps::default());
    let began = Instant::now();
    let ops = engine.update(&snapshot, began);
    println!("10,000 Services with 10 endpoints each: {} ops in {:?}", ops.len(), began.elapsed());
    maps.apply_all(&ops);

    let (_, slice) = big(5_000, 11);
    let began = Instant::now();
    let mut changed = snapshot.clone();
    changed.slices.insert(slice.name.clone(), slice.into());
    let published = began.elapsed();
    let ops = engine.update(&changed, began);
    println!("one change: {published:?} to publish, {:?} in total", began.elapsed());
    let kinds: Vec<_> = ops.iter().map(Op::kind).collect();
    assert_eq!(kinds, ["backend_put", "slots_write", "frontend_put"]);
    maps.apply_all(&ops);

    let began = Instant::now();
    let tables = engine.allocator().tables();
    let ops = super::super::diff::diff(&tables, &maps.read());
    println!("comparison of everything: {:?}", began.elapsed());
    assert_eq!(ops, []);
    let began = Instant::now();
    let allocator = Allocator::adopt(maps.read(), CAPACITY, 1_000_000, began);
    let mut restarted = Engine::new("here", NodeContext::default(), allocator);
    assert_eq!(restarted.update(&changed, began), []);
    println!("a restart: {:?}", began.elapsed());
}
