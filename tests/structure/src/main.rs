//! Checks that the source code has the structure that it is meant to have. `cargo xtask lint` runs
//! it; by hand it also checks another checkout: `cargo run --package weir-structure -- FOLDER`.
//!
//! - [`checks::circles`]: no circle of files.
//! - [`checks::crates`]: crates depend on each other in the stated direction.
//! - [`checks::layers`]: so do the modules of some crates.
//! - [`checks::purity`]: pure crates build without the kernel's and Kubernetes' libraries.
//!
//! What is stated is in [`table`]. Source files are parsed and not compiled, so the checks also work
//! where something does not build.

mod arrows;
mod checks;
mod circle;
mod finding;
mod source;
mod table;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use crate::checks::{circles, crates, layers, purity};
use crate::finding::Finding;
use crate::table::{CRATES, IMPURE, LAYERS};

/// Check the structure of the source code
#[derive(Debug, Parser)]
#[command(name = "weir-structure")]
struct Options {
    /// The repository
    #[arg(default_value = ".")]
    root: PathBuf,

    /// Only this check; can be given several times
    #[arg(long = "only", value_name = "CHECK", value_enum)]
    checks: Vec<Check>,

    /// Only this crate; can be given several times
    #[arg(short, long = "package", value_name = "NAME")]
    packages: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Check {
    /// No circle of files
    Circles,
    /// Crates depend on each other in the stated direction
    Crates,
    /// Modules use each other in the stated direction
    Layers,
    /// Pure crates build without the kernel's and Kubernetes' libraries
    Purity,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(findings) if findings.is_empty() => ExitCode::SUCCESS,
        Ok(findings) => {
            for finding in findings {
                eprintln!("{}\n", finding.text());
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Vec<Finding>> {
    let Options { root, checks, packages: chosen } = options;
    let root = root.canonicalize().with_context(|| format!("find {}", root.display()))?;
    let wanted = |check| checks.is_empty() || checks.contains(&check);
    let all = workspace::packages(&root)?;
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|one| one == name);
    let packages = || all.iter().filter(|package| is_chosen(&package.name));

    let mut findings = Vec::new();
    if wanted(Check::Circles) {
        for package in packages() {
            findings.extend(circles::check(&root, package)?);
        }
    }
    if wanted(Check::Crates) {
        findings.extend(crates::check(CRATES, &all));
    }
    if wanted(Check::Layers) {
        for layers in LAYERS {
            let package = packages().find(|package| package.name == layers.package);
            if let Some(library) = package.and_then(|package| package.library.as_ref()) {
                findings.extend(layers::check(&root, layers, library)?);
            }
        }
    }
    if wanted(Check::Purity) {
        for stated in CRATES.iter().filter(|stated| stated.pure) {
            if let Some(package) = packages().find(|package| package.name == stated.name) {
                let built_of = workspace::built_of(package)?;
                findings.extend(purity::check(stated.name, &built_of, IMPURE));
            }
        }
    }
    Ok(findings)
}
