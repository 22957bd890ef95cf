//! Kernel parameters below `/proc/sys`, which shows those of the calling thread's network
//! namespace.

use std::{fs, path::PathBuf};

use crate::Error;

/// What [`ensure`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It had the value already; nothing was written.
    Kept,
    /// It had another value, which was overwritten.
    Changed,
}

/// Reads a parameter, for example `net/ipv4/ip_forward`.
///
/// The key is a path, so interface names with dots need no escaping.
pub fn read(key: &str) -> Result<String, Error> {
    fs::read_to_string(path(key))
        .map(|value| value.trim_end().to_owned())
        .map_err(|error| Error::new(format!("read sysctl {key}"), error))
}

/// Makes a parameter have a value. Writes only if it differs: some parameters have side effects
/// on every write (`net/ipv4/ip_forward` resets others).
pub fn ensure(key: &str, value: &str) -> Result<Outcome, Error> {
    if read(key)? == value {
        return Ok(Outcome::Kept);
    }
    fs::write(path(key), value)
        .map_err(|error| Error::new(format!("set sysctl {key} to {value}"), error))?;
    Ok(Outcome::Changed)
}

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}
