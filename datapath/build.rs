//! Compiles the eBPF programs of `../ebpf` with the toolchain that compiles everything else.
//!
//! The standard library for that target is not shipped, so `core` is built from its sources, which
//! is not stable: `RUSTC_BOOTSTRAP` allows it for this one build.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "bpfel-unknown-none";
const OBJECT: &str = "weir-ebpf";

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = manifest.parent().ok_or("datapath lies in no repository")?;
    let out = PathBuf::from(variable("OUT_DIR")?);
    for source in ["ebpf/src", "ebpf/Cargo.toml", "ebpf/Cargo.lock", "ebpf-common"] {
        tell(&format!("rerun-if-changed={}", root.join(source).display()));
    }
    for name in ["PATH", "WEIR_CACHE_DIR", "XDG_CACHE_HOME"] {
        tell(&format!("rerun-if-env-changed={name}"));
    }

    let target = shared_target(&out);
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .args(["build", "--release", "--locked", "-Z", "build-std=core", "--target", TARGET])
        .arg("--manifest-path")
        .arg(root.join("ebpf/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .current_dir(root)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("PATH", path_with_tools()?)
        // What the programs may assume of registers and the kernel's structures.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            format!("--cfg=bpf_target_arch=\"{}\"", env::var("CARGO_CFG_TARGET_ARCH")?),
        );
    // Meant for the build that this script is part of: clippy's wrapper, for one.
    for name in ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS"] {
        cargo.env_remove(name);
    }
    if !cargo.status()?.success() {
        return Err("the eBPF programs do not build (see above); `cargo xtask setup` installs \
                    what is needed: rust-src and bpf-linker"
            .into());
    }
    fs::copy(target.join(TARGET).join("release").join(OBJECT), out.join(OBJECT))?;
    Ok(())
}

/// A folder for all builds of the programs, which are the same for every profile and target of the
/// host: inside of the target directory, or else in this script's own.
fn shared_target(out: &Path) -> PathBuf {
    let target = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    target.unwrap_or(out).join("ebpf")
}

/// Where commands are looked for, then the folder where `cargo xtask setup` puts bpf-linker.
fn path_with_tools() -> Result<OsString, Box<dyn Error>> {
    let cache = if let Some(own) = env::var_os("WEIR_CACHE_DIR") {
        PathBuf::from(own)
    } else if let Some(caches) = env::var_os("XDG_CACHE_HOME") {
        Path::new(&caches).join("weir")
    } else {
        Path::new(&env::var_os("HOME").unwrap_or_default()).join(".cache/weir")
    };
    let path = env::var_os("PATH").unwrap_or_default();
    Ok(env::join_paths(env::split_paths(&path).chain([cache.join("bin")]))?)
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("{name} is not set: cargo sets it"))
}

fn tell(cargo: &str) {
    println!("cargo::{cargo}");
}
