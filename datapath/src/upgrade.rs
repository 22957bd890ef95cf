//! Taking over what an earlier release has pinned.
//!
//! Programs of two releases meet at an upgrade: those of the old release stay attached until the agent
//! has replaced them one by one, and the CNI plugin may be of either release meanwhile. Each release
//! therefore pins its programs and maps under names of its own (see [`map`](weir_ebpf_common::map)):
//! a map with the version of its layout, a program with [`map::PROGRAMS`]. [`RELEASED`] says what
//! becomes of each map of an earlier release.
//!
//! # Steps
//! 1. [`load`](crate::load()) pins every map that keeps its layout ([`Transfer::Map`]) under its new
//!    name as well. Old and new programs then share it, and nothing in it is lost.
//! 2. It creates the maps that are missing, and has the kernel verify the new programs. It then copies
//!    the entries of old maps with another layout ([`Transfer::Entries`]) into the new ones, unless
//!    they have an entry with the same key.
//! 3. It pins the programs, the one last that the plugin looks for.
//! 4. The agent writes the configuration, the routes and the pods of the node, and attaches the new
//!    programs at sockets.
//! 5. [`Upgrade::complete`] copies what the old programs have written since step 2, replaces them at
//!    every device, copies once more, and removes the pins of the earlier release: programs first,
//!    then maps.
//! 6. The agent attaches the new programs wherever there were none.
//!
//! Each step does nothing where it was done before, and old pins go last. An agent that is killed at
//! any time therefore leaves a node whose traffic goes on, and the next one completes the upgrade.
//! Where maps keep their layout, not even a flow that begins during the upgrade is interrupted.
//! Otherwise a flow can be interrupted that begins within the milliseconds of step 5: an old program
//! does not see the entry of a new one, and a new one not yet that of an old one.
//!
//! # The plugin
//! - *An older plugin* finds its programs until step 5 and attaches them. They work, and the agent's
//!   next pass replaces them. After step 5 it finds no programs at all. It then sets up the pod
//!   without them, as on a node where the agent has not started, and the agent's next pass attaches
//!   the new ones.
//! - *A newer plugin* that meets only the pins of an earlier release does not find its own programs,
//!   and sets up the pod without them too. The agent of its release attaches them in its first pass.
//!   The pins of an earlier release are in the folders that it knows, so it reports no error.
//!
//! # Going back
//! An older release does not know the pins of this one. It starts with empty maps under its own names,
//! and interrupts the flows. When this release is started again, it takes over the older pins as
//! in any upgrade, and adds their entries to its own.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use tracing::{debug, warn};
use weir_ebpf_common::map::{self, Map};
use weir_ebpf_common::{Flow, V4};

use crate::maps::layout::Layout;
use crate::untyped::UntypedMap;
use crate::{Error, Hook, Pins, Program, SOCKET_PROGRAMS, TC_PROGRAMS, attach, list};

/// A map of an earlier release.
#[derive(Clone, Copy, Debug)]
pub struct Former {
    /// Its name and layout in that release.
    pub map: Map,
    /// The map of this release that takes its place.
    pub successor: Map,
    /// What is taken over.
    pub transfer: Transfer,
}

/// The bytes of a key and of its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// What the successor of a map takes over.
#[derive(Clone, Copy, Debug)]
pub enum Transfer {
    /// The map itself: only its name is another, or its version.
    Map,
    /// The entries, each as this function makes it of the old key and value. It returns `None` for an
    /// entry that has no meaning any more. The map must not be per CPU.
    Entries(fn(&[u8], &[u8]) -> Option<Entry>),
}

const fn renamed(name: &'static str, layout: u8, successor: Map) -> Former {
    Former { map: Map { name, layout }, successor, transfer: Transfer::Map }
}

const fn flows(name: &'static str, layout: u8, successor: Map) -> Former {
    let transfer = Transfer::Entries(flow_of_32_bits);
    Former { map: Map { name, layout }, successor, transfer }
}

