//! Kernel parameters below `/proc/sys`, which shows those of the calling thread's network
//! namespace.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::Error;

/// What [`ensure`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The parameter already had the value; nothing was written.
    Kept,
    /// The parameter had another value, which was overwritten.
    Changed,
}

static ROOT: OnceLock<PathBuf> = OnceLock::new();

/// Uses another directory than `/proc/sys` from now on, for a container whose own is read-only and
/// that has the host's mounted elsewhere. Only the first call has an effect; returns whether this
/// was it.
pub fn set_root(root: &Path) -> bool {
    ROOT.set(root.to_owned()).is_ok()
}

/// Reads a parameter, for example `net/ipv4/ip_forward`.
///
/// The key is a path, so interface names with dots need no escaping.
pub fn read(key: &str) -> Result<String, Error> {
    fs::read_to_string(path(key))
        .map(|value| value.trim_end().to_owned())
        .map_err(|error| Error::new(format!("read sysctl {key}"), error))
}

/// Sets a parameter. Writes only if the value differs: some parameters have side effects on every
/// write (`net/ipv4/ip_forward` resets others).
pub fn ensure(key: &str, value: &str) -> Result<Outcome, Error> {
    if read(key)? == value {
        return Ok(Outcome::Kept);
    }
    fs::write(path(key), value)
        .map_err(|error| Error::new(format!("set sysctl {key} to {value}"), error))?;
    Ok(Outcome::Changed)
}

/// Makes the strict check of sources on a link a loose one, and leaves any other as it is. A link obeys
/// the greater value of its own and that of all links: 1 is strict, 2 loose. A kernel without IPv4 has
/// none.
pub fn loosen_rp_filter(link: &str) -> Result<Outcome, Error> {
    let value = |link: &str| read(&rp_filter(link));
    let greater = match value("all").and_then(|all| Ok(all.max(value(link)?))) {
        Err(error) if error.is_not_found() => return Ok(Outcome::Kept),
        found => found?,
    };
    if greater == "1" { ensure(&rp_filter(link), "2") } else { Ok(Outcome::Kept) }
}

fn rp_filter(link: &str) -> String {
    format!("net/ipv4/conf/{link}/rp_filter")
}

fn path(key: &str) -> PathBuf {
    ROOT.get().map_or(Path::new("/proc/sys"), PathBuf::as_path).join(key)
}
