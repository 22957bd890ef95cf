//! Services work without an agent, and agents repair programs and filters.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use weir_tests::lab::{Cluster, Connection, Families, Stack, ask_tcp, until};

use super::{Backend, any, reaches, served, web, with};

/// Sends requests over one connection, over new connections and by datagrams of one socket while
/// `disturb` runs, and checks that each gets a reply.
pub(super) fn no_request_is_lost(
    client: &impl Stack,
    target: SocketAddr,
    disturb: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let stop = AtomicBool::new(false);
    let mut connection = Connection::start(client, target)?;
    let socket = client.run(|| {
        let socket = UdpSocket::bind(any(target)).context("bind")?;
        socket.connect(target).context("connect")?;
        Ok(socket)
    })?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let again = |ask: &mut dyn FnMut() -> Result<()>| -> Result<u32> {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            ask().with_context(|| format!("after {count} replies"))?;
            count += 1;
        }
        Ok(count)
    };
    let again = &again;
    thread::scope(|scope| {
        let one = scope.spawn(move || again(&mut || connection.ask().map(drop)));
        let new = scope.spawn(move || again(&mut || ask_tcp(client, target).map(drop)));
        let datagrams = scope.spawn(move || {
            again(&mut || {
                socket.send(b"?")?;
                socket.recv(&mut [0; 64]).map(drop).context("a datagram")
            })
        });
        let disturbed = disturb();
        stop.store(true, Ordering::Relaxed);
        for (what, thread) in
            [("one connection", one), ("new connections", new), ("datagrams", datagrams)]
        {
            let count = thread.join().map_err(|_| anyhow::anyhow!("{what}: panicked"))?;
            ensure!(count.context(what)? > 0, "{what}: no request was sent");
        }
        disturbed
    })
}

#[test]
fn no_request_is_lost_when_agents_are_killed_and_restarted() -> Result<()> {
    for fast in [true, false] {
        let builder = Cluster::new(2).flag(&format!("--fast-path={fast}"));
        builder.services().test(|cluster| {
            let (near, far) = (cluster.node(1)?, cluster.node(2)?);
            let client = near.pod("client")?;
            let backends = [Backend::on(near, "near")?, Backend::on(far, "far")?];
            let service = with(web(Families::V4), &[&backends[0], &backends[1]]);
            cluster.manifests()?.put_service(&service)?;
            let target = service.frontends()[0];
            reaches(&client, target, "far")?;
            no_request_is_lost(&client, target, || {
                for signal in [Signal::KILL, Signal::TERM] {
                    for node in cluster.nodes() {
                        node.end_agent(signal)?;
                        node.start_agent()?;
                        until("the new agent is ready", || node.ready())?;
                    }
                }
                Ok(())
            })
        })?;
    }
    Ok(())
}

#[test]
fn a_removed_program_is_attached_again() -> Result<()> {
    Cluster::new(1).services().without_timer().test(|cluster| {
        let node = cluster.node(1)?;
        let (client, target, _backend) = served(cluster)?;
        let port = client.added().interfaces[1].name.clone();
        let changes =
            [format!("filter del dev {port} ingress"), format!("qdisc del dev {port} clsact")];
        for line in changes {
            node.sh(&format!("tc {line}"))?;
            reaches(&client, target, "backend").context(line)?;
        }
        Ok(())
    })
}

#[test]
fn pins_that_somebody_removes_come_back_and_new_pods_get_programs() -> Result<()> {
    Cluster::new(1).services().flag("--resync-seconds=1").test(|cluster| {
        let node = cluster.node(1)?;
        let (client, target, _backend) = served(cluster)?;
        let mut connection = Connection::start(&client, target)?;
        let pins = node.pin_dir();
        let hide = || node.sh(&format!("mount -t bpf bpf {}", pins.parent()?.display())).ok();
        // The agent may make the first ones again while the last ones are removed.
        let remove = || node.run(|| Ok(fs::remove_dir_all(&pins))).ok()?.ok();
        let changes: [(&str, &dyn Fn() -> Option<()>); 2] =
            [("removed", &remove), ("hidden", &|| hide().map(drop))];
        for (name, change) in changes {
            change();
            // It may come between the change and the agent's next pass, and gets its programs then.
            let late = node.pod(name)?;
            reaches(&late, target, "backend").context(name)?;
            until("the pins are back", || node.program_pin("from_pod").map(drop))?;
            until("the node is ready", || node.ready())?;
            connection.ask().context(name)?;
        }
        let metrics = node.get("/metrics")?;
        let kind = "weir_operations_total{kind=\"pin_restore\"}";
        ensure!(metrics.body.contains(kind), "{}", metrics.body);
        // The maps are those of before: it would forget a flow that it has written to others.
        node.kill_agent()?;
        node.start_agent()?;
        until("the new agent is ready", || node.ready())?;
        connection.ask().map(drop)
    })
}

