use super::*;

#[test]
fn no_room_for_slots_concerns_one_service_and_ends_when_there_is_some() {
    let mut scene = Scene::new(Capacity { slots: 10, ..ROOMY });
    scene.place("a", Some(sized("a", 1, 6)));
    scene.place("b", Some(sized("b", 2, 5)));
    scene.place("c", Some(sized("c", 3, 4)));
    assert_eq!(scene.problems(), ["ns/b: no room for 5 slots: 4 of 10 are free"]);
    assert_eq!(
        (scene.set(1).unwrap().len(), scene.set(2), scene.set(3).unwrap().len()),
        (6, None, 4)
    );
    scene.place("a", None);
    assert_eq!(scene.set(2), None, "the slots rest");
    scene.pass(GRACE);
    assert_eq!(scene.set(2).unwrap().len(), 5);
    assert_eq!(scene.problems(), [""; 0]);
    scene.check();
}

#[test]
fn a_service_that_cannot_grow_keeps_what_it_has() {
    let mut scene = Scene::new(Capacity { backends: 3, ..ROOMY });
    scene.place("a", Some(sized("a", 1, 2)));
    scene.place("a", Some(sized("a", 1, 5)));
    assert_eq!(scene.problems(), ["ns/a: no room for 3 backends: 2 of 3 are in use"]);
    assert_eq!(scene.set(1), Some(vec![0, 1]));
    scene.check();
    scene.place("a", Some(sized("a", 1, 3)));
    assert_eq!((scene.set(1).unwrap().len(), scene.problems().len()), (3, 0));
}

#[test]
fn no_room_for_frontends_is_told_with_the_service() {
    let mut scene = Scene::new(Capacity { frontends: 3, ..ROOMY });
    scene.place("a", Some(sized("a", 1, 1)));
    scene.place("b", Some(sized("b", 2, 1)));
    assert_eq!(scene.problems(), ["ns/b: no room for 2 frontends: 2 of 3 are in use"]);
    scene.place("b", None);
    assert_eq!(scene.problems(), [""; 0]);
    scene.check();
}

#[test]
fn room_for_frontends_is_used_as_soon_as_there_is_some() {
    let mut scene = Scene::new(Capacity { frontends: 3, ..ROOMY });
    scene.place("a", Some(sized("a", 1, 0)));
    scene.place("b", Some(sized("b", 2, 1)));
    assert_eq!((scene.problems().len(), scene.ledger.due()), (1, None));
    scene.place("a", None);
    assert_eq!(scene.ledger.due(), Some(scene.now));
    scene.pass(Duration::ZERO);
    assert_eq!((scene.problems().len(), scene.ledger.due()), (0, None));
    assert_eq!(scene.set(2), Some(vec![0]));
    scene.check();
}

#[test]
fn free_slots_in_pieces_are_brought_together() {
    let mut scene = Scene::new(Capacity { slots: 12, ..ROOMY });
    for number in 1..=6 {
        scene.place(&number.to_string(), Some(sized(&number.to_string(), number, 2)));
    }
    for number in [1, 3, 5] {
        scene.place(&number.to_string(), None);
    }
    scene.pass(GRACE);
    assert_eq!(scene.ledger.free_slots(), (6, 0));
    scene.place("big", Some(sized("big", 9, 4)));
    assert_eq!(scene.set(9), None, "no hole is large enough");
    scene.pass(GRACE);
    assert_eq!(scene.set(9).unwrap().len(), 4);
    for number in [2, 4, 6] {
        assert_eq!(scene.set(number).unwrap().len(), 2);
    }
    assert_eq!(scene.problems(), [""; 0]);
    scene.check();
}
