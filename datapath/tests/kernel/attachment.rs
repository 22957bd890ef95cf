//! Programs come and go without others noticing.

use std::fs;

use anyhow::{Context, Result, ensure};
use weir_datapath::common::{V4, map};
use weir_datapath::maps::Family;
use weir_datapath::{Capacities, Error, Hook, Program, attach, detach, list, load};
use weir_tests::lab::Stack;

use crate::scene::Scene;

#[test]
fn a_second_attach_does_nothing_and_a_new_program_replaces_the_old() -> Result<()> {
    let scene = Scene::with_pods(1)?;
    let ifindex = scene.ifindex("veth0")?;
    scene.node.run(|| {
        let old = Program::open(&scene.pins, Hook::FromPod)?;
        assert!(!attach(ifindex, &old)?, "it is there already");
        load(&scene.pins, &Capacities::default())?;
        let new = Program::open(&scene.pins, Hook::FromPod)?;
        assert_ne!(old.id(), new.id());
        assert!(attach(ifindex, &new)?);
        assert_eq!(list(ifindex, Hook::FromPod)?.map(|found| found.program), Some(new.id()));
        let filters = scene.node.sh("tc filter show dev veth0 ingress")?;
        assert_eq!(filters.matches("weir/from_pod").count(), 1, "{filters}");
        Ok(())
    })
}

#[test]
fn a_foreign_filter_is_left_alone() -> Result<()> {
    let scene = Scene::with_pods(1)?;
    let ifindex = scene.ifindex("veth0")?;
    scene.node.run(|| {
        detach(ifindex, Hook::FromPod)?;
        assert_eq!(list(ifindex, Hook::FromPod)?, None);
        let pinned = scene.pins.program("to_pod");
        scene.node.sh(&format!(
            "tc filter add dev veth0 ingress pref 22373 handle 0x77656972 bpf da pinned {}",
            pinned.display()
        ))?;
        let program = Program::open(&scene.pins, Hook::FromPod)?;
        let error = attach(ifindex, &program).expect_err("it is taken");
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
        assert!(!detach(ifindex, Hook::FromPod)?, "it is not ours");
        Ok(())
    })
}

#[test]
fn a_device_that_is_not_there_is_not_found() -> Result<()> {
    let scene = Scene::with_pods(0)?;
    scene.node.run(|| {
        let program = Program::open(&scene.pins, Hook::FromPod)?;
        let error = attach(4711, &program).expect_err("there is no such device");
        assert!(error.is_not_found(), "{error:?}");
        Ok(())
    })
}

#[test]
fn what_is_no_program_for_devices_is_refused_in_its_place() -> Result<()> {
    let scene = Scene::with_pods(0)?;
    let place = scene.pins.program("from_pod");
    let others =
        [V4::ENDPOINTS, V4::FLOWS_TCP, V4::ROUTES, map::SLOTS].map(|map| scene.pins.map(map));
    scene.node.run(|| {
        for other in others.into_iter().chain([scene.pins.program("connect4")]) {
            fs::rename(&other, &place).with_context(|| format!("move {}", other.display()))?;
            let error = Program::open(&scene.pins, Hook::FromPod).err().context("it is opened")?;
            let text = format!("{:#}", anyhow::Error::from(error));
            ensure!(
                text.contains("not a program for network devices"),
                "{}: {text}",
                other.display()
            );
        }
        Ok(())
    })
}
