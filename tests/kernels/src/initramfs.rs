//! The guest's file system: an archive of programs that all kernels share, and one of modules.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use weir_images::tree;
use xtask::command;
use xtask::released::PROGRAMS;

use crate::suites::Program;

const INIT: &str = include_str!("init.sh");
/// Programs of this machine that Weir and its tests start, and where they are in the guest.
const TOOLS: &[(&str, &str)] = &[
    ("bridge", "usr/sbin/bridge"),
    ("ethtool", "usr/sbin/ethtool"),
    ("ip", "usr/sbin/ip"),
    // The kernel asks for it by this path.
    ("modprobe", "sbin/modprobe"),
    ("nft", "usr/sbin/nft"),
    ("ping", "usr/bin/ping"),
    ("tc", "usr/sbin/tc"),
];

/// Makes the archive of programs, and of what to do with them.
pub(crate) fn programs(released: &Path, suites: &[Program], root: &Path) -> Result<PathBuf> {
    tree::clear(root)?;
    for folder in ["dev", "proc", "run", "sys", "tmp"] {
        fs::create_dir(root.join(folder)).with_context(|| format!("create /{folder}"))?;
    }
    put_init(root)?;
    let tools = TOOLS.iter().map(|(name, place)| Ok((find(name)?, PathBuf::from(place))));
    tree::put_with_libraries(&tools.collect::<Result<Vec<_>>>()?, root)?;
    tree::put(&find("busybox")?, root, Path::new("bin/busybox"))?;
    for program in PROGRAMS {
        tree::put(&released.join(program), root, &Path::new("weir").join(program))?;
    }
    let mut list = String::new();
    for program in suites {
        let place = Path::new("suites").join(program.suite.name);
        tree::put(&program.file, root, &place)?;
        let words = [&[program.suite.name], &*program.arguments()].concat();
        list += &format!("{}\n", words.join(" "));
    }
    fs::write(root.join("suites.list"), list).context("write the list of suites")?;
    let archive = root.with_extension("cpio");
    pack(root, &archive)?;
    Ok(archive)
}

fn put_init(root: &Path) -> Result<()> {
    let init = root.join("init");
    fs::write(&init, INIT).context("write init")?;
    fs::set_permissions(&init, PermissionsExt::from_mode(0o755)).context("make init executable")
}

fn find(program: &str) -> Result<PathBuf> {
    command::find(program).with_context(|| format!("there is no program {program} on PATH"))
}

/// Packs the folder as root's own files, in the format that the kernel unpacks.
pub(crate) fn pack(folder: &Path, archive: &Path) -> Result<()> {
    let file = File::create(archive).with_context(|| format!("create {}", archive.display()))?;
    let script = "find . | busybox cpio -o -H newc -R 0:0";
    let status = Command::new("sh")
        .args(["-c", script])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::null())
        .status()
        .context("start busybox")?;
    if !status.success() {
        bail!("busybox cpio failed to pack {}: {status}", folder.display());
    }
    Ok(())
}

/// Joins archives to one file; the kernel unpacks one after the other.
pub(crate) fn join(archives: &[PathBuf], file: &Path) -> Result<()> {
    let mut joined = File::create(file).with_context(|| format!("create {}", file.display()))?;
    for archive in archives {
        let mut archived =
            File::open(archive).with_context(|| format!("open {}", archive.display()))?;
        io::copy(&mut archived, &mut joined)
            .with_context(|| format!("copy {}", archive.display()))?;
    }
    Ok(())
}
