//! Loading the programs, and pinning them in place of their predecessors.

use std::fs;
use std::path::Path;

use aya::maps::MapData;
use aya::programs::{CgroupSockAddr, Program as Any, ProgramType, SchedClassifier};
use aya::sys::{BpfHelper, is_helper_supported};
use aya::{Ebpf, EbpfLoader};
use tracing::{debug, warn};
use weir_ebpf_common::map::{self, Map};

use crate::maps::layout::{Layout, data};
use crate::object::{OBJECT, TC_PROGRAMS};
use crate::pin_file::{beside, remove};
use crate::untyped::UntypedMap;
use crate::{Error, LogLevel, Logs, Pins, SOCKET_PROGRAMS, Upgrade};

/// How many entries maps have room for, where it differs from
/// [`weir_ebpf_common::map::capacity`]. A map that is already pinned keeps its room.
#[derive(Clone, Debug, Default)]
pub struct Capacities(Vec<(Map, u32)>);

impl Capacities {
    /// Sets the room of a map.
    #[must_use]
    pub fn with(mut self, map: Map, entries: u32) -> Self {
        self.0.push((map, entries));
        self
    }
}

/// The result of loading.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The programs.
    pub programs: Vec<Verified>,
    /// The maps that they use, also those that were pinned before.
    pub maps: Vec<MapRoom>,
    /// Entries that were copied from maps of an earlier release.
    pub copied: usize,
}

/// A map and the room that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRoom {
    /// The map.
    pub map: Map,
    /// Its room, in entries.
    pub entries: u32,
}

/// A program that the kernel has accepted.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Its name.
    pub name: &'static str,
    /// Its ID in the kernel.
    pub id: u32,
    /// How many instructions the verifier has processed (Linux 5.16 and later). The limit is a
    /// million.
    pub instructions: Option<u32>,
}

/// Loads all programs against the pinned maps, creates the maps that are missing, and pins the
/// programs in place of those that were pinned before. Takes over the maps of an earlier release.
///
/// Older programs stay attached until they are replaced ([`crate::attach`],
/// [`crate::attach_sockets`]). Both use the same maps, except after a change of a map's layout: see
/// [`Upgrade`], and call [`Upgrade::complete`] when all programs are replaced.
///
/// # Errors
/// When a program is not accepted, or a pinned map has another layout. What was pinned before has not
/// changed then.
pub fn load(pins: &Pins, capacities: &Capacities) -> Result<Loaded, Error> {
    load_with_logs(pins, capacities, LogLevel::Off).map(|(loaded, _)| loaded)
}

/// As [`load`], with programs that log packets up to `level`. Lines are lost unless the caller reads
/// them.
///
/// # Errors
/// As for [`load`].
pub fn load_with_logs(
    pins: &Pins,
    capacities: &Capacities,
    level: LogLevel,
) -> Result<(Loaded, Option<Logs>), Error> {
    load_over(&Upgrade::new(pins), capacities, level)
}

/// As [`load_with_logs`], over the pins of a particular earlier release.
///
/// # Errors
/// As for [`load`].
pub fn load_over(
    upgrade: &Upgrade<'_>,
    capacities: &Capacities,
    level: LogLevel,
) -> Result<(Loaded, Option<Logs>), Error> {
    let pins = upgrade.pins();
    pins.create()?;
    upgrade.keep_maps()?;
    let mut object = open(pins, capacities, level)?;
    let maps = check_maps(&object, pins)?;
    let mut programs = Vec::new();
    for name in TC_PROGRAMS.iter().chain(SOCKET_PROGRAMS) {
        match load_program(&mut object, name) {
            Ok(verified) => {
                debug!(name, id = verified.id, instructions = verified.instructions, "verified");
                programs.push(verified);
            }
            // Older kernels do not support some of them, and the node works without.
            Err(error) if is_optional(name) => {
                warn!(
                    name,
                    error = &error as &dyn std::error::Error,
                    "this kernel does not support a program"
                );
            }
            Err(error) => return Err(error),
        }
    }
    let copied = upgrade.copy_all()?;
    // The first is the one that the plugin looks for: it finds all of them or none.
    for verified in programs.iter().rev() {
        pin(&mut object, pins, verified.name)?;
    }
    let logs = if level == LogLevel::Off { None } else { Logs::of(&mut object) };
    Ok((Loaded { programs, maps, copied }, logs))
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
        // The smallest ring: a page.
        loader.map_max_entries("AYA_LOGS", 4096);
    }
    for (map, entries) in &capacities.0 {
        loader.map_max_entries(map.name, *entries);
    }
    let lanes = cpus()?;
    loader.override_global("LANES", &lanes, true);
    for (flows, brief) in BRIEF {
        let entries = ring_entries(pins, capacities, *flows, lanes)?;
        loader.map_max_entries(brief.name, entries);
        // It has to fit the map of flows, whose capacity somebody may have changed.
        let path = pins.map(*brief);
        if UntypedMap::open(&path, brief.name)?.is_some_and(|ring| ring.capacity() != entries) {
            remove(&path)?;
            debug!(map = brief.name, entries, "replaces a map of another capacity");
        }
    }
    loader.load(OBJECT).map_err(|error| Error::Object(Box::new(error)))
}

