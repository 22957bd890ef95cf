mod property;
mod room;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::compile::{Compiled, NodeContext, compile};
use crate::diff::Op;
use crate::diff::tests::Maps;
use crate::index::Index;
use crate::index::tests::{Ep, ep, name, service, slice, snapshot};
use crate::tables::{Backend, FrontendKey, FrontendValue, Range, Tables};
use weir_model::{Family, Protocol, Service, ServicePort, TrafficPolicy};

const ROOMY: Capacity = Capacity { frontends: 100, backends: 1000, slots: 1000 };

fn compiled(service: &Service, endpoints: &[Ep]) -> Arc<Compiled> {
    let slice = slice("x", &service.name.name, endpoints);
    let changes = Index::new("here").update(&snapshot(std::slice::from_ref(service), &[slice]));
    compile(changes[0].resolved.as_ref().unwrap(), &NodeContext::default()).into()
}

/// A Service with this many endpoints.
fn sized(service_name: &str, last: u8, endpoints: u8) -> Arc<Compiled> {
    compiled(&service(service_name, last), &(0..endpoints).map(ep).collect::<Vec<_>>())
}

/// An allocator, the maps that it writes, and the time.
struct Scene {
    allocator: Allocator,
    maps: Maps,
    now: Instant,
}

impl Scene {
    fn new(capacity: Capacity) -> Self {
        Self { allocator: Allocator::new(capacity, 0), maps: Maps::default(), now: Instant::now() }
    }

    fn apply(&mut self, service: &str, compiled: Option<Arc<Compiled>>) -> Vec<Op> {
        let ops = self.allocator.apply(&name(service), compiled, self.now);
        self.maps.apply_all(&ops);
        ops
    }

    fn pass(&mut self, time: Duration) -> Vec<Op> {
        self.now += time;
        let ops = self.allocator.expire(self.now);
        self.maps.apply_all(&ops);
        ops
    }

    fn value(&self, last: u8) -> Option<FrontendValue> {
        let key =
            |key: &FrontendKey| key.ip == IpAddr::from([10, 96, 0, last]) && key.port.is_some();
        self.maps.frontends.iter().find(|(found, _)| key(found)).map(|(_, value)| *value)
    }

    /// The last bytes of the addresses that a packet to 10.96.0.`last`:80 may be sent to.
    fn set(&self, last: u8) -> Option<Vec<u8>> {
        let backends = self.maps.backends_of(&self.value(last)?).expect("a backend is missing");
        let last = |ip: &IpAddr| ip.to_string().rsplit('.').next().unwrap().parse().unwrap();
        Some(backends.iter().map(|(ip, _)| last(ip)).collect())
    }

    fn problems(&self) -> Vec<String> {
        self.allocator.problems().map(|(name, problem)| format!("{name}: {problem}")).collect()
    }

    fn check(&self) {
        assert_eq!(self.maps.read(), self.allocator.tables());
        for family in [Family::V4, Family::V6] {
            let of = |ip: IpAddr| Family::of(ip) == family;
            let frontends = self.maps.frontends.keys().filter(|key| of(key.ip)).count();
            let backends = self.maps.backends.values().filter(|backend| of(backend.ip)).count();
            assert_eq!(self.allocator.in_use(family), Use { frontends, backends });
        }
    }
}

#[test]
fn a_changed_set_gets_fresh_slots_and_its_remaining_backends_keep_their_ids() {
    let mut scene = Scene::new(ROOMY);
    scene.apply("a", Some(compiled(&service("a", 1), &[ep(1), ep(2)])));
    let (before, ids) = (scene.value(1).unwrap(), scene.maps.backends.clone());
    assert_eq!(scene.set(1), Some(vec![1, 2]));
    scene.apply("a", Some(compiled(&service("a", 1), &[ep(2), ep(3)])));
    let after = scene.value(1).unwrap();
    assert_eq!(scene.set(1), Some(vec![2, 3]));
    assert_eq!(before.service, after.service);
    assert!(!before.range.overlaps(after.range));
    let id_of = |backends: &BTreeMap<u32, Backend>, last| {
        let ip = IpAddr::from([10, 244, 0, last]);
        backends.iter().find(|(_, backend)| backend.ip == ip).map(|(id, _)| *id)
    };
    assert_eq!(id_of(&ids, 2), id_of(&scene.maps.backends, 2));
    scene.check();
}

#[test]
fn a_removed_backend_stops_serving_at_once_and_is_deleted_later() {
    let mut scene = Scene::new(ROOMY);
    scene.apply("a", Some(sized("a", 1, 2)));
    scene.apply("a", Some(sized("a", 1, 1)));
    let serving = |scene: &Scene| -> Vec<bool> {
        scene.maps.backends.values().map(|backend| backend.serving).collect()
    };
    assert_eq!(serving(&scene), [true, false]);
    assert_eq!(scene.pass(GRACE / 2), []);
    scene.pass(GRACE);
    assert_eq!(serving(&scene), [true]);
    assert_eq!(scene.allocator.due(), None);
    scene.check();
}

#[test]
fn a_service_that_is_applied_again_unchanged_needs_no_operation() {
    let mut scene = Scene::new(ROOMY);
    scene.apply("a", Some(sized("a", 1, 2)));
    assert_eq!(scene.apply("a", Some(sized("a", 1, 2))), []);
}

