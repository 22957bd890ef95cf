//! How long flows live: as long as both sides may need them, and no longer.

use anyhow::{Context, Result, ensure};
use aya::maps::MapData;
use rustix::time::{ClockId, clock_gettime};
use weir_datapath::common::{Config, Flow, FlowKey, Port, Reason, V4, V6, map, protocol, timeout};
use weir_datapath::maps::{Family, Table};
use weir_datapath::sweep::{Swept, sweep};
use weir_datapath::{Capacities, Hook, load};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::frames::{Step, all, at, destination, dropped, from_pod, on_cpu, passes, tcp, udp};
use crate::scene::Scene;

const STREAM: u32 = timeout::STREAM;
/// Entries of the table; a flow has two.
const ROOM: u32 = 1024;

fn now() -> Result<u32> {
    Ok(u32::try_from(clock_gettime(ClockId::Monotonic).tv_sec)?)
}

/// A node with a client and two backends, of which Services have the first.
fn scene<A: Addresses>(flags: u32) -> Result<Scene> {
    scene_with::<A>(flags, ROOM)
}

/// The same with a table of so many entries. Each CPU has its own part of the rings, so all is on one.
pub(crate) fn scene_with<A: Addresses>(flags: u32, room: u32) -> Result<Scene> {
    on_cpu(0)?;
    let capacities = Capacities::default().with(A::FLOWS_DGRAM, room).with(A::FLOWS_TCP, room);
    let mut scene = Scene::with_capacities(3, &capacities)?;
    scene.set(Config { flags, udp_idle: STREAM, ..Config::default() })?;
    serve::<A>(&mut scene, 1)?;
    Ok(scene)
}

/// Makes a pod the backend of both Services.
fn serve<A: Addresses>(scene: &mut Scene, pod: u8) -> Result<()> {
    scene.service((A::service(10), 80, protocol::TCP), &[(A::pod(pod), 80)])?;
    scene.service((A::service(10), 53, protocol::UDP), &[(A::pod(pod), 53)])?;
    Ok(())
}

fn flows<A: Addresses>(scene: &Scene, is_tcp: bool) -> Result<Table<FlowKey<A>, Flow<A>>> {
    scene.table(if is_tcp { A::FLOWS_TCP } else { A::FLOWS_DGRAM })
}

pub(crate) fn forward<A: Addresses>(
    scene: &Scene,
    is_tcp: bool,
    port: u16,
) -> Result<Option<Flow<A>>> {
    let (target, number) = if is_tcp { (80, protocol::TCP) } else { (53, protocol::UDP) };
    let key = FlowKey {
        source: A::pod(0),
        destination: A::service(10),
        source_port: Port::new(port),
        destination_port: Port::new(target),
        protocol: number,
        reserved: [0; 3],
    };
    Ok(flows(scene, is_tcp)?.get(&key)?)
}

/// A segment of the client, and the pod that it goes to.
fn client<A: Addresses>(scene: &Scene, port: u16, what: (u32, &str)) -> Result<u8> {
    let frame = tcp((A::pod(0), port), (A::service(10), 80), what)?;
    goes_to::<A>(scene, &frame)
}

fn goes_to<A: Addresses>(scene: &Scene, frame: &[u8]) -> Result<u8> {
    let trial = from_pod(scene, 0, frame)?;
    ensure!(passes(&trial), "{trial:?}");
    let found = destination(&trial.packet)?;
    (0..3).find(|pod| A::pod(*pod).into() == found).with_context(|| format!("to {found}"))
}

/// A segment of a backend.
fn backend<A: Addresses>(scene: &Scene, (pod, port): (u8, u16), what: &str) -> Result<()> {
    let frame = tcp((A::pod(pod), 80), (A::pod(0), port), (1, what))?;
    // By the stack it is translated where it reaches the client.
    for (hook, device) in [(Hook::FromPod, format!("veth{pod}")), (Hook::ToPod, "veth0".to_owned())]
    {
        at(scene, hook, &device, &frame)?;
    }
    Ok(())
}

