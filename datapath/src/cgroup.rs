//! Programs at the sockets of the node's processes.

use std::fs::File;
use std::path::Path;

use aya::programs::cgroup_sock_addr::CgroupSockAddrLink;
use aya::programs::links::{CgroupAttachMode, FdLink, PinnedLink};
use aya::programs::{CgroupSockAddr, CgroupSockAddrAttachType};

use crate::{Error, Pins};

/// Programs for sockets, by their names in the object.
pub const SOCKET_PROGRAMS: &[&str] = &[
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
    "recvmsg4",
    "recvmsg6",
    "getpeername4",
    "getpeername6",
];

/// Attaches the pinned programs to a cgroup (of version 2), and so to all processes in it and below it.
///
/// The new links are pinned in place of the old ones, also of an earlier release. For a moment both
/// programs run, which has the same effect as one.
///
/// # Errors
/// When `cgroup` is not a cgroup of version 2.
pub fn attach_sockets(pins: &Pins, cgroup: &Path) -> Result<(), Error> {
    let folder = File::open(cgroup).map_err(Error::file("open", cgroup))?;
    for name in SOCKET_PROGRAMS {
        let path = pins.program(name);
        if !path.exists() {
            continue;
        }
        let failed = |action| {
            move |source| Error::Program {
                action,
                name: (*name).to_owned(),
                source: Box::new(source),
            }
        };
        let Some(kind) = attach_type(name) else { continue };
        let mut program = CgroupSockAddr::from_pin(&path, kind).map_err(failed("open"))?;
        // The kernel accepts no flags for links: several can always be attached.
        let id = program.attach(&folder, CgroupAttachMode::Single).map_err(failed("attach"))?;
        let link: CgroupSockAddrLink = program.take_link(id).map_err(failed("attach"))?;
        replace_link(pins, name, link)?;
    }
    Ok(())
}

/// Detaches the programs from the sockets.
///
/// # Errors
/// When a link cannot be removed.
pub fn detach_sockets(pins: &Pins) -> Result<(), Error> {
    for name in SOCKET_PROGRAMS {
        crate::pin_file::remove(&pins.link(name))?;
    }
    Ok(())
}

fn replace_link(pins: &Pins, name: &str, link: CgroupSockAddrLink) -> Result<(), Error> {
    let path = pins.link(name);
    let failed = |source| Error::Link { action: "pin", path: path.clone(), source };
    let link: FdLink = link.try_into().map_err(failed)?;
    let beside = crate::pin_file::beside(&path);
    crate::pin_file::remove(&beside)?;
    let _kept: PinnedLink =
        link.pin(&beside).map_err(|source| Error::Pin { path: beside.clone(), source })?;
    // The pin is the last reference to the old link.
    std::fs::rename(&beside, &path).map_err(Error::file("replace", &path))
}

pub(crate) fn attach_type(name: &str) -> Option<CgroupSockAddrAttachType> {
    use CgroupSockAddrAttachType as Type;
    Some(match name {
        "connect4" => Type::Connect4,
        "connect6" => Type::Connect6,
        "sendmsg4" => Type::UDPSendMsg4,
        "sendmsg6" => Type::UDPSendMsg6,
        "recvmsg4" => Type::UDPRecvMsg4,
        "recvmsg6" => Type::UDPRecvMsg6,
        "getpeername4" => Type::GetPeerName4,
        "getpeername6" => Type::GetPeerName6,
        _ => return None,
    })
}
