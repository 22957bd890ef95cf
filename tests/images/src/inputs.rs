//! What an archive was made of, noted beside it, so that it is made again only when that changes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use weir_images::tree;

/// A line for each file, which changes when the file does.
pub(crate) fn describe(files: &[PathBuf]) -> Result<String> {
    let line = |file: &PathBuf| {
        let meta = fs::metadata(file).with_context(|| format!("read {}", file.display()))?;
        Ok(format!("{} {} {}.{}", file.display(), meta.len(), meta.mtime(), meta.mtime_nsec()))
    };
    Ok(files.iter().map(line).collect::<Result<Vec<_>>>()?.join("\n"))
}

/// Whether the archive is there and was made of the same.
pub(crate) fn are(archive: &Path, inputs: &str) -> bool {
    archive.is_file() && fs::read_to_string(note(archive)).is_ok_and(|made| made == inputs)
}

/// Makes the archive of `inputs`. One that is broken off half-way counts as made of nothing.
pub(crate) fn make_of<T>(
    archive: &Path,
    inputs: &str,
    make: impl FnOnce() -> Result<T>,
) -> Result<T> {
    forget(archive)?;
    let made = make()?;
    let note = note(archive);
    fs::write(&note, inputs).with_context(|| format!("write {}", note.display()))?;
    Ok(made)
}

/// For an archive that is about to be written, of whatever.
pub(crate) fn forget(archive: &Path) -> Result<()> {
    tree::remove(&note(archive))
}

fn note(archive: &Path) -> PathBuf {
    let mut name = archive.as_os_str().to_owned();
    name.push(".inputs");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_made_again_when_one_of_its_files_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, program) = (folder.path().join("a.tar"), folder.path().join("program"));
        fs::write(&archive, "").unwrap();
        fs::write(&program, "one").unwrap();
        let inputs = || describe(std::slice::from_ref(&program)).unwrap();
        assert!(!are(&archive, &inputs()), "nobody said what it is made of");
        make_of(&archive, &inputs(), || Ok(())).unwrap();
        assert!(are(&archive, &inputs()));
        fs::write(&program, "three").unwrap();
        assert!(!are(&archive, &inputs()));
    }

    #[test]
    fn an_archive_whose_making_was_broken_off_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.tar");
        make_of(&archive, "same", || Ok(fs::write(&archive, "whole")?)).unwrap();
        make_of(&archive, "same", || -> Result<()> {
            fs::write(&archive, "half")?;
            anyhow::bail!("no space left")
        })
        .unwrap_err();
        assert!(!are(&archive, "same"));
    }
}
