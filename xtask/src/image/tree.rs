//! The files of an image, put together from those of this machine.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{command, console};

/// Makes the folder empty.
pub(super) fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", folder.display()));
        }
        _ => {}
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))
}

/// Copies a file to a place below `root`, with its mode.
pub(super) fn put(file: &Path, root: &Path, place: &Path) -> Result<()> {
    let copy = root.join(place);
    if let Some(folder) = copy.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::copy(file, &copy)
        .with_context(|| format!("copy {} to {}", file.display(), copy.display()))?;
    Ok(())
}

/// Copies a program, the libraries that the loader would find for it, to where it would find them,
/// and the copyright notices of the packages that they came from.
pub(super) fn put_with_libraries(program: &Path, root: &Path, place: &Path) -> Result<()> {
    put(program, root, place)?;
    let listing = command::output(Command::new("ldd").arg(program))?;
    let libraries = libraries(&listing);
    for library in &libraries {
        put(library, root, library.strip_prefix("/").unwrap_or(library))?;
    }
    let owned = libraries.iter().map(PathBuf::as_path).chain([program]);
    let packages: BTreeSet<_> = owned.filter_map(package_of).collect();
    for package in &packages {
        let notice = Path::new("usr/share/doc").join(package).join("copyright");
        put(&Path::new("/").join(&notice), root, &notice)?;
    }
    let packages: Vec<_> = packages.into_iter().collect();
    console::note(&format!("{} from {}", program.display(), packages.join(" ")));
    Ok(())
}

/// The paths in what `ldd` writes: `libc.so.6 => /lib/libc.so.6 (0x…)`, and the loader's own
/// without an arrow.
fn libraries(listing: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let file = line.split_once(" => ").map_or(line, |(_, file)| file);
        let file = file.rsplit_once(" (").map_or(file, |(file, _)| file).trim();
        file.starts_with('/').then(|| PathBuf::from(file))
    };
    listing.lines().filter_map(path).collect()
}

/// The Debian package that installed a file, if one did.
fn package_of(file: &Path) -> Option<String> {
    // The package may know the file by the name that it had before /lib became /usr/lib.
    let merged = Path::new("/usr").join(file.strip_prefix("/").ok()?);
    let unmerged = Path::new("/").join(file.strip_prefix("/usr").unwrap_or(file));
    [file, &merged, &unmerged].into_iter().find_map(|name| {
        let answer = command::output(Command::new("dpkg-query").arg("--search").arg(name)).ok()?;
        let package = answer.lines().find(|line| !line.starts_with("diversion"))?;
        Some(package.split([':', ',']).next()?.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_loader_finds_is_read_and_what_the_kernel_brings_is_not() {
        let listing = "\tlinux-vdso.so.1 (0x00007fc30dbb6000)\n\
                       \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007fc30d8a7000)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007fc30dbb8000)\n";
        assert_eq!(
            libraries(listing),
            [
                Path::new("/lib/x86_64-linux-gnu/libc.so.6"),
                Path::new("/lib64/ld-linux-x86-64.so.2")
            ]
        );
        assert!(libraries("\tstatically linked\n").is_empty());
    }

    #[test]
    fn a_program_is_copied_with_what_it_needs_to_start() {
        let folder = tempfile::tempdir().unwrap();
        let program = command::find("true").unwrap();
        put_with_libraries(&program, folder.path(), Path::new("bin/true")).unwrap();
        assert!(folder.path().join("bin/true").is_file());
        let listing = command::output(Command::new("ldd").arg(&program)).unwrap();
        for library in libraries(&listing) {
            assert!(folder.path().join(library.strip_prefix("/").unwrap()).is_file());
        }
        clear(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
