//! One pin as a file: made beside another to replace it, and removed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// The name under which a pin is made before it replaces another.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("_new");
    name.into()
}

/// Removes a pin, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}
