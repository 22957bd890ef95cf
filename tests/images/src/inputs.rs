//! The inputs of an archive, written to a file beside it, so that it is made again only when they
//! change.

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

/// Whether the archive exists and was made of the same inputs.
pub(crate) fn are_unchanged(archive: &Path, inputs: &str) -> bool {
    archive.is_file() && fs::read_to_string(note(archive)).is_ok_and(|made| made == inputs)
}

/// Makes the archive of `inputs`. When this is interrupted, the archive counts as out of date.
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

/// Makes the archive count as out of date, before it is written.
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
        assert!(!are_unchanged(&archive, &inputs()), "the inputs are not written down");
        make_of(&archive, &inputs(), || Ok(())).unwrap();
        assert!(are_unchanged(&archive, &inputs()));
        fs::write(&program, "three").unwrap();
        assert!(!are_unchanged(&archive, &inputs()));
    }

    #[test]
    fn an_archive_is_made_again_after_an_interruption() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.tar");
        make_of(&archive, "same", || Ok(fs::write(&archive, "whole")?)).unwrap();
        make_of(&archive, "same", || -> Result<()> {
            fs::write(&archive, "half")?;
            anyhow::bail!("no space left")
        })
        .unwrap_err();
        assert!(!are_unchanged(&archive, "same"));
    }
}
