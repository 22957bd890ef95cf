use proptest::prelude::*;

use super::*;

/// A value that a packet has found, when, and where it leads.
type Found = (Instant, FrontendValue, Vec<(IpAddr, u16)>);

/// A step of the property tests.
#[derive(Debug, Clone)]
enum Step {
    Place { service: u8, ip: u8, endpoints: Vec<u8>, local: bool },
    Remove(u8),
    Pass(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let endpoints = proptest::collection::btree_set(1u8..8, 0..6);
    let place = (0u8..5, 0u8..6, endpoints, any::<bool>()).prop_map(|(service, ip, set, local)| {
        // Mostly each has its own address.
        let ip = if ip == 5 { 0 } else { service };
        Step::Place { service, ip, endpoints: set.into_iter().collect(), local }
    });
    prop_oneof![
        6 => place,
        2 => (0u8..5).prop_map(Step::Remove),
        3 => (0u64..1500).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_happens_a_packet_sees_one_whole_set_and_the_maps_are_as_the_ledger_says(
        steps in proptest::collection::vec(step(), 1..60), slots in 6u32..24,
    ) {
        let capacity = Capacity { slots, frontends: 9, backends: 18 };
        let mut scene = Scene::new(capacity);
        let mut wanted: BTreeMap<u8, Arc<Compiled>> = BTreeMap::new();
        let mut found: Vec<Found> = Vec::new();
        for step in steps {
            let ops = match step {
                Step::Place { service: number, ip, endpoints, local } => {
                    let text = number.to_string();
                    let mut placed = service(&text, ip);
                    placed.internal_policy =
                        if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
                    let endpoints: Vec<Ep> = endpoints
                        .iter()
                        .map(|last| ep(*last).on(if last % 2 == 0 { "here" } else { "there" }))
                        .collect();
                    let compiled = compiled(&placed, &endpoints);
                    wanted.insert(number, Arc::clone(&compiled));
                    scene.ledger.place(&name(&text), Some(compiled), scene.now)
                }
                Step::Remove(number) => {
                    wanted.remove(&number);
                    scene.ledger.place(&name(&number.to_string()), None, scene.now)
                }
                Step::Pass(millis) => {
                    scene.now += Duration::from_millis(millis);
                    scene.ledger.settle(scene.now)
                }
                Step::Restart => {
                    // Starting takes longer than a packet.
                    scene.now += GRACE;
                    found.clear();
                    scene.ledger = Ledger::adopt(scene.maps.read(), capacity, 0, scene.now);
                    let mut ops = Vec::new();
                    for (number, compiled) in &wanted {
                        let name = name(&number.to_string());
                        ops.extend(scene.ledger.place(&name, Some(Arc::clone(compiled)), scene.now));
                    }
                    ops.extend(scene.ledger.end_adoption(scene.now));
                    ops
                }
            };
            found.retain(|(since, ..)| scene.now < *since + GRACE);
            for op in &ops {
                for value in scene.maps.frontends.values() {
                    let set = scene.maps.led_to(value);
                    prop_assert!(set.is_some(), "a backend is missing");
                    found.extend(set.map(|set| (scene.now, *value, set)));
                }
                scene.maps.apply(op);
                for (_, value, set) in &found {
                    prop_assert_eq!(scene.maps.led_to(value), Some(set.clone()), "after {}", op);
                }
            }
            prop_assert!(scene.maps.slots.len() <= slots as usize);
            scene.check();
        }
        // With all time and nothing else to come, whoever fits is served.
        for _ in 0..20 {
            scene.pass(GRACE);
            scene.check();
        }
        for compiled in wanted.values() {
            let name = compiled.rank.name();
            if scene.ledger.problems().any(|(troubled, _)| troubled == name) {
                continue;
            }
            for port in &compiled.ports {
                for plan in &port.frontends {
                    let set: Vec<_> =
                        port.set(plan.local_set).map(|one| (one.ip, one.port)).collect();
                    let value = scene.maps.frontends[&plan.key];
                    prop_assert_eq!(scene.maps.led_to(&value), Some(set));
                }
            }
        }
        // Nothing is lost of what was taken.
        for compiled in wanted.values() {
            scene.place(&compiled.rank.name().name, None);
        }
        for _ in 0..3 {
            scene.pass(GRACE);
        }
        prop_assert_eq!(scene.ledger.free_slots(), (slots, 0));
        prop_assert_eq!(scene.ledger.due(), None);
        prop_assert_eq!(&scene.maps.read(), &Tables::default());
    }
}