/// An entry of a flow from one that ended with a tick and flags of 32 bits each.
///
/// It did not say whether a flow was established, so all are. Each entry had only the bit of its own
/// side's end: a flow that has one is left out, because most of them were closed by both.
fn flow_of_32_bits(key: &[u8], value: &[u8]) -> Option<Entry> {
    type Bits = Flow<V4>;
    let (head, tail) = value.split_last_chunk::<8>()?;
    let flags = u16::try_from(u32::from_ne_bytes(*tail.last_chunk()?)).ok()?;
    if flags & Bits::CLOSED != 0 {
        return None;
    }
    let lasting = if flags & Bits::REVERSE == 0 { Bits::ESTABLISHED } else { 0 };
    let flags = flags | Bits::ANSWERED | lasting;
    let value = [head, &[0; 6], &flags.to_ne_bytes()].concat();
    Some((key.to_owned(), value))
}

/// The maps that earlier releases have pinned and this release has not.
pub const RELEASED: &[Former] = &[
    flows("FLOWS_TCP_V4", 2, map::FLOWS_TCP_V4),
    flows("FLOWS_TCP_V6", 2, map::FLOWS_TCP_V6),
    flows("FLOWS_ANY_V4", 2, map::FLOWS_DGRAM_V4),
    flows("FLOWS_ANY_V6", 2, map::FLOWS_DGRAM_V6),
    flows("FLOWS_DGRAM_V4", 3, map::FLOWS_DGRAM_V4),
    flows("FLOWS_DGRAM_V6", 3, map::FLOWS_DGRAM_V6),
    renamed("CLUSTER_V4", 1, map::ROUTES_V4),
    renamed("CLUSTER_V6", 1, map::ROUTES_V6),
    renamed("SETTINGS", 1, map::CONFIG),
];

/// The upgrade of what is pinned in a folder.
#[derive(Clone, Copy, Debug)]
pub struct Upgrade<'a> {
    pins: &'a Pins,
    former: &'a [Former],
}

/// What [`Upgrade::complete`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completed {
    /// Programs of the earlier release that it has replaced.
    pub programs: usize,
    /// Entries that it has copied.
    pub entries: usize,
    /// Pins that it has removed.
    pub pins: usize,
}

/// Which maps are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copied {
    All,
    /// Those that programs write. Who writes the others has written the new ones meanwhile, and may
    /// have removed entries from them.
    WrittenByPrograms,
}

impl<'a> Upgrade<'a> {
    /// The upgrade from any release.
    #[must_use]
    pub const fn new(pins: &'a Pins) -> Self {
        Self::from_maps(pins, RELEASED)
    }

    /// The upgrade from a release that has pinned these maps.
    #[must_use]
    pub const fn from_maps(pins: &'a Pins, former: &'a [Former]) -> Self {
        Self { pins, former }
    }

