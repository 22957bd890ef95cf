//! After a `kill -9` of ADD or DEL at any time, the next DEL or GC leaves nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{Cni, Config, Node, Observe, Pod, Stack, ping};

const TRIES: u32 = 150;

struct Fixture {
    node: Node,
    cni: Cni,
}

fn setup() -> Result<Fixture> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::dual_stack("10.1.0.0/28", "fd00:1::/64"))?;
    Ok(Fixture { node, cni })
}

/// The times at which calls are killed, spread over the duration of a call.
struct KillTimes {
    /// The duration of a call. It is corrected with each try, because the first call takes several times
    /// as long as the others.
    duration: Duration,
    number: u32,
    killed: u32,
}

impl KillTimes {
    /// The number of tries from the beginning of a call to its end.
    const SWEEP: u32 = 30;

    fn new(mut call: impl FnMut() -> Result<()>) -> Result<Self> {
        let start = Instant::now();
        call()?;
        Ok(Self { duration: start.elapsed(), number: 0, killed: 0 })
    }

    fn next(&mut self) -> Duration {
        self.number += 1;
        self.duration * (self.number % Self::SWEEP) / Self::SWEEP
    }

    fn learn(&mut self, was_killed: bool) {
        self.killed += u32::from(was_killed);
        // Converges when two of three calls are killed and the others just end.
        self.duration = self.duration.mul_f64(if was_killed { 1.05 } else { 0.9 });
    }

    fn check(&self) -> Result<()> {
        let Self { killed, number, .. } = self;
        ensure!(*killed > number / 4, "only {killed} of {number} were killed before their end");
        Ok(())
    }
}

/// Cleans up as a runtime does after a failure: by DEL, or later by GC.
fn clean_up(cni: &Cni, pod: &Pod, number: u32) -> Result<()> {
    if !number.is_multiple_of(3) {
        return cni.del(pod);
    }
    // GC keeps the state of a recent ADD, which could be in progress, so make it look old.
    for name in cni.records()? {
        if name.ends_with(".pending") {
            let file = cni.records_dir()?.join(name);
            cni.node().sh(&format!("touch -d 2001-01-01 {}", file.display()))?;
        }
    }
    cni.gc(&[])
}

#[test]
fn a_killed_add_leaves_nothing_after_del_or_gc() -> Result<()> {
    let Fixture { node, cni } = setup()?;
    let pod = node.pod("a")?;
    let mut kill_times = KillTimes::new(|| cni.add(&pod).map(drop))?;
    cni.del(&pod)?;
    for number in 0..TRIES {
        if number.is_multiple_of(5) && node.find_link("weir0")?.is_some() {
            // So that the creation of the bridge is interrupted as well.
            node.sh("ip link del weir0")?;
        }
        let (at, duration) = (kill_times.next(), kill_times.duration);
        kill_times.learn(cni.call("ADD").pod(&pod).tool()?.kill_after(at)?);
        let described = || format!("ADD number {number}, killed after {at:?} of {duration:?}");
        clean_up(&cni, &pod, number).with_context(described)?;
        cni.ensure_nothing_left().with_context(described)?;
        ensure!(pod.links()?.len() == 1, "{}: the pod kept {:?}", described(), pod.links()?);
    }
    kill_times.check()?;
    let added = cni.add(&pod).context("ADD after all tries")?;
    ensure!(added.ips.len() == 2);
    Ok(())
}

#[test]
fn a_killed_del_leaves_nothing_after_the_next_del() -> Result<()> {
    let Fixture { node, cni } = setup()?;
    let pod = node.pod("a")?;
    cni.add(&pod)?;
    let mut kill_times = KillTimes::new(|| cni.del(&pod))?;
    for number in 0..TRIES {
        let (at, duration) = (kill_times.next(), kill_times.duration);
        let described = || format!("DEL number {number}, killed after {at:?} of {duration:?}");
        cni.add(&pod).with_context(described)?;
        kill_times.learn(cni.call("DEL").pod(&pod).tool()?.kill_after(at)?);
        clean_up(&cni, &pod, number).with_context(described)?;
        cni.ensure_nothing_left().with_context(described)?;
    }
    kill_times.check()?;
    Ok(())
}

#[test]
fn a_killed_add_does_not_block_other_pods() -> Result<()> {
    let Fixture { node, cni } = setup()?;
    let (dying, living) = (node.pod("dying")?, node.pod("living")?);
    let mut kill_times = KillTimes::new(|| cni.add(&living).map(drop))?;
    cni.del(&living)?;
    for _ in 0..TRIES / 5 {
        let at = kill_times.next();
        kill_times.learn(cni.call("ADD").pod(&dying).tool()?.kill_after(at)?);
        // No clean-up in between: the killed call must hold no lock, and its address must not be shared.
        let added = cni.add(&living)?;
        let address = added.address()?;
        let owner = cni.reservations()?.remove(&address).context("no reservation")?;
        ensure!(owner.starts_with(&living.container_id()), "{address} belongs to {owner:?}");
        ping(&node, address)?;
        cni.del(&living)?;
        cni.del(&dying)?;
        cni.ensure_nothing_left()?;
    }
    Ok(())
}
