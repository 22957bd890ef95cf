//! Loading the programs, and pinning them in place of their predecessors.

use std::fs;
use std::path::Path;

use aya::programs::{CgroupSockAddr, Program as Any, ProgramType, SchedClassifier};
use aya::sys::{BpfHelper, is_helper_supported};
use aya::{Ebpf, EbpfLoader};
use tracing::{debug, warn};
use weir_ebpf_common::map::{self, Map};

use crate::object::{OBJECT, TC_PROGRAMS};
use crate::{Error, LogLevel, Logs, Pins, SOCKET_PROGRAMS};

/// How many entries maps have room for, where it is not the default of
/// [`weir_ebpf_common::map::capacity`]. A map that is pinned keeps the room that it has.
#[derive(Clone, Debug, Default)]
pub struct Capacities(Vec<(Map, u32)>);

impl Capacities {
    /// Gives a map room for so many entries.
    #[must_use]
    pub fn with(mut self, map: Map, entries: u32) -> Self {
        self.0.push((map, entries));
        self
    }
}

/// What was loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Each program.
    pub programs: Vec<Verified>,
    /// The maps that they use, also those that were pinned before.
    pub maps: Vec<MapRoom>,
}

/// A map with the room that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRoom {
    /// Which.
    pub map: Map,
    /// So many entries.
    pub entries: u32,
}

/// A program that the kernel has accepted.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Its name.
    pub name: &'static str,
    /// The kernel's number of it.
    pub id: u32,
    /// How many instructions the verifier looked at (5.16 and later), which must stay below a
    /// million.
    pub instructions: Option<u32>,
}

/// Loads all programs against the pinned maps, makes the maps that are missing, and pins the
/// programs in place of those that were pinned before.
///
/// Where older programs are attached they stay so until they are replaced
/// ([`crate::attach`], [`crate::attach_sockets`]); both use the same maps.
///
/// # Errors
/// When a program is not accepted, or a pinned map has another layout. Nothing that was pinned
/// before has changed then.
pub fn load(pins: &Pins, capacities: &Capacities) -> Result<Loaded, Error> {
    load_with_logs(pins, capacities, LogLevel::Off).map(|(loaded, _)| loaded)
}

/// The same, with programs that write about packets up to `level`. What they write is lost when the
/// one who has loaded them does not read it.
///
/// # Errors
/// As for [`load`].
pub fn load_with_logs(
    pins: &Pins,
    capacities: &Capacities,
    level: LogLevel,
) -> Result<(Loaded, Option<Logs>), Error> {
    pins.create()?;
    let mut object = open(pins, capacities, level)?;
    let maps = check_maps(&object, pins)?;
    let mut programs = Vec::new();
    for name in TC_PROGRAMS.iter().chain(SOCKET_PROGRAMS) {
        match load_program(&mut object, name) {
            Ok(verified) => {
                debug!(name, id = verified.id, instructions = verified.instructions, "verified");
                programs.push(verified);
            }
            // Older kernels lack some of them, and the node works without.
            Err(error) if is_optional(name) => {
                warn!(
                    name,
                    error = &error as &dyn std::error::Error,
                    "this kernel has no such program"
                );
            }
            Err(error) => return Err(error),
        }
    }
    for verified in &programs {
        pin(&mut object, pins, verified.name)?;
    }
    let logs = if level == LogLevel::Off { None } else { Logs::of(&mut object) };
    Ok((Loaded { programs, maps }, logs))
}

fn is_optional(name: &str) -> bool {
    name.starts_with("getpeername")
}

fn open(pins: &Pins, capacities: &Capacities, level: LogLevel) -> Result<Ebpf, Error> {
    let mut loader = EbpfLoader::new();
    for map in map::ALL {
        loader.map_pin_path(map.name, pins.map(*map));
    }
    let has_set_retval = u8::from(has_set_retval());
    loader.override_global("HAS_SET_RETVAL", &has_set_retval, true);
    let level_number = level.number();
    loader.override_global(aya_log::LEVEL, &level_number, true);
    if level == LogLevel::Off {
        // The least that a ring can have: a page.
        loader.map_max_entries("AYA_LOGS", 4096);
    }
    for (map, entries) in &capacities.0 {
        loader.map_max_entries(map.name, *entries);
    }
    loader.load(OBJECT).map_err(|error| Error::Object(Box::new(error)))
}

/// Whether programs at sockets can choose the error that a process gets. Where they cannot they
/// make do without.
fn has_set_retval() -> bool {
    let kind = ProgramType::CgroupSockAddr;
    is_helper_supported(kind, BpfHelper::BPF_FUNC_set_retval).unwrap_or_else(|error| {
        warn!(error = &error as &dyn std::error::Error, "cannot ask for bpf_set_retval");
        false
    })
}

/// A map that was pinned before is used as it is found, so it has to be right.
fn check_maps(object: &Ebpf, pins: &Pins) -> Result<Vec<MapRoom>, Error> {
    let mut sized = Vec::new();
    for (name, map) in object.maps() {
        let Some(known) = map::ALL.iter().find(|known| known.name == name) else { continue };
        let wanted = crate::maps::sizes(*known);
        let (found, entries) = crate::maps::found_sizes(map, known.name)?;
        if wanted != found {
            return Err(Error::Layout {
                path: pins.map(*known),
                found: found.to_string(),
                wanted: wanted.to_string(),
            });
        }
        sized.push(MapRoom { map: *known, entries });
    }
    Ok(sized)
}

fn load_program(object: &mut Ebpf, name: &'static str) -> Result<Verified, Error> {
    let failed = |action| {
        move |source| Error::Program { action, name: name.to_owned(), source: Box::new(source) }
    };
    let missing = || failed("find")(aya::programs::ProgramError::NotLoaded);
    let program = object.program_mut(name).ok_or_else(missing)?;
    if SOCKET_PROGRAMS.contains(&name) {
        let program: &mut CgroupSockAddr = program.try_into().map_err(failed("find"))?;
        program.load().map_err(failed("load"))?;
    } else {
        let program: &mut SchedClassifier = program.try_into().map_err(failed("find"))?;
        program.load().map_err(failed("load"))?;
    }
    let info = object.program(name).ok_or_else(missing)?.info().map_err(failed("look at"))?;
    Ok(Verified { name, id: info.id(), instructions: info.verified_instruction_count() })
}

/// Pins beside, then renames: whoever opens the pin gets the old program or the new one.
fn pin(object: &mut Ebpf, pins: &Pins, name: &str) -> Result<(), Error> {
    let Some(program) = object.program_mut(name) else { return Ok(()) };
    let path = pins.program(name);
    let beside = path.with_file_name(format!("{name}_new"));
    remove(&beside)?;
    pin_program(program, &beside)?;
    fs::rename(&beside, &path).map_err(Error::file("replace", &path))
}

fn pin_program(program: &mut Any, path: &Path) -> Result<(), Error> {
    program.pin(path).map_err(|source| Error::Pin { path: path.to_owned(), source })
}

pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}