/// Maps of flows, and the rings of those among them that do not last.
const BRIEF: &[(Map, Map)] = &[
    (map::FLOWS_TCP_V4, map::BRIEF_TCP_V4),
    (map::FLOWS_TCP_V6, map::BRIEF_TCP_V6),
    (map::FLOWS_DGRAM_V4, map::BRIEF_DGRAM_V4),
    (map::FLOWS_DGRAM_V6, map::BRIEF_DGRAM_V6),
];

/// How many entries the rings of a map of flows have. A flow has two entries, and half of the room is for
/// flows that last. Each lane has at least one slot in each of the two rings.
fn ring_entries(
    pins: &Pins,
    capacities: &Capacities,
    flows: Map,
    lanes: u32,
) -> Result<u32, Error> {
    let entries = if let Some(pinned) = UntypedMap::open(&pins.map(flows), flows.name)? {
        pinned.capacity()
    } else {
        let known = capacities.0.iter().rev().find(|(map, _)| *map == flows);
        known.map_or(map::capacity::FLOWS, |(_, entries)| *entries)
    };
    Ok((entries / 4).max(2 * lanes))
}

/// How many CPUs the machine runs on. If more come later, some share what each has now.
fn cpus() -> Result<u32, Error> {
    let cpus = aya::util::online_cpus();
    let failed = |(file, source)| Error::file("read", Path::new(file))(source);
    Ok(u32::try_from(cpus.map_err(failed)?.len()).unwrap_or(u32::MAX).max(1))
}

/// Whether programs at sockets can choose the error that a process gets (`bpf_set_retval`, Linux
/// 5.18). Without it they use the nearest error that they can cause.
fn has_set_retval() -> bool {
    let kind = ProgramType::CgroupSockAddr;
    is_helper_supported(kind, BpfHelper::BPF_FUNC_set_retval).unwrap_or_else(|error| {
        warn!(error = &error as &dyn std::error::Error, "cannot probe for bpf_set_retval");
        false
    })
}

/// A map that was pinned before is used as it is, so its layout must be right.
fn check_maps(object: &Ebpf, pins: &Pins) -> Result<Vec<MapRoom>, Error> {
    let mut rooms = Vec::new();
    for (name, map) in object.maps() {
        let Some(known) = map::ALL.iter().find(|known| known.name == name) else { continue };
        let failed =
            |source| Error::Map { action: "look at", name: known.name, source: Box::new(source) };
        let info = data(map).and_then(MapData::info).map_err(failed)?;
        let (wanted, found) = (Layout::expected(*known), Layout::found(&info));
        if wanted != found {
            return Err(Error::Layout {
                path: pins.map(*known),
                found: found.to_string(),
                wanted: wanted.to_string(),
            });
        }
        rooms.push(MapRoom { map: *known, entries: info.max_entries() });
    }
    Ok(rooms)
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

/// Pins under another name, then renames: whoever opens the pin gets the old program or the new one.
fn pin(object: &mut Ebpf, pins: &Pins, name: &str) -> Result<(), Error> {
    let Some(program) = object.program_mut(name) else { return Ok(()) };
    let path = pins.program(name);
    let beside = beside(&path);
    remove(&beside)?;
    pin_program(program, &beside)?;
    fs::rename(&beside, &path).map_err(Error::file("replace", &path))
}

fn pin_program(program: &mut Any, path: &Path) -> Result<(), Error> {
    program.pin(path).map_err(|source| Error::Pin { path: path.to_owned(), source })
}
