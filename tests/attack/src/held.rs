//! Connections and streams of datagrams that somebody holds through a Service, while others attack.
//!
//! The Service has two backends. What takes a flow over, or pushes it out of the table, has another
//! backend chosen, and with that the same one as before in one of two cases. So there are several flows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{AttachedPod, Connection, Stack};

use crate::gain::Gain;

/// What an attacker sends in the place of a server.
pub(crate) const FORGED: &[u8] = b"forged\n";
/// All of them keep their backends by chance in one of 4096 attacks that succeed.
const COUNT: usize = 12;
/// Far more than a reply needs; a server that is busy may lose some requests.
const PATIENCE: Duration = Duration::from_millis(500);
const TRIES: usize = 6;
/// A flow of datagrams is a stream when its client speaks again so long after its first datagram, by a
/// clock of seconds.
const UNTIL_STREAM: Duration = Duration::from_secs(3);

/// Connections of a pod.
pub(crate) struct Connections(Vec<(Connection, String)>);

/// Flows of datagrams of a pod.
pub(crate) struct Datagrams {
    flows: Vec<(UdpSocket, String)>,
    opened: Instant,
}

impl Connections {
    /// Opens connections to a server that replies with its name.
    pub(crate) fn open(client: &AttachedPod, target: SocketAddr) -> Result<Self> {
        let open = |_| {
            let mut connection = Connection::start(client, target)?;
            let server = connection.ask()?.server;
            Ok((connection, server))
        };
        Ok(Self((0..COUNT).map(open).collect::<Result<_>>()?))
    }

    /// The client's ports.
    pub(crate) fn ports(&self) -> Result<Vec<u16>> {
        self.0.iter().map(|(connection, _)| connection.port()).collect()
    }

    /// The gain of an attacker that wants them to end.
    pub(crate) fn gain(self) -> Gain {
        let mut broken = 0;
        for (mut connection, server) in self.0 {
            broken += usize::from(connection.ask().map_or(true, |reply| reply.server != server));
        }
        Gain::of_count(broken, COUNT, "connections broken")
    }
}

impl Datagrams {
    /// Opens flows to a server that replies with its name.
    pub(crate) fn open(client: &AttachedPod, target: SocketAddr) -> Result<Self> {
        let any: IpAddr = if target.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let open = |_| {
            let socket = client.run(|| {
                let socket = UdpSocket::bind((any, 0)).context("bind")?;
                socket.connect(target).context("connect")?;
                Ok(socket)
            })?;
            socket.set_read_timeout(Some(PATIENCE))?;
            let server = ask(&socket)?;
            Ok((socket, server))
        };
        let flows = (0..COUNT).map(open).collect::<Result<_>>()?;
        Ok(Self { flows, opened: Instant::now() })
    }

    /// The client's ports.
    pub(crate) fn ports(&self) -> Result<Vec<u16>> {
        self.flows.iter().map(|(socket, _)| Ok(socket.local_addr()?.port())).collect()
    }

    /// Goes on until the flows are streams.
    pub(crate) fn become_streams(&self) -> Result<()> {
        std::thread::sleep(UNTIL_STREAM.saturating_sub(self.opened.elapsed()));
        for (socket, server) in &self.flows {
            ensure!(ask(socket)? == *server, "a flow moved before the attack");
        }
        Ok(())
    }

    /// How many [`FORGED`] datagrams have arrived.
    pub(crate) fn forged(&self) -> Result<usize> {
        let mut count = 0;
        for (socket, _) in &self.flows {
            socket.set_nonblocking(true)?;
            let mut buffer = [0; 256];
            while let Ok(length) = socket.recv(&mut buffer) {
                count += usize::from(buffer.get(..length) == Some(FORGED));
            }
            socket.set_nonblocking(false)?;
        }
        Ok(count)
    }

    /// The gain of an attacker that wants them to end.
    pub(crate) fn gain(&self) -> Gain {
        let is_broken = |(socket, server): &&(UdpSocket, String)| {
            ask(socket).map_or(true, |reply| reply != *server)
        };
        Gain::of_count(
            self.flows.iter().filter(is_broken).count(),
            COUNT,
            "flows of datagrams broken",
        )
    }
}

/// Asks for the name of the server.
fn ask(socket: &UdpSocket) -> Result<String> {
    let mut buffer = [0; 256];
    for _ in 0..TRIES {
        socket.send(b"?\n").context("send")?;
        if let Ok(length) = socket.recv(&mut buffer) {
            let reply = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            let name = reply.split(' ').next().context("an empty reply")?;
            return Ok(name.to_owned());
        }
    }
    anyhow::bail!("no reply")
}