#[test]
fn a_port_is_not_touched_when_other_ports_are_added_and_removed() {
    let mut scene = Scene::new(ROOMY);
    let with = |ports: &[(&str, Protocol, u16)]| {
        let mut changed = service("a", 1);
        let mut endpoints = slice("x", "a", &[ep(1)]);
        (changed.ports, endpoints.ports) = ports
            .iter()
            .map(|&(name, protocol, port)| {
                let name: Arc<str> = name.into();
                let slice_port = weir_model::SlicePort { name: Arc::clone(&name), protocol, port };
                (ServicePort { name, protocol, port }, slice_port)
            })
            .unzip();
        let changes = Index::new("here").update(&snapshot(&[changed], &[endpoints]));
        Some(Arc::new(compile(changes[0].resolved.as_ref().unwrap(), &NodeContext::default())))
    };
    let (dns, tcp, http) =
        (("dns", Protocol::Udp, 53), ("dns", Protocol::Tcp, 53), ("http", Protocol::Tcp, 80));
    scene.apply("a", with(&[dns, http]));
    let key = |ops: &[Op]| {
        ops.iter().any(|op| match op {
            Op::PutFrontend(key, _) | Op::DeleteFrontend(key) => {
                key.port == Some((53, Protocol::Udp))
            }
            _ => false,
        })
    };
    assert!(!key(&scene.apply("a", with(&[tcp, dns]))));
    assert_eq!(scene.maps.frontends.len(), 3, "two ports and the unknown-port guard");
    scene.check();
}

#[test]
fn a_service_can_be_removed_and_added_again_at_once() {
    let mut scene = Scene::new(ROOMY);
    scene.apply("a", Some(sized("a", 1, 2)));
    let ops = scene.apply("a", None);
    let deleted = ops.iter().filter(|op| matches!(op, Op::DeleteFrontend(_))).count();
    assert_eq!(deleted, 2);
    assert_eq!(scene.set(1), None);
    scene.apply("a", Some(sized("a", 1, 2)));
    assert_eq!(scene.set(1), Some(vec![0, 1]));
    scene.pass(GRACE);
    assert_eq!(scene.maps.backends.len(), 2);
    scene.check();
}

#[test]
fn a_service_without_endpoints_has_an_empty_range() {
    let mut scene = Scene::new(ROOMY);
    scene.apply("a", Some(sized("a", 1, 0)));
    assert_eq!(scene.value(1).unwrap().range, Range::default());
    scene.check();
}

#[test]
fn of_two_services_with_one_address_the_older_gets_it() {
    let mut scene = Scene::new(ROOMY);
    let aged = |name: &str, age: u64, last| {
        let created = Some(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(age));
        Some(compiled(&Service { created, ..service(name, 1) }, &[ep(last)]))
    };
    scene.apply("young", aged("young", 9, 1));
    scene.apply("old", aged("old", 5, 2));
    assert_eq!(scene.set(1), Some(vec![2]));
    let taken = "ns/young: 10.96.0.1:80 TCP belongs to the older service ns/old";
    assert_eq!(scene.problems(), [taken]);
    scene.check();
    scene.apply("young", aged("young", 9, 3));
    assert_eq!(scene.set(1), Some(vec![2]));
    scene.apply("old", None);
    assert_eq!(scene.set(1), Some(vec![3]), "the younger service was waiting");
    assert_eq!(scene.problems(), [""; 0]);
    scene.check();
}

#[test]
fn a_new_allocator_adopts_the_entries_of_the_old_one() {
    let mut scene = Scene::new(ROOMY);
    for number in 1..=3 {
        scene.apply(&number.to_string(), Some(sized(&number.to_string(), number, number)));
    }
    let left = scene.maps.clone();
    scene.allocator = Allocator::adopt(left.read(), ROOMY, 1_000_000, scene.now);
    scene.check();
    assert_eq!(scene.apply("1", Some(sized("1", 1, 1))), [], "it has not changed");
    let ops = scene.apply("2", Some(sized("2", 2, 3)));
    let kinds: Vec<_> = ops.iter().map(Op::kind).collect();
    assert_eq!(kinds, ["backend_put", "slots_write", "frontend_put"]);
    assert_eq!(
        scene.value(2).unwrap().service,
        left.read().frontends.values().nth(3).unwrap().value.service
    );
    let ops = scene.allocator.end_adoption(scene.now);
    scene.maps.apply_all(&ops);
    assert_eq!(scene.set(3), None, "no service asked for it");
    scene.pass(GRACE);
    scene.check();
    assert_eq!(scene.allocator.free_slots(), (1000 - 4, 0));
}

#[test]
fn overlapping_ranges_are_not_adopted() {
    let mut scene = Scene::new(ROOMY);
    scene.apply("1", Some(sized("1", 1, 4)));
    scene.apply("2", Some(sized("2", 2, 4)));
    for value in scene.maps.frontends.values_mut().filter(|value| value.range.count > 0) {
        value.range = Range { offset: value.range.offset.min(2), count: 4 };
    }
    scene.allocator = Allocator::adopt(scene.maps.read(), ROOMY, 1_000_000, scene.now);
    scene.apply("1", Some(sized("1", 1, 4)));
    scene.apply("2", Some(sized("2", 2, 4)));
    let ops = scene.allocator.end_adoption(scene.now);
    scene.maps.apply_all(&ops);
    assert_eq!((scene.set(1).unwrap().len(), scene.set(2).unwrap().len()), (4, 4));
    scene.pass(GRACE);
    scene.pass(GRACE);
    scene.check();
    assert_eq!(scene.allocator.free_slots(), (1000 - 8, 0));
}