pub(crate) fn establish<A: Addresses>(scene: &Scene, port: u16, pod: u8) -> Result<()> {
    ensure!(client::<A>(scene, port, (7, "S"))? == pod);
    backend::<A>(scene, (pod, port), "SA")?;
    ensure!(client::<A>(scene, port, (8, "A"))? == pod);
    let flow = forward::<A>(scene, true, port)?.context("no flow")?;
    ensure!(flow.is_lasting(), "{flow:?}");
    Ok(())
}

/// Makes all flows as if nothing was heard for so long.
fn age<A: Addresses>(scene: &Scene, is_tcp: bool, seconds: u32) -> Result<()> {
    let mut table = flows::<A>(scene, is_tcp)?;
    for (key, flow) in table.entries()? {
        let last_seen = flow.last_seen.wrapping_sub(seconds);
        table.set(&key, &Flow { last_seen, ..flow })?;
    }
    Ok(())
}

fn swept<A: Addresses>(scene: &Scene) -> Result<[Swept; 2]> {
    let now = now()?;
    scene.node.run(|| Ok(sweep::<A>(&scene.pins, now, STREAM)?))
}

const FLAGS: [u32; 2] = [0, Config::FAST_PATH];

fn syn_takes_nothing_over<A: Addresses>() -> Result<()> {
    for flags in FLAGS {
        let mut scene = scene::<A>(flags)?;
        establish::<A>(&scene, 4000, 1)?;
        // Another choice would lead to the other backend.
        serve::<A>(&mut scene, 2)?;
        let before = forward::<A>(&scene, true, 4000)?.context("no flow")?;
        ensure!(client::<A>(&scene, 4000, (99, "S"))? == 1, "the SYN went elsewhere");
        let after = forward::<A>(&scene, true, 4000)?.context("no flow")?;
        ensure!(after.opening == before.opening && after.is_lasting(), "{after:?}");
        // The client has closed, and is heard.
        client::<A>(&scene, 4000, (8, "FA"))?;
        ensure!(client::<A>(&scene, 4000, (99, "S"))? == 1, "half of it is open");
        backend::<A>(&scene, (1, 4000), "FA")?;
        ensure!(client::<A>(&scene, 4000, (99, "S"))? == 2, "it was closed");
    }
    Ok(())
}

#[test]
fn a_syn_on_a_live_connection_goes_to_its_backend_and_takes_nothing_over_by_ipv4() -> Result<()> {
    syn_takes_nothing_over::<V4>()
}

#[test]
fn a_syn_on_a_live_connection_goes_to_its_backend_and_takes_nothing_over_by_ipv6() -> Result<()> {
    syn_takes_nothing_over::<V6>()
}

/// Whoever can send as a client outside needs no sequence number to send a reset.
fn reset_takes_nothing_over<A: Addresses>() -> Result<()> {
    let mut scene = scene::<A>(0)?;
    let (client, vip) = ((A::service(99), 4000), (A::service(10), 80));
    let send = |scene: &Scene, sequence, flags: &str| -> Result<u8> {
        let trial = at(scene, Hook::FromUplink, "weir0", &tcp(client, vip, (sequence, flags))?)?;
        ensure!(passes(&trial), "{trial:?}");
        let found = destination(&trial.packet)?;
        (0..3).find(|pod| A::pod(*pod).into() == found).with_context(|| format!("to {found}"))
    };
    let reply = |scene: &Scene, flags: &str| {
        at(scene, Hook::ToUplink, "weir0", &tcp((A::pod(1), 80), client, (1, flags))?).map(drop)
    };
    ensure!(send(&scene, 7, "S")? == 1);
    reply(&scene, "SA")?;
    ensure!(send(&scene, 8, "A")? == 1);
    serve::<A>(&mut scene, 2)?;
    let lasts = |scene: &Scene| -> Result<bool> {
        let flows = flows::<A>(scene, true)?.entries()?;
        let (_, flow) = flows.iter().find(|(_, flow)| !flow.is_reverse()).context("no flow")?;
        Ok(flow.is_lasting())
    };
    ensure!(lasts(&scene)?);
    for goes_on in [true, false] {
        send(&scene, 5_000, "R")?;
        ensure!(!lasts(&scene)?, "it may be over");
        age::<A>(&scene, true, timeout::OPENING)?;
        swept::<A>(&scene)?;
        if goes_on {
            ensure!(send(&scene, 9, "A")? == 1, "the client goes on");
        } else {
            reply(&scene, "A")?;
        }
        ensure!(lasts(&scene)?, "it goes on");
    }
    send(&scene, 5_000, "R")?;
    ensure!(send(&scene, 99, "S")? == 1, "a SYN has taken it over");
    reply(&scene, "A")?;
    ensure!(lasts(&scene)?, "it goes on");
    // Nobody else can send as a backend.
    reply(&scene, "R")?;
    ensure!(send(&scene, 99, "S")? == 2, "the backend has reset it");
    Ok(())
}

