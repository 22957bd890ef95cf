//! Forged packets of the tunnel: who sends them, where they are sent to, and a pod that should get none.

use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{AttachedPod, Member, Stack, TUNNEL_PORT, tunnel_payload};

/// Where pods listen.
const PORT: u16 = 7777;
/// Far more than a datagram needs.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// So many forged datagrams are sent to each address.
pub(super) const TRIES: usize = 5;
const FORGED: &[u8] = b"forged";
pub(super) const GENUINE: &[u8] = b"genuine";

/// A pod, and the sockets that receive what is sent to its addresses.
pub(super) struct Victim<'a> {
    pub(super) node: &'a Member,
    pod: &'a AttachedPod,
    sockets: Vec<UdpSocket>,
}

impl<'a> Victim<'a> {
    pub(super) fn new(node: &'a Member, pod: &'a AttachedPod) -> Result<Self> {
        let listen = |address: IpAddr| {
            let socket = pod.run(|| UdpSocket::bind((address, PORT)).context("bind"))?;
            socket.set_read_timeout(Some(DEADLINE))?;
            Ok(socket)
        };
        let sockets: Result<_> = pod.addresses().into_iter().map(listen).collect();
        Ok(Self { node, pod, sockets: sockets? })
    }

    /// What an attacker sends to a node's tunnel: a datagram to each address of the pod, whose source
    /// is the pod `as_pod`.
    pub(super) fn forged(&self, as_pod: &[IpAddr]) -> Result<Vec<Vec<u8>>> {
        let mac = self.node.tunnel_mac()?;
        let to_each = self.pod.addresses().into_iter().map(|to| {
            let from = as_pod.iter().find(|from| from.is_ipv4() == to.is_ipv4());
            let from = SocketAddr::new(*from.context("no address of the family")?, 4444);
            tunnel_payload(&mac, from, SocketAddr::new(to, PORT), FORGED)
        });
        to_each.collect()
    }

    /// The next message at the pod's address of this number.
    fn receive(&self, number: usize) -> Result<Vec<u8>> {
        let socket = self.sockets.get(number).context("no such address")?;
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).context("nothing arrives")?;
        Ok(buffer[..length].to_vec())
    }

    /// A pod of another node sends a datagram to each address of the pod. It arrives, and it is the
    /// first that does.
    pub(super) fn hears_only(&self, peer: &impl Stack) -> Result<()> {
        for (number, to) in self.pod.addresses().into_iter().enumerate() {
            send(peer, None, SocketAddr::new(to, PORT), GENUINE)?;
            let message = self.receive(number)?;
            let text = String::from_utf8_lossy(&message);
            ensure!(message == GENUINE, "{to} has received {text:?} from an attacker");
        }
        Ok(())
    }

    /// Forged datagrams have arrived at all addresses of the pod.
    pub(super) fn hears_forged(&self) -> Result<()> {
        for number in 0..self.sockets.len() {
            ensure!(self.receive(number)? == FORGED);
        }
        Ok(())
    }
}

/// Sends a datagram, from this address of `from` if there is one. What the kernel refuses to send does
/// not arrive either.
pub(super) fn send(
    from: &impl Stack,
    source: Option<IpAddr>,
    to: SocketAddr,
    message: &[u8],
) -> Result<()> {
    from.run(|| {
        let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
        let source = source.map_or_else(|| any.parse(), Ok)?;
        let socket = UdpSocket::bind((source, 0)).with_context(|| format!("bind {source}"))?;
        if to.is_ipv4() {
            socket.set_broadcast(true)?;
        }
        let _refused = socket.send_to(message, to);
        Ok(())
    })
}

/// Sends forged datagrams to a tunnel's port at these addresses.
pub(super) fn attack(
    from: &impl Stack,
    source: Option<IpAddr>,
    at: &[SocketAddr],
    forged: &[Vec<u8>],
) -> Result<()> {
    for to in at {
        for message in forged {
            for _ in 0..TRIES {
                send(from, source, *to, message)?;
            }
        }
    }
    Ok(())
}

pub(super) fn port_at(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, TUNNEL_PORT)
}

/// All addresses at which a socket of the node takes packets from the underlay: its own, the gateway of
/// its pods, and those of all machines on the link.
pub(super) fn addresses_of(node: &Member, attacker: &impl Stack) -> Result<Vec<SocketAddr>> {
    let own = node.address()?;
    let mut addresses = vec![port_at(own)];
    let family = if own.is_ipv4() { "-4" } else { "-6" };
    for subnet in node.manifest().subnets() {
        // A pod has a route already.
        let _has_route = attacker.sh(&format!("ip {family} route replace {subnet} via {own}"));
        let gateway = subnet.split('/').next().context("no subnet")?;
        let gateway = match gateway.parse()? {
            IpAddr::V4(ip) => IpAddr::from((ip.to_bits() + 1).to_be_bytes()),
            IpAddr::V6(ip) => IpAddr::from((ip.to_bits() + 1).to_be_bytes()),
        };
        if gateway.is_ipv4() == own.is_ipv4() {
            addresses.push(port_at(gateway));
        }
    }
    if own.is_ipv4() {
        let shared = ["172.31.70.255", "224.0.0.1"].map(str::parse::<IpAddr>);
        addresses.extend(shared.into_iter().flatten().map(port_at));
    } else {
        // A machine has an uplink, a pod has an eth0.
        let links = attacker.sh("ip -o link show")?;
        let mut lines = links.lines();
        let line = lines.find(|line| line.contains(": uplink") || line.contains(": eth0"));
        let index = line.and_then(|line| line.split(':').next()).context("no link")?.parse()?;
        addresses.push(SocketAddrV6::new("ff02::1".parse()?, TUNNEL_PORT, 0, index).into());
    }
    Ok(addresses)
}
