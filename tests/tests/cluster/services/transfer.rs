//! Large transfers through a Service, with and without segmentation and checksum offloads.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use weir_tests::lab::{Mode, Observe, Stack};

use super::testbed::{Case, PathVariant, TestScope, on_own_testbeds};
use super::{PORT, reaches_by_udp, with};

const DEADLINE: Duration = Duration::from_secs(20);
const GIB: u64 = 1 << 30;
/// For variants of a case that transfers a gigabyte.
const SMALL: u64 = 16 << 20;

/// The data: a prime number of bytes, which are repeated, so that no two segments at the same offset
/// are equal.
fn content() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    (0..1_048_573).map(next).collect()
}

fn write(mut stream: &TcpStream, content: &[u8], mut left: u64) -> Result<()> {
    while left > 0 {
        let piece = content.len().min(usize::try_from(left)?);
        stream.write_all(&content[..piece]).context("write")?;
        left -= u64::try_from(piece)?;
    }
    stream.shutdown(Shutdown::Write).context("close")
}

fn compare(mut stream: &TcpStream, content: &[u8], length: u64) -> Result<()> {
    let mut buffer = vec![0; content.len()];
    let mut received = 0;
    while received < length {
        let piece = content.len().min(usize::try_from(length - received)?);
        stream
            .read_exact(&mut buffer[..piece])
            .with_context(|| format!("after {received} bytes"))?;
        ensure!(buffer[..piece] == content[..piece], "it differs after {received} bytes");
        received += u64::try_from(piece)?;
    }
    ensure!(
        stream.read(&mut buffer[..1]).context("the end")? == 0,
        "more data arrives than was sent"
    );
    Ok(())
}

/// Sends `bytes` bytes in both directions at once over a connection to `target`, whose backend is
/// `listen`.
fn transfer_both_ways(
    client: &impl Stack,
    server: &impl Stack,
    (listen, target): (SocketAddr, SocketAddr),
    bytes: u64,
) -> Result<()> {
    let listener = server.run(|| TcpListener::bind(listen).context("listen"))?;
    set_socket_timeout(&listener, Timeout::Recv, Some(DEADLINE)).context("set a deadline")?;
    let near = client.run(|| {
        TcpStream::connect_timeout(&target, DEADLINE).with_context(|| format!("to {target}"))
    })?;
    let (far, _) = listener.accept().context("accept")?;
    let content = content();
    for stream in [&near, &far] {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
    }
    thread::scope(|scope| {
        let ends = [
            ("the client writes", scope.spawn(|| write(&near, &content, bytes))),
            ("the backend writes", scope.spawn(|| write(&far, &content, bytes))),
            ("the client reads", scope.spawn(|| compare(&near, &content, bytes))),
            ("the backend reads", scope.spawn(|| compare(&far, &content, bytes))),
        ];
        ends.into_iter().try_for_each(|(what, end)| {
            end.join().unwrap_or_else(|panic| resume_unwind(panic)).context(what)
        })
    })
}

/// Transfers data between the client and the first backend of a case through a Service.
pub(super) fn transfer_through_service(case: &Case<'_>, bytes: u64) -> Result<()> {
    let backend = &case.backends[0];
    let service = case.service(5).without_port("tcp").port("tcp", "TCP", PORT, case.spare_port());
    let service = with(service, &[backend]);
    case.manifests()?.put_service(&service)?;
    let target = service.frontends()[0];
    reaches_by_udp(case.client, target, &backend.name)?;
    let listen = SocketAddr::new(case.address_of(&backend.pod)?, case.spare_port());
    transfer_both_ways(case.client, &backend.pod, (listen, target), bytes)
}

/// Turns checksum and segmentation offloads on or off, on the devices of pods, their host sides, the
/// uplinks and the tunnels.
fn set_offload(scope: &TestScope<'_>, on: bool) -> Result<()> {
    let state = if on { "on" } else { "off" };
    for pod in scope.pods() {
        pod.sh(&format!("ethtool --features eth0 tx {state} tso {state} gso {state}"))?;
    }
    for node in scope.testbed.cluster().nodes() {
        for link in node.links()? {
            if link.name == "uplink" || link.name.starts_with("weir") && link.name != "weir0" {
                node.sh(&format!("ethtool --features {} tx {state}", link.name))?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_gigabyte_in_each_direction_arrives_unchanged_with_and_without_offloads() -> Result<()> {
    on_own_testbeds(
        |builder| builder,
        |scope| {
            for on in [true, false] {
                set_offload(scope, on)?;
                scope.in_each_case(|case| {
                    // A gigabyte takes seconds, so only two cases transfer one.
                    let large = match case.variant {
                        PathVariant { mode: Mode::Vxlan, fast: true } => {
                            case.ipv4 && case.remote && on
                        }
                        PathVariant { mode: Mode::Vxlan, fast: false } => {
                            !case.ipv4 && !case.remote && !on
                        }
                        _ => false,
                    };
                    let bytes = if large { GIB } else { SMALL };
                    transfer_through_service(case, bytes)
                        .with_context(|| format!("offload on: {on}"))
                })?;
            }
            Ok(())
        },
    )
}
