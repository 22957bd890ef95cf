//! The Rust toolchain that `rust-toolchain.toml` pins: its components, and what it is.
//!
//! That file lists the components too. Where automatic installation is on, rustup adds them. Where it
//! is off, cargo starts without them, and this module adds them.

use std::process::Command;

use anyhow::{Context, Result, bail};

use xtask::command;
use xtask::released::TARGET;

use crate::workspace::Workspace;

/// A part of the toolchain that not every installation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Component {
    /// The lints.
    Clippy,
    /// The formatter.
    Rustfmt,
    /// The standard library's source: `core` is compiled for eBPF from it.
    RustSrc,
    /// The standard library for static programs.
    Musl,
}

impl Component {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clippy => "clippy",
            Self::Rustfmt => "rustfmt",
            Self::RustSrc => "rust-src",
            Self::Musl => TARGET,
        }
    }

    /// Whether a line of `rustup component list --installed` names this component. The name of a
    /// component that differs by platform ends with the platform.
    fn is_listed_as(self, line: &str) -> bool {
        match self {
            Self::RustSrc => line == "rust-src",
            Self::Musl => line.strip_prefix("rust-std-") == Some(TARGET),
            Self::Clippy | Self::Rustfmt => {
                line.strip_prefix(self.name()).is_some_and(|rest| rest.starts_with('-'))
            }
        }
    }
}

/// The components of `wanted` that the pinned toolchain lacks.
pub(crate) fn missing(workspace: &Workspace, wanted: &[Component]) -> Result<Vec<Component>> {
    if command::find("rustup").is_none() {
        let names: Vec<_> = wanted.iter().map(|component| component.name()).collect();
        bail!(
            "rustup is not on PATH; it keeps the toolchain that rust-toolchain.toml pins, \
             and its components {}",
            names.join(", ")
        );
    }
    let listing = command::output(rustup(workspace).args(["component", "list", "--installed"]))?;
    let is_installed =
        |component: &Component| listing.lines().any(|line| component.is_listed_as(line));
    Ok(wanted.iter().copied().filter(|component| !is_installed(component)).collect())
}

/// Adds components to the pinned toolchain.
pub(crate) fn add(workspace: &Workspace, components: &[Component]) -> Result<()> {
    let (targets, parts): (Vec<Component>, Vec<Component>) =
        components.iter().partition(|component| **component == Component::Musl);
    for (kind, wanted) in [("component", parts), ("target", targets)] {
        if !wanted.is_empty() {
            let names = wanted.iter().map(|component| component.name());
            command::run(rustup(workspace).args([kind, "add"]).args(names))?;
        }
    }
    Ok(())
}

/// In the repository's folder rustup uses its `rust-toolchain.toml`.
fn rustup(workspace: &Workspace) -> Command {
    let mut rustup = Command::new("rustup");
    rustup.current_dir(&workspace.root);
    rustup
}

/// The pinned compiler.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rustc {
    /// `rustc-1.95.0-59807616e`: the release, and the commit, which differs between nightlies.
    pub(crate) id: String,
    /// The major version of the LLVM inside of it.
    pub(crate) llvm: u32,
}

impl Rustc {
    pub(crate) fn of(workspace: &Workspace) -> Result<Self> {
        let description =
            command::output(Command::new("rustc").arg("-vV").current_dir(&workspace.root))?;
        Self::parse(&description).with_context(|| {
            format!("rustc -vV does not name its release, commit and LLVM:\n{description}")
        })
    }

    fn parse(description: &str) -> Option<Self> {
        let field =
            |name| description.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let release = field("release:")?;
        let commit = field("commit-hash:")?;
        let llvm = field("LLVM version:")?.split('.').next()?.parse().ok()?;
        Some(Self { id: format!("rustc-{release}-{}", commit.get(..9)?), llvm })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_recognised_in_rustups_list() {
        let list =
            ["rust-src", "clippy-x86_64-unknown-linux-gnu", "rust-std-x86_64-unknown-linux-musl"];
        let listed = |component: Component| list.iter().any(|line| component.is_listed_as(line));
        assert!(listed(Component::RustSrc));
        assert!(listed(Component::Clippy));
        assert!(listed(Component::Musl));
        assert!(!listed(Component::Rustfmt));
        assert!(!Component::Musl.is_listed_as("rust-std-x86_64-unknown-linux-gnu"));
    }

    #[test]
    fn a_compiler_is_identified_by_release_and_commit() {
        let description = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\n\
            commit-hash: 59807616e1fa2540724bfbac14d7976d7e4a3860\n\
            host: x86_64-unknown-linux-gnu\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        let expected = Rustc { id: "rustc-1.95.0-59807616e".to_owned(), llvm: 22 };
        assert_eq!(Rustc::parse(description), Some(expected));
        assert_eq!(Rustc::parse("rustc 1.95.0"), None);
    }
}