#[test]
fn a_reset_in_the_name_of_a_client_outside_takes_nothing_over() -> Result<()> {
    reset_takes_nothing_over::<V4>()?;
    reset_takes_nothing_over::<V6>()
}

#[test]
fn a_syn_opens_a_connection_where_the_other_is_dead() -> Result<()> {
    for seconds in [timeout::DEAD_PEER - 100, timeout::DEAD_PEER + 100] {
        let mut scene = scene::<V4>(0)?;
        establish::<V4>(&scene, 4000, 1)?;
        serve::<V4>(&mut scene, 2)?;
        age::<V4>(&scene, true, seconds)?;
        let is_dead = seconds > timeout::DEAD_PEER;
        let expected = if is_dead { 2 } else { 1 };
        ensure!(client::<V4>(&scene, 4000, (99, "S"))? == expected, "after {seconds} s");
    }
    let mut scene = scene::<V4>(0)?;
    let ids = scene.service((V4::service(10), 80, protocol::TCP), &[(V4::pod(1), 80)])?;
    establish::<V4>(&scene, 4000, 1)?;
    let mut backends = scene.table::<u32, weir_datapath::common::Backend<V4>>(V4::BACKENDS)?;
    backends.remove(&ids[0])?;
    serve::<V4>(&mut scene, 2)?;
    ensure!(client::<V4>(&scene, 4000, (9, "A"))? == 1, "an established connection goes on");
    ensure!(client::<V4>(&scene, 4000, (99, "S"))? == 2, "its backend is gone");
    Ok(())
}

fn floods_push_out_nothing_that_lasts<A: Addresses>() -> Result<()> {
    for flags in FLAGS {
        let scene = scene::<A>(flags)?;
        for port in 4000..4020 {
            establish::<A>(&scene, port, 1)?;
        }
        // As many as the table has room for, ten times.
        let syn = |number: u32| -> Result<Step> {
            let port = u16::try_from(10_000 + number % 50_000)?;
            let frame = tcp((A::pod(0), port), (A::service(10), 80), (number, "S"))?;
            Ok((Hook::FromPod, "veth0", frame))
        };
        all(&scene, (0..ROOM * 10).map(syn))?;
        for port in 4000..4020 {
            let flow = forward::<A>(&scene, true, port)?;
            ensure!(flow.is_some_and(|flow| flow.is_lasting()), "port {port}: {flow:?}");
            ensure!(client::<A>(&scene, port, (8, "A"))? == 1);
        }
        ensure!(scene.counted(Reason::DroppedTableFull)? == 0);
        ensure!(scene.counted(Reason::FlowForgotten)? > u64::from(ROOM));
    }
    Ok(())
}

#[test]
fn established_connections_outlive_a_flood_of_syns_by_ipv4() -> Result<()> {
    floods_push_out_nothing_that_lasts::<V4>()
}

#[test]
fn established_connections_outlive_a_flood_of_syns_by_ipv6() -> Result<()> {
    floods_push_out_nothing_that_lasts::<V6>()
}

