//! bpf-linker turns LLVM bitcode into eBPF objects, so its LLVM must be able to read what rustc's
//! wrote. It is linked with the very library that rustc came with: no LLVM package is needed, and
//! no version can be wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use xtask::command;

use super::files::{make_folder, replace_link};
use super::install::cargo_install;
use crate::toolchain::Rustc;
use crate::workspace::Workspace;

pub(super) const VERSION: &str = "0.13.0";

/// Another compiler has another LLVM, and needs another bpf-linker.
pub(super) fn edition(workspace: &Workspace, edition: &str) -> Result<String> {
    Ok(format!("{edition}-{}", Rustc::of(workspace)?.id))
}

pub(super) fn build(workspace: &Workspace, prefix: &Path) -> Result<()> {
    let rustc = Rustc::of(workspace)?;
    let llvm = link_llvm(workspace, &rustc)?;
    command::run(
        cargo_install(prefix, "bpf-linker", VERSION)?
            .args(["--no-default-features", "--features", &format!("llvm-{}", rustc.llvm)])
            .env("LLVM_PREFIX", llvm),
    )?;
    let program = prefix.join("bin/bpf-linker");
    if !starts(&program) {
        bail!("{} was built, but does not find rustc's LLVM", program.display());
    }
    Ok(())
}

/// True when it finds its LLVM, which goes away with the toolchain. Asked without the search path
/// that cargo sets: it has to start without cargo as well.
pub(super) fn starts(program: &Path) -> bool {
    let mut version = Command::new(program);
    command::output(version.arg("--version").env_remove("LD_LIBRARY_PATH")).is_ok()
}

/// An LLVM installation in the form that the build expects, of links to rustc's library. It stays:
/// bpf-linker looks there whenever it starts.
fn link_llvm(workspace: &Workspace, rustc: &Rustc) -> Result<PathBuf> {
    let sysroot = command::output(
        Command::new("rustc").args(["--print", "sysroot"]).current_dir(&workspace.root),
    )?;
    let shipped = Path::new(sysroot.trim()).join("lib");
    let prefix = workspace.cache.join("llvm").join(&rustc.id);
    let links = prefix.join("lib");
    make_folder(&links)?;
    let context = || format!("look for rustc's LLVM in {}", shipped.display());
    let mut library = None;
    for entry in fs::read_dir(&shipped).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("libLLVM") {
            replace_link(&links.join(&name), &entry.path())?;
            library = Some(entry.path());
        }
    }
    let library = library.with_context(|| {
        format!("{} holds no libLLVM; this rustc was built in another way", shipped.display())
    })?;
    replace_link(&links.join("libLLVM.so"), &library)?;
    Ok(prefix)
}
