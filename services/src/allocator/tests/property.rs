use proptest::prelude::*;

use super::*;

/// A value that a packet has found, the time, and the backends that the value leads to.
type Found = (Instant, FrontendValue, Vec<(IpAddr, u16)>);

/// A step of the property tests.
#[derive(Debug, Clone)]
enum Step {
    Apply { service: u8, ip: u8, endpoints: Vec<u8>, local: bool },
    Remove(u8),
    Pass(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let endpoints = proptest::collection::btree_set(1u8..8, 0..6);
    let apply = (0u8..5, 0u8..6, endpoints, any::<bool>()).prop_map(|(service, ip, set, local)| {
        // Most Services have an address of their own.
        let ip = if ip == 5 { 0 } else { service };
        Step::Apply { service, ip, endpoints: set.into_iter().collect(), local }
    });
    prop_oneof![
        6 => apply,
        2 => (0u8..5).prop_map(Step::Remove),
        3 => (0u64..1500).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_packet_always_sees_one_whole_set_and_the_maps_match_the_allocator(
        steps in proptest::collection::vec(step(), 1..60), slots in 6u32..24,
    ) {
        let capacity = Capacity { slots, frontends: 9, backends: 18 };
        let mut scene = Scene::new(capacity);
        let mut wanted: BTreeMap<u8, Arc<Compiled>> = BTreeMap::new();
        let mut found: Vec<Found> = Vec::new();
        for step in steps {
            let ops = match step {
                Step::Apply { service: number, ip, endpoints, local } => {
                    let text = number.to_string();
                    let mut applied = service(&text, ip);
                    applied.internal_policy =
                        if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
                    let endpoints: Vec<Ep> = endpoints
                        .iter()
                        .map(|last| ep(*last).on(if last % 2 == 0 { "here" } else { "there" }))
                        .collect();
                    let compiled = compiled(&applied, &endpoints);
                    wanted.insert(number, Arc::clone(&compiled));
                    scene.allocator.apply(&name(&text), Some(compiled), scene.now)
                }
                Step::Remove(number) => {
                    wanted.remove(&number);
                    scene.allocator.apply(&name(&number.to_string()), None, scene.now)
                }
                Step::Pass(millis) => {
                    scene.now += Duration::from_millis(millis);
                    scene.allocator.expire(scene.now)
                }
                Step::Restart => {
                    // A start takes longer than the handling of a packet.
                    scene.now += GRACE;
                    found.clear();
                    scene.allocator = Allocator::adopt(scene.maps.read(), capacity, 0, scene.now);
                    let mut ops = Vec::new();
                    for (number, compiled) in &wanted {
                        let name = name(&number.to_string());
                        let compiled = Some(Arc::clone(compiled));
                        ops.extend(scene.allocator.apply(&name, compiled, scene.now));
                    }
                    ops.extend(scene.allocator.end_adoption(scene.now));
                    ops
                }
            };
            found.retain(|(since, ..)| scene.now < *since + GRACE);
            for op in &ops {
                for value in scene.maps.frontends.values() {
                    let set = scene.maps.backends_of(value);
                    prop_assert!(set.is_some(), "a backend is missing");
                    found.extend(set.map(|set| (scene.now, *value, set)));
                }
                scene.maps.apply(op);
                for (_, value, set) in &found {
                    let backends = scene.maps.backends_of(value);
                    prop_assert_eq!(backends, Some(set.clone()), "after {}", op);
                }
            }
            prop_assert!(scene.maps.slots.len() <= slots as usize);
            scene.check();
        }
        // When all grace periods have ended, every Service that fits is in the maps.
        for _ in 0..20 {
            scene.pass(GRACE);
            scene.check();
        }
        for compiled in wanted.values() {
            let name = compiled.precedence.name();
            if scene.allocator.problems().any(|(failed, _)| failed == name) {
                continue;
            }
            for port in &compiled.ports {
                for plan in &port.frontends {
                    let set: Vec<_> =
                        port.set(plan.policy.local_set).map(|spec| (spec.ip, spec.port)).collect();
                    let value = scene.maps.frontends[&plan.key];
                    prop_assert_eq!(scene.maps.backends_of(&value), Some(set));
                }
            }
        }
        // Everything that was acquired is released.
        for compiled in wanted.values() {
            scene.apply(&compiled.precedence.name().name, None);
        }
        for _ in 0..3 {
            scene.pass(GRACE);
        }
        prop_assert_eq!(scene.allocator.free_slots(), (slots, 0));
        prop_assert_eq!(scene.allocator.due(), None);
        prop_assert_eq!(&scene.maps.read(), &Tables::default());
    }
}