/// The segments of a connection of pod 0 that both sides close.
pub(crate) fn short_connection(number: u32) -> impl Iterator<Item = Result<Step>> {
    let port = u16::try_from(10_000 + number).unwrap_or(u16::MAX);
    let (own, vip, backend) = ((V4::pod(0), port), (V4::service(10), 80), (V4::pod(1), 80));
    [(true, "S"), (false, "SA"), (true, "A"), (true, "FA"), (false, "FA"), (true, "A")]
        .into_iter()
        .map(move |(is_client, flags)| {
            if is_client {
                Ok((Hook::FromPod, "veth0", tcp(own, vip, (7, flags))?))
            } else {
                Ok((Hook::FromPod, "veth1", tcp(backend, own, (1, flags))?))
            }
        })
}

#[test]
fn established_connections_outlive_any_number_of_short_ones() -> Result<()> {
    let scene = scene::<V4>(Config::FAST_PATH)?;
    establish::<V4>(&scene, 4000, 1)?;
    all(&scene, (0..ROOM * 3).flat_map(short_connection))?;
    ensure!(forward::<V4>(&scene, true, 4000)?.is_some_and(|flow| flow.is_lasting()));
    ensure!(scene.counted(Reason::DroppedTableFull)? == 0);
    Ok(())
}

#[test]
fn a_table_that_is_full_of_established_connections_keeps_them_and_drops_new_ones() -> Result<()> {
    let scene = scene::<V4>(Config::FAST_PATH)?;
    // All but their ends.
    let connections = (0..ROOM).flat_map(|number| short_connection(number).take(3));
    ensure!(all(&scene, connections).is_err(), "there was room for all");
    ensure!(scene.counted(Reason::DroppedTableFull)? > 0);
    ensure!(client::<V4>(&scene, 10_000, (8, "A"))? == 1, "the first is there");
    let count = flows::<V4>(&scene, true)?.entries()?.len() / 2;
    ensure!(count >= ROOM as usize / 2 - 64, "{count} connections");
    let [tcp, _] = swept::<V4>(&scene)?;
    ensure!(tcp.lasting == count && tcp.room == ROOM as usize / 2, "{tcp:?}");
    Ok(())
}

/// Established ones have taken most of the room, and so there is less than usual for others.
#[test]
fn a_table_that_is_nearly_full_serves_new_connections_and_keeps_established_ones() -> Result<()> {
    let scene = scene::<V4>(Config::FAST_PATH)?;
    let established = ROOM * 2 / 5;
    all(&scene, (0..established).flat_map(|number| short_connection(number).take(3)))?;
    // What could be forgotten may be in the rings of another CPU.
    for cpu in [1, 0, 1] {
        on_cpu(cpu)?;
        let syns = (0..ROOM * 4)
            .map(|number| short_connection(established + number).next().context("no segment")?);
        let dropped = dropped(&scene, syns)?;
        ensure!(dropped * 20 < ROOM as usize * 4, "{dropped} of {} were dropped", ROOM * 4);
    }
    let [tcp, _] = swept::<V4>(&scene)?;
    ensure!(tcp.lasting == established as usize, "{tcp:?}");
    Ok(())
}

/// Otherwise flows that nobody replies to would fill a table that was made smaller.
#[test]
fn the_rings_follow_the_capacity_of_the_table() -> Result<()> {
    let scene = scene::<V4>(0)?;
    let entries = |map| -> Result<u32> {
        let info = scene.node.run(|| Ok(MapData::from_pin(scene.pins.map(map))?.info()?))?;
        Ok(info.max_entries())
    };
    ensure!(entries(map::BRIEF_TCP_V4)? == ROOM / 4);
    // As the documentation says.
    scene.node.run(|| Ok(std::fs::remove_file(scene.pins.map(map::FLOWS_TCP_V4))?))?;
    let smaller = Capacities::default().with(map::FLOWS_TCP_V4, ROOM / 4);
    scene.node.run(|| Ok(load(&scene.pins, &smaller)?))?;
    ensure!(entries(map::FLOWS_TCP_V4)? == ROOM / 4);
    ensure!(entries(map::BRIEF_TCP_V4)? == ROOM / 16, "{}", entries(map::BRIEF_TCP_V4)?);
    ensure!(entries(map::BRIEF_DGRAM_V4)? == ROOM / 4, "of a table that has stayed");
    Ok(())
}

