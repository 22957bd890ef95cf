//! What arrives at a pod.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use weir_tests::lab::{AttachedPod, Stack};

use crate::send::{send, send_here};

/// Far more than a datagram needs.
const DEADLINE: Duration = Duration::from_secs(5);
const GENUINE: &[u8] = b"from a pod that may send it";

/// A UDP socket of a pod.
#[derive(Debug)]
pub(crate) struct Inbox {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Inbox {
    /// Listens at the pod's address.
    pub(crate) fn open(pod: &AttachedPod) -> Result<Self> {
        let address = pod.address()?;
        let socket = pod.run(|| UdpSocket::bind((address, 0)).context("bind"))?;
        socket.set_read_timeout(Some(DEADLINE))?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of datagrams that others have sent. A pod that may send sends one now, and those
    /// that arrive before it are counted: packets do not overtake each other here.
    pub(crate) fn count_others(&self, honest: &impl Stack) -> Result<usize> {
        send(honest, None, self.address, GENUINE)?;
        self.count_before_genuine()
    }

    /// Waits until a datagram of the calling thread's namespace has arrived.
    pub(crate) fn settle_here(&self) -> Result<()> {
        send_here(None, self.address, GENUINE)?;
        self.count_before_genuine().map(drop)
    }

    fn count_before_genuine(&self) -> Result<usize> {
        let mut others = 0;
        let mut buffer = [0; 2048];
        loop {
            let length = self.socket.recv(&mut buffer).context("an honest datagram is lost")?;
            if buffer.get(..length) == Some(GENUINE) {
                return Ok(others);
            }
            others += 1;
        }
    }
}
