//! What programs write about packets.

use std::io::{self, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use tracing_subscriber::fmt::MakeWriter;
use weir_datapath::common::{Service, V4, V6, protocol};
use weir_datapath::{Capacities, Hook, LogLevel, Logs, Program, attach, load_with_logs};
use weir_tests::lab::{Stack, until};

use crate::family::Addresses;
use crate::scene::Scene;

/// Text that is kept.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn bytes(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Kept {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Puts programs in place that write up to a level.
fn loaded(scene: &Scene, level: LogLevel) -> Result<Option<Logs>> {
    let (_, logs) =
        scene.node.run(|| Ok(load_with_logs(&scene.pins, &Capacities::default(), level)?))?;
    let ifindex = scene.ifindex("veth0")?;
    scene.node.run(|| {
        for hook in Hook::POD {
            attach(ifindex, &Program::open(&scene.pins, hook)?)?;
        }
        Ok(())
    })?;
    Ok(logs)
}

/// Sends datagrams to a Service with a backend, one without, and one that drops.
fn send<A: Addresses>(scene: &mut Scene) -> Result<()> {
    scene.service((A::service(10), 53, protocol::UDP), &[(A::pod(1), 5353)])?;
    scene.service::<A>((A::service(11), 53, protocol::UDP), &[])?;
    let drops = Service { flags: Service::DROP_IF_EMPTY, ..Service::default() };
    scene.service_with::<A>((A::service(12), 53, protocol::UDP), &[], drops)?;
    scene.pods[0].run(|| {
        for number in [10, 11, 12] {
            let any: std::net::IpAddr =
                if A::BITS == 32 { [0, 0, 0, 0].into() } else { [0_u8; 16].into() };
            let socket = UdpSocket::bind((any, 0))?;
            socket.send_to(&[1], SocketAddr::new(A::service(number).into(), 53))?;
        }
        Ok(())
    })
}

#[test]
fn programs_write_about_packets_up_to_the_level_that_was_asked_for() -> Result<()> {
    let lines = ["dropped a packet", "refused a packet", "opened a flow"];
    let levels = [LogLevel::Dropped, LogLevel::Refused, LogLevel::Opened];
    for (count, level) in (1..).zip(levels) {
        let mut scene = Scene::with_pods(2)?;
        let mut logs = loaded(&scene, level)?.context("they cannot write")?;
        send::<V4>(&mut scene)?;
        send::<V6>(&mut scene)?;
        let kept = Kept::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(kept.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            until("all lines are there", || {
                logs.hand_on();
                let text = String::from_utf8_lossy(&kept.bytes()).into_owned();
                for (number, line) in lines.iter().enumerate() {
                    let times = text.matches(line).count();
                    let wanted = if number < count { 2 } else { 0 };
                    ensure!(times == wanted, "{line:?} {times} times at {level:?}:\n{text}");
                }
                for part in [
                    "dropped_local_policy",
                    "to 10.96.0.12 port 53 protocol 17",
                    "to fd00:96::c port 53",
                ] {
                    ensure!(text.contains(part), "nothing of {part:?}:\n{text}");
                }
                Ok(())
            })
        })?;
    }
    Ok(())
}

#[test]
fn programs_write_nothing_that_nobody_has_asked_for() -> Result<()> {
    let scene = Scene::with_pods(1)?;
    ensure!(loaded(&scene, LogLevel::Off)?.is_none());
    Ok(())
}