#[test]
fn flows_leave_the_table_when_their_time_is_over() -> Result<()> {
    type F = Flow<V4>;
    for (flags, lifetime) in [
        (0, timeout::OPENING),
        (F::ANSWERED | F::ESTABLISHED, timeout::ESTABLISHED),
        (F::ANSWERED | F::ESTABLISHED | F::BACKEND_CLOSED, timeout::HALF_CLOSED),
        (F::ANSWERED | F::ESTABLISHED | F::CLOSED, timeout::CLOSED),
    ] {
        for (seconds, left) in [(lifetime - 2, 2), (lifetime + 2, 0)] {
            let scene = scene::<V4>(0)?;
            client::<V4>(&scene, 4000, (7, "S"))?;
            let mut table = flows::<V4>(&scene, true)?;
            for (key, flow) in table.entries()? {
                table.set(&key, &Flow { flags: flow.flags | flags, ..flow })?;
            }
            age::<V4>(&scene, true, seconds)?;
            swept::<V4>(&scene)?;
            let count = table.entries()?.len();
            ensure!(count == left, "{count} entries with {flags:#b} after {seconds} s");
        }
    }
    Ok(())
}

/// What a backend sends keeps a flow of datagrams too.
#[test]
fn either_direction_keeps_a_flow_of_datagrams() -> Result<()> {
    let mut scene = scene::<V4>(0)?;
    let datagram = udp((V4::pod(0), 4000), (V4::service(10), 53))?;
    ensure!(goes_to::<V4>(&scene, &datagram)? == 1);
    // New flows go to pod 2, and this one goes on.
    serve::<V4>(&mut scene, 2)?;
    let mut table = flows::<V4>(&scene, false)?;
    let make = |table: &mut Table<FlowKey<V4>, Flow<V4>>, ages: [u32; 2]| -> Result<()> {
        let now = now()?;
        for (key, flow) in table.entries()? {
            let seconds = ages[usize::from(flow.is_reverse())];
            let lasting = Flow::<V4>::ANSWERED | Flow::<V4>::ESTABLISHED;
            let flags = flow.flags | lasting;
            table.set(&key, &Flow { last_seen: now.wrapping_sub(seconds), flags, ..flow })?;
        }
        Ok(())
    };
    make(&mut table, [STREAM + 50, 1])?;
    swept::<V4>(&scene)?;
    ensure!(table.entries()?.len() == 2, "the backend talks");
    ensure!(goes_to::<V4>(&scene, &datagram)? == 1, "the backend talks");
    make(&mut table, [STREAM + 50, STREAM + 50])?;
    ensure!(goes_to::<V4>(&scene, &datagram)? == 2, "both were silent");
    make(&mut table, [STREAM + 50, STREAM + 50])?;
    swept::<V4>(&scene)?;
    ensure!(table.entries()?.is_empty(), "both were silent");
    Ok(())
}

#[test]
fn datagrams_without_replies_push_out_no_flow_that_has_replies() -> Result<()> {
    let scene = scene::<V4>(Config::FAST_PATH)?;
    let own = |port: u16| udp((V4::pod(0), port), (V4::service(10), 53));
    goes_to::<V4>(&scene, &own(4000)?)?;
    from_pod(&scene, 1, &udp((V4::pod(1), 53), (V4::pod(0), 4000))?)?;
    let first = forward::<V4>(&scene, false, 4000)?.context("no flow")?;
    ensure!(first.flags & Flow::<V4>::ANSWERED != 0, "{first:?}");
    let datagram = |number: u32| -> Result<Step> {
        Ok((Hook::FromPod, "veth0", own(u16::try_from(10_000 + number % 50_000)?)?))
    };
    all(&scene, (0..ROOM * 10).map(datagram))?;
    ensure!(forward::<V4>(&scene, false, 4000)?.is_some(), "it was pushed out");
    ensure!(scene.counted(Reason::DroppedTableFull)? == 0);
    Ok(())
}
