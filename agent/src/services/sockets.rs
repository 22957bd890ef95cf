//! Closes UDP sockets of the node's processes that are connected to a removed backend.
//!
//! Such a socket has the backend's own address, and its process would not notice that the backend
//! is removed. The socket is closed, so that the process connects again and gets another backend.
//! Only sockets that Weir has connected to the backend are closed: the map of sockets has their
//! cookies. TCP notices a removed backend by itself.

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
    v4: SocketTable<V4>,
    v6: SocketTable<V6>,
    /// This kernel cannot close sockets.
    is_unsupported: bool,
}

type SocketTable<A> = Table<SocketKey<A>, common::Socket<A>>;

/// The backends that these operations take out of service. Each backend is in two lists of
/// operations: when it stops serving, and when it is deleted. By then no process can be about to
/// connect to it.
pub fn removed_backends(ops: &[Op]) -> HashSet<BackendId> {
    let of_op = |op: &Op| match op {
        Op::PutBackend(id, backend) if !backend.serving => Some(*id),
        Op::DeleteBackend(id) => Some(*id),
        _ => None,
    };
    ops.iter().filter_map(of_op).collect()
}

impl Sockets {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// When they are not pinned there.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        let (v4, v6) = (Table::open(pins, V4::SOCKETS)?, Table::open(pins, V6::SOCKETS)?);
        Ok(Self { v4, v6, is_unsupported: false })
    }

    /// Closes the sockets of these backends in the calling thread's network namespace. Returns the
    /// number of closed sockets. Errors are only logged.
    pub fn close(&mut self, removed: &HashSet<BackendId>) -> u64 {
        if removed.is_empty() || self.is_unsupported {
            return 0;
        }
        let sockets = match udp::list_connected() {
            Ok(sockets) => sockets,
            Err(error) => {
                self.log_failure(&error);
                return 0;
            }
        };
        let mut closed = 0;
        for socket in sockets {
            match self.close_one(&socket, removed) {
                Ok(was_closed) => closed += u64::from(was_closed),
                Err(error) => {
                    self.log_failure(&error);
                    break;
                }
            }
        }
        closed
    }

    fn close_one(
        &mut self,
        socket: &Connected,
        removed: &HashSet<BackendId>,
    ) -> Result<bool, weir_netlink::Error> {
        let was_connected_by_weir = match socket.peer().ip() {
            IpAddr::V4(ip) => take(&mut self.v4, ip.into(), socket, removed),
            IpAddr::V6(ip) => take(&mut self.v6, ip.into(), socket, removed),
        };
        if !was_connected_by_weir {
            return Ok(false);
        }
        let existed = udp::close(socket)?;
        if existed {
            debug!(peer = %socket.peer(), "closed a socket whose backend was removed");
        }
        Ok(existed)
    }

    /// Logs an error. If this kernel cannot close sockets, it is logged once and no longer tried.
    fn log_failure(&mut self, error: &weir_netlink::Error) {
        let text = causes(error);
        if error.is_unsupported() || error.is_not_found() {
            self.is_unsupported = true;
            info!(
                "UDP sockets that are connected to a removed backend stay open, because \
                 this kernel lacks CONFIG_INET_UDP_DIAG or CONFIG_INET_DIAG_DESTROY: {text}"
            );
        } else {
            warn!("sockets of removed backends stay open: {text}");
        }
    }
}

/// Removes a socket from the map if it is connected to one of these backends. Returns whether it
/// is.
fn take<A: Family>(
    table: &mut SocketTable<A>,
    address: A,
    socket: &Connected,
    removed: &HashSet<BackendId>,
) -> bool {
    let key = SocketKey {
        cookie: common::halves(socket.cookie()),
        address,
        port: Port::new(socket.peer().port()),
        protocol: protocol::UDP,
        direction: Direction::Reverse as u8,
    };
    let is_known = matches!(table.get(&key), Ok(Some(found)) if removed.contains(&found.backend));
    if is_known && let Err(error) = table.remove(&key) {
        debug!(%error, "a closed socket stays in the map");
    }
    is_known
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_services::tables::Backend;

    #[test]
    fn backends_that_stop_serving_or_are_deleted_count_as_removed() {
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
        assert_eq!(removed_backends(&ops), [2, 3].into());
    }
}