    /// The folder with the pins.
    #[must_use]
    pub const fn pins(&self) -> &'a Pins {
        self.pins
    }

    /// Whether anything is pinned that does not belong to this release.
    ///
    /// # Errors
    /// When the folders cannot be read.
    pub fn is_pending(&self) -> Result<bool, Error> {
        Ok(!self.foreign_pins()?.is_empty())
    }

    /// Replaces programs of the earlier release at these links (`links` are the indices of all links
    /// of the node), copies what they have written, and removes the pins of the earlier release.
    ///
    /// Call it in the node's network namespace after [`crate::load()`] and
    /// [`crate::attach_sockets`], when the maps that programs only read are written.
    ///
    /// # Errors
    /// When a program or an entry cannot be replaced, or a pin not be removed. The rest of the old pins
    /// is still there then, and another call completes the upgrade.
    pub fn complete(&self, links: impl IntoIterator<Item = u32>) -> Result<Completed, Error> {
        let foreign = self.foreign_pins()?;
        if foreign.is_empty() {
            return Ok(Completed::default());
        }
        let mut entries = self.copy(Copied::WrittenByPrograms)?;
        let programs = self.replace_programs(links)?;
        entries += self.copy(Copied::WrittenByPrograms)?;
        for name in &foreign {
            crate::pin_file::remove(&self.pins.folder().join(name))?;
        }
        Ok(Completed { programs, entries, pins: foreign.len() })
    }

    /// Pins maps that keep their layout under their new names.
    pub(crate) fn keep_maps(&self) -> Result<(), Error> {
        for former in self.former.iter().filter(|former| matches!(former.transfer, Transfer::Map)) {
            let path = self.pins.map(former.successor);
            let Some(found) = self.open(former.map)? else { continue };
            let expected = Layout::expected(former.successor);
            if path.exists() {
                continue;
            }
            if found.layout == expected {
                found.pin(&path)?;
                debug!(from = former.map.name, to = former.successor.name, "kept a map");
            } else {
                let name = former.map.name;
                warn!(map = name, found = %found.layout, %expected, "cannot take over a map");
            }
        }
        Ok(())
    }

    /// Copies entries of maps that have another layout now. Returns how many.
    pub(crate) fn copy_all(&self) -> Result<usize, Error> {
        self.copy(Copied::All)
    }

    fn copy(&self, which: Copied) -> Result<usize, Error> {
        let mut copied = 0;
        for former in self.former {
            if which == Copied::All || is_written_by_programs(former.successor) {
                copied += self.copy_map(former)?;
            }
        }
        Ok(copied)
    }

    fn copy_map(&self, former: &Former) -> Result<usize, Error> {
        let (old, new) = (self.open(former.map)?, self.open(former.successor)?);
        let (Some(old), Some(new)) = (old, new) else { return Ok(0) };
        if old.id == new.id || !old.has_plain_values() || !new.has_plain_values() {
            return Ok(0);
        }
        let mut copied = 0;
        old.for_each(|key, value| {
            let entry = match former.transfer {
                Transfer::Map => Some((key.to_owned(), value.to_owned())),
                Transfer::Entries(convert) => convert(key, value),
            };
            let Some((key, value)) = entry else { return Ok(true) };
            match new.add(&key, &value) {
                Ok(added) => copied += usize::from(added),
                Err(error) if error.is_full() => {
                    let map = former.successor.name;
                    warn!(map, copied, "the new map has no room for all entries of the old one");
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
            Ok(true)
        })?;
        debug!(from = former.map.name, to = former.successor.name, copied, "copied a map");
        Ok(copied)
    }

    fn open(&self, map: Map) -> Result<Option<UntypedMap>, Error> {
        UntypedMap::open(&self.pins.map(map), map.name)
    }

    fn replace_programs(&self, links: impl IntoIterator<Item = u32>) -> Result<usize, Error> {
        let programs = Hook::ALL.map(|hook| Program::open(self.pins, hook));
        let programs: Vec<Program> = programs.into_iter().collect::<Result<_, _>>()?;
        let mut replaced = 0;
        for link in links {
            for program in &programs {
                let replace = || match list(link, program.hook())? {
                    Some(found) if found.program != program.id() => attach(link, program),
                    _ => Ok(false),
                };
                match replace() {
                    Ok(changed) => replaced += usize::from(changed),
                    // The link has gone.
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(replaced)
    }

    /// The pins that do not belong to this release, relative to the folder, in the order in which they
    /// are removed.
    fn foreign_pins(&self) -> Result<Vec<std::path::PathBuf>, Error> {
        let programs = TC_PROGRAMS.iter().chain(SOCKET_PROGRAMS);
        let own = programs.map(|name| self.pins.program(name));
        let own = own.chain(map::ALL.iter().map(|map| self.pins.map(*map)));
        let own: BTreeSet<_> = own.collect();
        let mut foreign = Vec::new();
        // The plugin looks for `from_pod` first: it must not find it without the others.
        for (folder, first) in [("programs", Hook::FromPod.program()), ("maps", "")] {
            let mut names = names(&self.pins.folder().join(folder))?;
            names.retain(|name| !own.contains(&self.pins.folder().join(folder).join(name)));
            names.sort_by_key(|name| !name.to_string_lossy().starts_with(first));
            foreign.extend(names.into_iter().map(|name| Path::new(folder).join(name)));
        }
        Ok(foreign)
    }
}

fn names(folder: &Path) -> Result<Vec<OsString>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("read", folder)(error)),
    };
    entries.map(|entry| Ok(entry.map_err(Error::file("read", folder))?.file_name())).collect()
}

fn is_written_by_programs(map: Map) -> bool {
    [
        map::FLOWS_TCP_V4,
        map::FLOWS_TCP_V6,
        map::FLOWS_DGRAM_V4,
        map::FLOWS_DGRAM_V6,
        map::AFFINITY_V4,
        map::AFFINITY_V6,
        map::FRAGMENTS_V4,
        map::FRAGMENTS_V6,
        map::SOCKETS_V4,
        map::SOCKETS_V6,
    ]
    .contains(&map)
}
