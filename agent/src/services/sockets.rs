//! Sockets of the node's processes that are connected by UDP to a backend that is gone.
//!
//! Such a socket has the backend's own address, and nothing would tell its process that nobody is
//! there any more. It is closed, so that the process connects anew and is given another backend.
//! Only sockets that Weir has led to the backend are: the map of sockets knows them by their cookies.
//! TCP finds out by itself.

use std::collections::HashSet;
use std::net::IpAddr;

use tracing::{debug, info, warn};
use weir_datapath::common::{self, Direction, Port, SocketKey, V4, V6, protocol};
use weir_datapath::maps::{Family, Table};
use weir_datapath::{Error, Pins};
use weir_netlink::udp::{self, Connected};

use crate::causes::causes;
use weir_services::diff::Op;
use weir_services::tables::BackendId;

/// The maps of sockets.
pub struct Sockets {
    v4: Known<V4>,
    v6: Known<V6>,
    /// This kernel cannot close them.
    is_unable: bool,
}

type Known<A> = Table<SocketKey<A>, common::Socket<A>>;

/// The backends that these operations take out of service. It is told twice of each, the second time
/// when nobody can be about to connect to it any more.
pub fn gone(ops: &[Op]) -> HashSet<BackendId> {
    let of_op = |op: &Op| match op {
        Op::PutBackend(id, backend) if !backend.serving => Some(*id),
        Op::DeleteBackend(id) => Some(*id),
        _ => None,
    };
    ops.iter().filter_map(of_op).collect()
}

impl Sockets {
    /// Opens the maps where they are pinned.
    ///
    /// # Errors
    /// When they are not.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        let (v4, v6) = (Table::open(pins, V4::SOCKETS)?, Table::open(pins, V6::SOCKETS)?);
        Ok(Self { v4, v6, is_unable: false })
    }

    /// Closes the sockets of these backends in the calling thread's network namespace, and tells how
    /// many. What does not work is logged: it is no reason to do anything else.
    pub fn close(&mut self, gone: &HashSet<BackendId>) -> u64 {
        if gone.is_empty() || self.is_unable {
            return 0;
        }
        let sockets = match udp::list_connected() {
            Ok(sockets) => sockets,
            Err(error) => {
                self.give_up(&error);
                return 0;
            }
        };
        let mut closed = 0;
        for socket in sockets {
            match self.close_one(&socket, gone) {
                Ok(was_closed) => closed += u64::from(was_closed),
                Err(error) => {
                    self.give_up(&error);
                    break;
                }
            }
        }
        closed
    }

    fn close_one(
        &mut self,
        socket: &Connected,
        gone: &HashSet<BackendId>,
    ) -> Result<bool, weir_netlink::Error> {
        let is_led = match socket.peer().ip() {
            IpAddr::V4(ip) => take(&mut self.v4, ip.into(), socket, gone),
            IpAddr::V6(ip) => take(&mut self.v6, ip.into(), socket, gone),
        };
        if !is_led {
            return Ok(false);
        }
        let was_there = udp::close(socket)?;
        if was_there {
            debug!(peer = %socket.peer(), "closed a socket whose backend is gone");
        }
        Ok(was_there)
    }

    /// Says once what this kernel cannot do.
    fn give_up(&mut self, error: &weir_netlink::Error) {
        let text = causes(error);
        if error.is_unsupported() || error.is_not_found() {
            self.is_unable = true;
            info!(
                "sockets that are connected by UDP to a backend that is gone stay open, because \
                 this kernel lacks CONFIG_INET_UDP_DIAG or CONFIG_INET_DIAG_DESTROY: {text}"
            );
        } else {
            warn!("sockets whose backends are gone stay open: {text}");
        }
    }
}

/// Whether a socket was led to one of these backends. Then it is remembered no longer.
fn take<A: Family>(
    known: &mut Known<A>,
    address: A,
    socket: &Connected,
    gone: &HashSet<BackendId>,
) -> bool {
    let key = SocketKey {
        cookie: common::halves(socket.cookie()),
        address,
        port: Port::new(socket.peer().port()),
        protocol: protocol::UDP,
        direction: Direction::Reverse as u8,
    };
    let is_led = matches!(known.get(&key), Ok(Some(led)) if gone.contains(&led.backend));
    if is_led && let Err(error) = known.remove(&key) {
        debug!(%error, "a socket that is closed is still remembered");
    }
    is_led
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_services::tables::Backend;

    #[test]
    fn backends_that_stop_serving_and_those_that_are_deleted_are_gone() {
        let backend = |serving| Backend {
            ip: [10, 0, 0, 1].into(),
            port: 53,
            serving,
            in_cluster_set: false,
            in_local_set: false,
        };
        let ops = [
            Op::PutBackend(1, backend(true)),
            Op::PutBackend(2, backend(false)),
            Op::DeleteBackend(3),
            Op::WriteSlots(4, [1].into()),
        ];
        assert_eq!(gone(&ops), [2, 3].into());
    }
}
