//! The files of an image, put together from those of this machine.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use xtask::{command, console};

/// Makes the folder empty.
pub fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", folder.display()));
        }
        _ => {}
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))
}

/// Copies a file to a place below `root`, with its mode.
pub fn put(file: &Path, root: &Path, place: &Path) -> Result<()> {
    let copy = root.join(place);
    if let Some(folder) = copy.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::copy(file, &copy)
        .with_context(|| format!("copy {} to {}", file.display(), copy.display()))?;
    Ok(())
}

/// Removes a file, if it is there.
pub fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// Copies programs to their places, the libraries that the loader would find for them to where it
/// would find them, and the copyright notices of the packages that all these came from.
pub fn put_with_libraries(programs: &[(PathBuf, PathBuf)], root: &Path) -> Result<()> {
    let mut shared = BTreeSet::new();
    for (program, place) in programs {
        put(program, root, place)?;
        if is_script(program)? {
            continue;
        }
        let listing = command::output(Command::new("ldd").arg(program))?;
        shared.extend(libraries(&listing));
    }
    for library in &shared {
        put(library, root, library.strip_prefix("/").unwrap_or(library))?;
    }
    let programs = programs.iter().map(|(program, _)| program);
    let packages = packages_of(programs.chain(&shared))?;
    for package in &packages {
        let notice = Path::new("usr/share/doc").join(package).join("copyright");
        put(&Path::new("/").join(&notice), root, &notice)?;
    }
    let packages: Vec<_> = packages.into_iter().collect();
    console::note(&format!("files of {}", packages.join(" ")));
    Ok(())
}

fn is_script(program: &Path) -> Result<bool> {
    let mut start = [0; 2];
    let read = fs::File::open(program).and_then(|mut file| file.read(&mut start));
    read.with_context(|| format!("read {}", program.display()))?;
    Ok(start == *b"#!")
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

/// The Debian packages that installed these files.
fn packages_of<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Result<BTreeSet<String>> {
    let mut query = Command::new("dpkg-query");
    query.arg("--search");
    for file in files {
        // What is called by a link belongs to the package of the file; and this may know it by the
        // name that it had before /lib became /usr/lib.
        let file = file.canonicalize().with_context(|| format!("find {}", file.display()))?;
        query.arg(&file);
        if let Ok(unmerged) = file.strip_prefix("/usr") {
            query.arg(Path::new("/").join(unmerged));
        }
    }
    // It fails as soon as it does not know one of the names, and still lists the others.
    let listing = query.output().context("start dpkg-query")?.stdout;
    Ok(owners(&String::from_utf8_lossy(&listing)))
}

/// The packages in what `dpkg-query --search` writes: `libc6:amd64: /lib/…`, with more than one
/// package where they share a file, and lines about diversions.
fn owners(listing: &str) -> BTreeSet<String> {
    let lines = listing.lines().filter(|line| !line.starts_with("diversion by "));
    let names = lines.filter_map(|line| line.split([':', ',']).next());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_that_the_loader_finds_in_files() {
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
    fn a_package_is_found_by_its_files() {
        let listing = "diversion by dash from: /bin/sh\n\
                       coreutils: /bin/ls\nlibc6:amd64: /lib/x86_64-linux-gnu/libc.so.6\n\
                       coreutils: /bin/cat\n";
        assert_eq!(Vec::from_iter(owners(listing)), ["coreutils", "libc6"]);
    }

    #[test]
    fn a_script_is_copied_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let root = folder.path().join("root");
        put_with_libraries(&[(script, PathBuf::from("bin/script"))], &root).unwrap();
        assert_eq!(fs::read_to_string(root.join("bin/script")).unwrap(), "#!/bin/sh\n");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 1, "a script brings no libraries");
    }

    #[test]
    fn a_program_is_copied_with_what_it_needs_to_start() {
        let folder = tempfile::tempdir().unwrap();
        let program = command::find("true").unwrap();
        let place = PathBuf::from("bin/true");
        put_with_libraries(&[(program.clone(), place)], folder.path()).unwrap();
        assert!(folder.path().join("bin/true").is_file());
        let listing = command::output(Command::new("ldd").arg(&program)).unwrap();
        for library in libraries(&listing) {
            assert!(folder.path().join(library.strip_prefix("/").unwrap()).is_file());
        }
        clear(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
