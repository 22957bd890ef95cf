//! Pins that another program removes while the agent runs: they are made again.
//!
//! A bpffs can be emptied, unmounted, or hidden by another one. What is attached goes on then, but the
//! CNI plugin finds no programs for new pods and the `weir` command no maps. New maps would not help:
//! those in use hold the flows. So the agent keeps what it has pinned open.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use weir_ebpf_common::map;

use crate::object::TC_PROGRAMS;
use crate::{Error, Pins, SOCKET_PROGRAMS, pinned};

/// Everything of this release that is pinned, held open.
#[derive(Debug)]
pub struct KeptPins {
    pins: Pins,
    /// In the order in which they are pinned. The plugin looks for the last one.
    objects: Vec<(PathBuf, OwnedFd)>,
}

impl KeptPins {
    /// Opens what is pinned: maps, links to cgroups, and programs.
    ///
    /// # Errors
    /// When a pin cannot be opened.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        let maps = map::ALL.iter().map(|map| pins.map(*map));
        let links = SOCKET_PROGRAMS.iter().map(|name| pins.link(name));
        let programs = TC_PROGRAMS.iter().chain(SOCKET_PROGRAMS).rev();
        let programs = programs.map(|name| pins.program(name));
        let mut objects = Vec::new();
        for path in maps.chain(links).chain(programs) {
            match pinned::get(&path) {
                Ok(fd) => objects.push((path, fd)),
                // Older kernels do not support all of the programs.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::file("open", path)(error)),
            }
        }
        Ok(Self { pins: pins.clone(), objects })
    }

    /// Pins again what is no longer pinned, in the same places. What is pinned there by somebody else
    /// stays. Returns how many pins it has made.
    ///
    /// # Errors
    /// When the folder is not on a BPF file system, or a pin cannot be made.
    pub fn restore(&self) -> Result<usize, Error> {
        let lost: Vec<_> = self.objects.iter().filter(|(path, _)| !path.exists()).collect();
        if !lost.is_empty() {
            self.pins.create()?;
        }
        for (path, fd) in &lost {
            match pinned::pin(fd, path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::file("pin", path)(error));
                }
                _ => {}
            }
        }
        Ok(lost.len())
    }
}
