//! Concurrent calls, as on a node that starts all of its pods at once.

use std::collections::BTreeSet;
use std::thread;

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{Added, Cni, CniError, Config, Node, Observe, Pod, ping};

/// Runs `work` for every pod at the same time.
fn at_once<R: Send>(pods: &[Pod], work: impl Fn(&Pod) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = pods.iter().map(|pod| scope.spawn(move || work(pod))).collect();
        threads.into_iter().map(joined).collect()
    })
}

fn joined<R>(thread: thread::ScopedJoinHandle<'_, R>) -> R {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn forty(node: &Node) -> Result<Vec<Pod>> {
    (0..40).map(|i| node.pod(&format!("p{i}"))).collect()
}

#[test]
fn forty_pods_are_added_and_deleted_concurrently() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::dual_stack("10.1.0.0/26", "fd00:1::/64"))?;
    let pods = forty(&node)?;
    let added: Vec<Added> =
        at_once(&pods, |pod| cni.add(pod)).into_iter().collect::<Result<_>>()?;
    let addresses: BTreeSet<_> =
        added.iter().flat_map(|added| added.ips.iter().map(|ip| ip.address)).collect();
    ensure!(addresses.len() == 80, "{} different addresses", addresses.len());
    ensure!(cni.reservations()?.len() == 80 && cni.records()?.len() == 40);
    let bridge = node.link("weir0")?;
    let global = bridge.addresses.iter().filter(|address| address.scope == "global").count();
    ensure!(global == 2, "{bridge:?}");
    for outcome in at_once(&pods, |pod| ping(pod, "10.1.0.1".parse()?)) {
        outcome?;
    }
    for (pod, added) in pods.iter().zip(&added) {
        ensure!(added.bridge()?.mac == bridge.mac, "{}: {}", pod.name(), added.raw);
        cni.check(pod, added)?;
    }
    for outcome in at_once(&pods, |pod| cni.del(pod)) {
        outcome?;
    }
    cni.ensure_nothing_left()
}

#[test]
fn concurrent_adds_and_dels_do_not_interfere() -> Result<()> {
    let node = Node::new()?;
    // 29 addresses for 20 pods at a time, so released addresses must be reused.
    let cni = Cni::new(&node, Config::new("10.1.0.0/27"))?;
    let pods: Vec<Pod> = forty(&node)?.drain(..20).collect();
    let outcomes = at_once(&pods, |pod| -> Result<()> {
        for _ in 0..4 {
            let added = cni.add(pod)?;
            cni.check(pod, &added)?;
            cni.del(pod)?;
        }
        Ok(())
    });
    for outcome in outcomes {
        outcome?;
    }
    cni.ensure_nothing_left()
}

#[test]
fn one_of_several_concurrent_adds_of_a_pod_succeeds_and_the_others_change_nothing() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let pod = node.pod("a")?;
    let outcomes: Vec<Result<Added>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| cni.add(&pod))).collect();
        threads.into_iter().map(joined).collect()
    });
    let (succeeded, failed): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    let succeeded = succeeded.into_iter().collect::<Result<Vec<_>>>()?;
    ensure!(succeeded.len() == 1, "{} succeeded", succeeded.len());
    for outcome in failed {
        let error = outcome.err().context("no error")?.downcast::<CniError>()?;
        ensure!(matches!(error.code, 101 | 11), "{error}");
    }
    let added = succeeded.first().context("no ADD succeeded")?;
    cni.check(&pod, added)?;
    ping(&pod, added.gateway()?)?;
    ensure!(cni.reservations()?.len() == 1 && cni.records()?.len() == 1);
    cni.del(&pod)?;
    cni.ensure_nothing_left()
}

#[test]
fn gc_does_not_disturb_concurrent_adds() -> Result<()> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let pods: Vec<Pod> = forty(&node)?.drain(..10).collect();
    let valid: Vec<&Pod> = pods.iter().collect();
    // The runtime lists the pods that it is about to add, so GC may run concurrently.
    let added: Result<Vec<Added>> = thread::scope(|scope| {
        let collector = scope.spawn(|| (0..10).try_for_each(|_| cni.gc(&valid)));
        let added = at_once(&pods, |pod| cni.add(pod)).into_iter().collect();
        collector.join().unwrap()?;
        added
    });
    for (pod, added) in pods.iter().zip(&added?) {
        cni.check(pod, added)?;
    }
    Ok(())
}
