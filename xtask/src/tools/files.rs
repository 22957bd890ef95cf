//! Folders and links of the cache.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

pub(super) fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("move {} to {}", from.display(), to.display()))
}

pub(super) fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Makes `link` point to `target`. A link that was there is replaced in one step, so that the link
/// always exists.
pub(super) fn replace_link(link: &Path, target: &Path) -> Result<()> {
    let context = || format!("link {} to {}", link.display(), target.display());
    if let Some(folder) = link.parent() {
        make_folder(folder)?;
    }
    let new = link.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(context);
        }
        _ => {}
    }
    symlink(target, &new).and_then(|()| fs::rename(&new, link)).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_replaced_also_after_an_interrupted_replacement() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("bin/tool");
        replace_link(&link, Path::new("/old")).unwrap();
        symlink("/left/behind", link.with_extension("new")).unwrap();
        replace_link(&link, Path::new("/new")).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("/new"));
        assert_eq!(fs::read_dir(folder.path().join("bin")).unwrap().count(), 1);
    }
}
