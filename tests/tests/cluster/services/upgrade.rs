//! Thousands of connections survive the replacement of agents.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use weir_tests::lab::{AttachedPod, Cluster, Families, Stack, eventually, until};

use super::resilience::no_request_is_lost;
use super::{Backend, PORT, any, reaches, reaches_by_udp, web, with};

/// Connections in each family, to either of two backends.
const CONNECTIONS: usize = 1_000;
const DEADLINE: Duration = Duration::from_secs(5);
const SPARE: u16 = 8085;

/// Both ends of a connection.
struct Pair {
    near: TcpStream,
    far: TcpStream,
}

impl Pair {
    /// Sends a byte and gets it back.
    fn exchange(&mut self, byte: u8) -> Result<()> {
        let mut buffer = [0];
        self.near.write_all(&[byte]).context("the client writes")?;
        self.far.read_exact(&mut buffer).context("the backend reads")?;
        self.far.write_all(&buffer).context("the backend writes")?;
        self.near.read_exact(&mut buffer).context("the client reads")?;
        ensure!(buffer == [byte], "another byte comes back");
        Ok(())
    }
}

/// Connections to a frontend, whose backends have these listeners.
fn connections(
    client: &AttachedPod,
    target: SocketAddr,
    listeners: &[TcpListener],
) -> Result<Vec<Pair>> {
    for listener in listeners {
        listener.set_nonblocking(true)?;
    }
    let accept = || {
        let mut accepted = None;
        eventually("a backend accepts", DEADLINE, || {
            accepted = listeners.iter().find_map(|listener| listener.accept().ok());
            Ok(accepted.is_some())
        })?;
        accepted.context("no backend accepts")
    };
    client.run(|| {
        (0..CONNECTIONS)
            .map(|_| {
                let near = TcpStream::connect_timeout(&target, DEADLINE).context("connect")?;
                let (far, _) = accept()?;
                for stream in [&near, &far] {
                    stream.set_read_timeout(Some(DEADLINE))?;
                    stream.set_nodelay(true)?;
                }
                far.set_nonblocking(false)?;
                Ok(Pair { near, far })
            })
            .collect()
    })
}

/// Raises the limit of open files to the maximum.
fn allow_many_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).context("open files")
}

#[test]
fn thousands_of_connections_survive_agents_that_are_killed_and_replaced() -> Result<()> {
    allow_many_files()?;
    for fast in [true, false] {
        let builder = Cluster::new(2).pods(Families::Dual).services();
        builder.flag(&format!("--fast-path={fast}")).test(|cluster| {
            let (near, far) = (cluster.node(1)?, cluster.node(2)?);
            let client = near.pod("client")?;
            let backends = [Backend::on(near, "near")?, Backend::on(far, "far")?];
            let both = [&backends[0], &backends[1]];
            let mut pairs = Vec::new();
            // The TCP target is a port of this test's own listeners.
            let service = web(Families::Dual).without_port("tcp").port("tcp", "TCP", PORT, SPARE);
            let service = with(service, &both);
            cluster.manifests()?.put_service(&service)?;
            for target in service.frontends() {
                for backend in both {
                    reaches_by_udp(&client, target, &backend.name)?;
                }
                let listen = SocketAddr::new(any(target).ip(), SPARE);
                let bind = |backend: &&Backend| {
                    backend.pod.run(|| TcpListener::bind(listen).context("listen"))
                };
                let listeners = both.iter().map(bind).collect::<Result<Vec<_>>>()?;
                pairs.extend(connections(&client, target, &listeners)?);
            }
            let service = with(web(Families::Dual), &both);
            cluster.manifests()?.put_service(&service)?;
            for target in service.frontends() {
                reaches(&client, target, "near")?;
            }
            let programs =
                || near.sh(&format!("tc filter show dev {} ingress", client.added().host()?.name));
            let before = programs()?;
            let stop = AtomicBool::new(false);
            let rounds = thread::scope(|scope| -> Result<u32> {
                let connection = scope.spawn(|| -> Result<u32> {
                    let mut rounds = 0_u32;
                    while !stop.load(Ordering::Relaxed) || rounds == 0 {
                        for (number, pair) in pairs.iter_mut().enumerate() {
                            let byte = rounds.to_le_bytes()[0];
                            pair.exchange(byte).with_context(|| format!("connection {number}"))?;
                        }
                        rounds += 1;
                    }
                    Ok(rounds)
                });
                // New connections are made meanwhile, in one family after the other.
                let disturbed = service.frontends().into_iter().try_for_each(|target| {
                    no_request_is_lost(&client, target, || {
                        for node in cluster.nodes() {
                            node.end_agent(Signal::KILL)?;
                            node.start_agent()?;
                            until("the new agent is ready", || node.ready())?;
                        }
                        Ok(())
                    })
                });
                stop.store(true, Ordering::Relaxed);
                let rounds = connection.join().map_err(|_| anyhow!("it panicked"))??;
                disturbed?;
                Ok(rounds)
            })?;
            ensure!(rounds > 0);
            ensure!(programs()? != before, "the programs were not replaced");
            Ok(())
        })?;
    }
    Ok(())
}
