//! Weir on kernels that this machine does not run, for `cargo xtask kernels`.
//!
//! Debian's kernels are booted in an emulator, with an initramfs that holds the released programs
//! and the tests, which are static like them. The same tests also run on this machine's kernel.
//!
//! ```text
//! <output>/programs/       the guests' files, and what they are packed to
//! <output>/<kernel>/       what the kernel and the tests wrote there
//! ```

mod apt;
mod conclusion;
mod guest;
mod host;
mod initramfs;
mod kept;
mod mirror;
mod series;
mod suites;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use xtask::console::{self, Steps};

use crate::conclusion::Conclusion;
use crate::kept::Kernel;
use crate::mirror::Mirror;
use crate::series::Series;
use crate::suites::{Depth, SUITES, Suite};

/// Test Weir on other kernels, and on this machine's
#[derive(Debug, Parser)]
#[command(name = "weir-kernels", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the kernels and tests
    List(Choice),

    /// Fetch the kernels that are not kept yet
    Fetch {
        #[command(flatten)]
        choice: Choice,

        /// Fetch the newest kernels, also where one is kept
        #[arg(long)]
        update: bool,

        /// The mirror of Debian to fetch from, instead of that of this machine's own packages
        #[arg(long, value_name = "URI")]
        mirror: Option<String>,
    },

    /// Build the tests, and run them on kernels that were fetched
    Run {
        #[command(flatten)]
        choice: Choice,

        /// Only the tests that say most about a kernel
        #[arg(long)]
        quick: bool,

        /// The released programs
        #[arg(long, env = "WEIR_BIN_DIR", value_name = "DIR")]
        released: PathBuf,

        /// The repository
        #[arg(long, value_name = "DIR")]
        repository: PathBuf,

        /// Where the guests' files and the logs are left
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
    },
}

#[derive(Args, Debug)]
struct Choice {
    /// Only this kernel; can be given several times
    #[arg(long = "kernel", value_name = "NAME", value_enum)]
    kernels: Vec<Series>,

    /// The folder that kernels are kept in
    #[arg(long, env = "WEIR_CACHE_DIR", value_name = "DIR")]
    cache: PathBuf,
}

impl Choice {
    /// The chosen kernels, in the order of the table.
    fn series(&self) -> Vec<Series> {
        let is_chosen = |series: &Series| self.kernels.is_empty() || self.kernels.contains(series);
        Series::ALL.into_iter().filter(is_chosen).collect()
    }

    /// The chosen kernels that are emulated.
    fn emulated(&self) -> impl Iterator<Item = Series> {
        self.series().into_iter().filter(|series| *series != Series::Host)
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::List(choice) => {
            list(&choice);
            Ok(())
        }
        Verb::Fetch { choice, update, mirror } => fetch(&choice, update, mirror.as_deref()),
        Verb::Run { choice, quick, released, repository, output } => {
            let depth = if quick { Depth::Quick } else { Depth::All };
            run((&choice, depth), &released, &repository, &output)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn list(choice: &Choice) {
    for series in choice.series() {
        let release = match (series, Kernel::kept(&choice.cache, series)) {
            (Series::Host, _) => host::release(),
            (_, Some(kernel)) => kernel.release,
            (_, None) => "not fetched yet".to_owned(),
        };
        console::note(&format!("{:6} {release}", series.name()));
    }
    for Suite { name, .. } in SUITES {
        console::aside(&format!("suite {name}"));
    }
}

fn fetch(choice: &Choice, update: bool, mirror: Option<&str>) -> Result<()> {
    let mut steps = Steps::default();
    for series in choice.emulated() {
        if update || Kernel::kept(&choice.cache, series).is_none() {
            steps.step(&format!("fetch kernel {}", series.name()), || {
                Kernel::fetch(&choice.cache, series, &Mirror::find(mirror)?)
            })?;
        }
    }
    Ok(())
}

fn run(
    (choice, depth): (&Choice, Depth),
    released: &Path,
    repository: &Path,
    output: &Path,
) -> Result<()> {
    let mut steps = Steps::default();
    let kernels = choice
        .emulated()
        .map(|series| {
            let kept = Kernel::kept(&choice.cache, series);
            kept.with_context(|| format!("kernel {} was not fetched", series.name()))
        })
        .collect::<Result<Vec<_>>>()?;
    let programs = steps.step("build the tests", || suites::build(repository, depth))?;

    let mut conclusions = Vec::new();
    if choice.series().contains(&Series::Host) {
        conclusions.push(steps.step("test on this machine's kernel", || {
            let start = Instant::now();
            let logs = host::run(released, &programs, &output.join("host"))?;
            Ok(Conclusion::of(Series::Host, &host::release(), start, &logs))
        })?);
    }
    if !kernels.is_empty() {
        conclusions.extend(steps.step("test on emulated machines", || {
            let archive = initramfs::programs(released, &programs, &output.join("programs"))?;
            emulate(&kernels, depth, &archive, output)
        })?);
    }
    steps.summary();
    conclusion::report(&conclusions, output)
}

/// Runs all guests at once: their clocks do not notice that they share this machine.
fn emulate(
    kernels: &[Kernel],
    depth: Depth,
    archive: &Path,
    folder: &Path,
) -> Result<Vec<Conclusion>> {
    let emulate = |kernel: &Kernel| -> Result<Conclusion> {
        let Kernel { series, release, .. } = kernel;
        console::note(&format!("{release} boots"));
        let start = Instant::now();
        let logs = guest::run(kernel, depth, archive, &folder.join(series.name()))
            .with_context(|| format!("kernel {release}"))?;
        Ok(Conclusion::of(*series, release, start, &logs))
    };
    thread::scope(|scope| {
        let guests: Vec<_> =
            kernels.iter().map(|kernel| scope.spawn(move || emulate(kernel))).collect();
        let join = |guest: thread::ScopedJoinHandle<'_, _>| {
            guest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        guests.into_iter().map(join).collect()
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