#[test]
fn services_work_while_the_cluster_cannot_be_read() -> Result<()> {
    Cluster::new(1).services().test(|cluster| {
        let node = cluster.node(1)?;
        let (client, target, _backend) = served(cluster)?;

        node.kill_agent()?;
        let dir = cluster.manifests()?.dir();
        let away = dir.with_extension("away");
        fs::rename(dir, &away)?;
        node.start_agent()?;
        until("the agent is not ready", || {
            let response = node.get("/readyz")?;
            ensure!(response.ok().is_err(), "it is ready");
            Ok(())
        })?;
        ask_tcp(&client, target)?;
        ask_tcp(&node.pod("new")?, target).context("a new pod")?;
        fs::rename(&away, dir)?;
        until("the agent is ready", || node.ready())?;
        ask_tcp(&client, target).map(drop)
    })
}

#[test]
fn an_agent_without_services_removes_programs_and_pins() -> Result<()> {
    Cluster::new(1).test(|cluster| {
        let node = cluster.node(1)?;
        node.end_agent(Signal::TERM)?;
        node.start_agent_with(&["--services=true"])?;
        until("programs are pinned", || {
            node.program_pin("from_pod")?;
            node.ready()
        })?;
        let (client, target, backend) = served(cluster)?;

        node.end_agent(Signal::TERM)?;
        node.start_agent()?;
        until("nothing is pinned", || {
            ensure!(node.program_pin("from_pod").is_err(), "not yet");
            node.ready()
        })?;
        ensure!(ask_tcp(&client, target).is_err(), "the Service is still reachable");
        let port = client.added().interfaces[1].name.clone();
        let filters = node.sh(&format!("tc filter show dev {port} ingress"))?;
        ensure!(!filters.contains("weir"), "{filters}");
        reaches(&client, SocketAddr::new(backend.pod.address()?, super::TARGET_PORT), "backend")
    })
}

#[test]
fn if_programs_cannot_be_pinned_the_overlay_works_and_the_agent_reports_why() -> Result<()> {
    Cluster::new(2).test(|cluster| {
        let node = cluster.node(1)?;
        node.end_agent(Signal::TERM)?;
        node.sh(&format!("umount {}", node.machine().dir().join("bpf").display()))?;
        node.start_agent_with(&["--services=true"])?;
        until("the agent reports why", || {
            let body = node.get("/readyz")?.body;
            ensure!(body.contains("waiting programs-attached"), "{body}");
            ensure!(body.contains("BPF file system"), "{body}");
            Ok(())
        })?;
        crate::fixture::new_pods_talk(cluster, "pod")
    })
}

#[test]
fn a_foreign_filter_on_one_pod_does_not_affect_services_of_other_pods() -> Result<()> {
    Cluster::new(1).services().flag("--resync-seconds=1").test(|cluster| {
        let node = cluster.node(1)?;
        let pods = [node.pod("a")?, node.pod("b")?, node.pod("c")?];
        let backend = Backend::on(node, "backend")?;
        let service = with(web(Families::V4), &[&backend]);
        cluster.manifests()?.put_service(&service)?;
        let target = service.frontends()[0];
        for pod in &pods {
            reaches(pod, target, "backend")?;
        }
        node.kill_agent()?;
        let ports: Vec<&str> =
            pods.iter().map(|pod| Ok(pod.added().host()?.name.as_str())).collect::<Result<_>>()?;
        for port in &ports {
            node.sh(&format!("tc filter del dev {port} ingress"))?;
        }
        // With the priority and the handle of Weir's filter, but with another name.
        let program = node.program_pin("to_pod")?;
        node.sh(&format!(
            "tc filter add dev {} ingress pref 22373 handle 0x77656972 bpf da pinned {}",
            ports[1],
            program.display()
        ))?;
        node.start_agent()?;
        for pod in [&pods[0], &pods[2]] {
            reaches(pod, target, "backend")?;
        }
        ensure!(ask_tcp(&pods[1], target).is_err(), "the foreign filter was removed");
        let body = node.get("/readyz")?.body;
        ensure!(body.contains("waiting programs-attached"), "{body}");
        node.sh(&format!("tc filter del dev {} ingress", ports[1]))?;
        reaches(&pods[1], target, "backend")?;
        until("the agent is ready", || node.ready())
    })
}
