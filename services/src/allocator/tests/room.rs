use super::*;

#[test]
fn a_service_that_lacks_slots_gets_them_when_others_are_freed() {
    let mut scene = Scene::new(Capacity { slots: 10, ..ROOMY });
    scene.apply("a", Some(sized("a", 1, 6)));
    scene.apply("b", Some(sized("b", 2, 5)));
    scene.apply("c", Some(sized("c", 3, 4)));
    assert_eq!(scene.problems(), ["ns/b: no room for 5 slots: 4 of 10 are free"]);
    assert_eq!(
        (scene.set(1).unwrap().len(), scene.set(2), scene.set(3).unwrap().len()),
        (6, None, 4)
    );
    scene.apply("a", None);
    assert_eq!(scene.set(2), None, "the slots are in quarantine");
    scene.pass(GRACE);
    assert_eq!(scene.set(2).unwrap().len(), 5);
    assert_eq!(scene.problems(), [""; 0]);
    scene.check();
}

#[test]
fn a_service_that_cannot_grow_keeps_its_backends() {
    let mut scene = Scene::new(Capacity { backends: 3, ..ROOMY });
    scene.apply("a", Some(sized("a", 1, 2)));
    scene.apply("a", Some(sized("a", 1, 5)));
    assert_eq!(scene.problems(), ["ns/a: no room for 3 backends: 2 of 3 are in use"]);
    assert_eq!(scene.set(1), Some(vec![0, 1]));
    scene.check();
    scene.apply("a", Some(sized("a", 1, 3)));
    assert_eq!((scene.set(1).unwrap().len(), scene.problems().len()), (3, 0));
}

#[test]
fn a_service_that_lacks_frontends_is_reported_by_name() {
    let mut scene = Scene::new(Capacity { frontends: 3, ..ROOMY });
    scene.apply("a", Some(sized("a", 1, 1)));
    scene.apply("b", Some(sized("b", 2, 1)));
    assert_eq!(scene.problems(), ["ns/b: no room for 2 frontends: 2 of 3 are in use"]);
    scene.apply("b", None);
    assert_eq!(scene.problems(), [""; 0]);
    scene.check();
}

#[test]
fn freed_frontends_are_used_at_once() {
    let mut scene = Scene::new(Capacity { frontends: 3, ..ROOMY });
    scene.apply("a", Some(sized("a", 1, 0)));
    scene.apply("b", Some(sized("b", 2, 1)));
    assert_eq!((scene.problems().len(), scene.allocator.due()), (1, None));
    scene.apply("a", None);
    assert_eq!(scene.allocator.due(), Some(scene.now));
    scene.pass(Duration::ZERO);
    assert_eq!((scene.problems().len(), scene.allocator.due()), (0, None));
    assert_eq!(scene.set(2), Some(vec![0]));
    scene.check();
}

#[test]
fn fragmented_free_slots_are_joined() {
    let mut scene = Scene::new(Capacity { slots: 12, ..ROOMY });
    for number in 1..=6 {
        scene.apply(&number.to_string(), Some(sized(&number.to_string(), number, 2)));
    }
    for number in [1, 3, 5] {
        scene.apply(&number.to_string(), None);
    }
    scene.pass(GRACE);
    assert_eq!(scene.allocator.free_slots(), (6, 0));
    scene.apply("big", Some(sized("big", 9, 4)));
    assert_eq!(scene.set(9), None, "no free range is large enough");
    scene.pass(GRACE);
    assert_eq!(scene.set(9).unwrap().len(), 4);
    for number in [2, 4, 6] {
        assert_eq!(scene.set(number).unwrap().len(), 2);
    }
    assert_eq!(scene.problems(), [""; 0]);
    scene.check();
}
