//! What packets cost in the programs. Not a test of anything: it prints, and is left out unless asked for
//! (see docs/benchmarks.md). The kernel takes the time of each run, so that other load of the machine
//! hardly matters to the tenth percentile.

use anyhow::{Context, Result};
use weir_datapath::common::{Config, V4, V6, protocol};
use weir_datapath::{Capacities, Hook, Program};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::frames::{tcp, udp};
use crate::scene::Scene;

/// Packets of each kind. More flows than this push each other out.
const COUNT: u16 = 4_000;
const ROOM: u32 = 262_144;

/// Lets a pod send frames, and prints what they cost.
fn send(
    scene: &Scene,
    name: &str,
    pod: u8,
    frame: &(dyn Fn(u16) -> Result<Vec<u8>> + Sync),
) -> Result<()> {
    let ifindex = scene.ifindex(&format!("veth{pod}"))?;
    let frames = (0..COUNT).map(frame).collect::<Result<Vec<_>>>()?;
    let mut times = scene.node.run(|| {
        let program = Program::open(&scene.pins, Hook::FromPod)?;
        let took = |frame: &Vec<u8>| Ok(program.try_packet(frame, ifindex)?.took.as_nanos());
        frames.iter().map(took).collect::<Result<Vec<_>>>()
    })?;
    times.sort_unstable();
    let tenth = times.get(times.len() / 10).context("no packet")?;
    let median = times.get(times.len() / 2).context("no packet")?;
    #[expect(clippy::print_stdout, reason = "what it measures is for people")]
    {
        println!("{name:34} 10 %: {tenth:5} ns, median: {median:5} ns");
    }
    Ok(())
}

fn measure<A: Addresses>(family: &str) -> Result<()> {
    let capacities = Capacities::default().with(A::FLOWS_DGRAM, ROOM).with(A::FLOWS_TCP, ROOM);
    let mut scene = Scene::with_capacities(3, &capacities)?;
    scene.set(Config { flags: Config::FAST_PATH, udp_idle: 120, ..Config::default() })?;
    scene.service((A::service(10), 80, protocol::TCP), &[(A::pod(1), 80)])?;
    scene.service((A::service(10), 53, protocol::UDP), &[(A::pod(1), 53)])?;
    let (vip, backend, other) = ((A::service(10), 80), (A::pod(1), 80), (A::pod(2), 80));
    let client = |number: u16| (A::pod(0), 10_000 + number);
    let go = |name: &str, pod, frame: &(dyn Fn(u16) -> Result<Vec<u8>> + Sync)| {
        send(&scene, &format!("{family}, {name}"), pod, frame)
    };
    go("SYN to a Service", 0, &|n| tcp(client(n), vip, (7, "S")))?;
    go("its reply", 1, &|n| tcp(backend, client(n), (1, "SA")))?;
    go("the client's first segment", 0, &|n| tcp(client(n), vip, (8, "A")))?;
    go("a segment to a Service", 0, &|_| tcp(client(0), vip, (8, "A")))?;
    go("a segment of its backend", 1, &|_| tcp(backend, client(0), (1, "A")))?;
    go("FIN of the client", 0, &|n| tcp(client(n), vip, (8, "FA")))?;
    go("FIN of the backend", 1, &|n| tcp(backend, client(n), (1, "FA")))?;
    go("SYN by the same ports", 0, &|n| tcp(client(n), vip, (9, "S")))?;
    go("a segment to a pod", 0, &|n| tcp(client(n), other, (8, "A")))?;
    go("SYN to a pod", 0, &|n| tcp(client(n), other, (8, "S")))?;
    let (vip, backend, other) = ((A::service(10), 53), (A::pod(1), 53), (A::pod(2), 53));
    go("first datagram to a Service", 0, &|n| udp(client(n), vip))?;
    go("its reply", 1, &|n| udp(backend, client(n)))?;
    go("a datagram to a pod", 0, &|n| udp(client(n), other))
}

#[test]
#[ignore = "it measures"]
fn packets_in_the_programs() -> Result<()> {
    measure::<V4>("IPv4")?;
    measure::<V6>("IPv6")
}
