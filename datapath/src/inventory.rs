//! The programs that are pinned, and those that are attached to sockets.

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{CgroupSockAddr, SchedClassifier};

use crate::{Error, Pins, SOCKET_PROGRAMS, TC_PROGRAMS};

/// A program for sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtSockets {
    /// Its name.
    pub name: &'static str,
    /// The ID of the pinned program; `None` where the kernel does not support it.
    pub pinned: Option<u32>,
    /// The ID of the attached program.
    pub attached: Option<u32>,
}

/// Every program for sockets.
///
/// # Errors
/// When a pin cannot be looked at.
pub fn list_sockets(pins: &Pins) -> Result<Vec<AtSockets>, Error> {
    let one = |name: &&'static str| {
        Ok(AtSockets { name, pinned: pinned_at_sockets(pins, name)?, attached: link(pins, name)? })
    };
    SOCKET_PROGRAMS.iter().map(one).collect()
}

/// The IDs of the pinned programs for devices, by name.
///
/// # Errors
/// When a pin cannot be looked at.
pub fn list_pinned(pins: &Pins) -> Result<Vec<(&'static str, u32)>, Error> {
    let mut programs = Vec::new();
    for &name in TC_PROGRAMS {
        let path = pins.program(name);
        if path.exists() {
            let program = SchedClassifier::from_pin(path).map_err(failed("open", name))?;
            programs.push((name, program.info().map_err(failed("look at", name))?.id()));
        }
    }
    Ok(programs)
}

fn pinned_at_sockets(pins: &Pins, name: &'static str) -> Result<Option<u32>, Error> {
    let path = pins.program(name);
    let Some(kind) = crate::cgroup::attach_type(name) else { return Ok(None) };
    if !path.exists() {
        return Ok(None);
    }
    let program = CgroupSockAddr::from_pin(path, kind).map_err(failed("open", name))?;
    Ok(Some(program.info().map_err(failed("look at", name))?.id()))
}

fn link(pins: &Pins, name: &'static str) -> Result<Option<u32>, Error> {
    let path = pins.link(name);
    if !path.exists() {
        return Ok(None);
    }
    let failed = |source| Error::Link { action: "look at", path: path.clone(), source };
    let link = FdLink::from(PinnedLink::from_pin(&path).map_err(failed)?);
    Ok(Some(link.info().map_err(failed)?.program_id()))
}

fn failed(
    action: &'static str,
    name: &'static str,
) -> impl Fn(aya::programs::ProgramError) -> Error {
    move |source| Error::Program { action, name: name.to_owned(), source: Box::new(source) }
}
