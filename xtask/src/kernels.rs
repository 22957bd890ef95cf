//! `cargo xtask kernels`: Weir on kernels that this machine does not run.
//!
//! Debian's kernels are booted in an emulator, with an initramfs that holds the released programs
//! and the tests, which are static like them. The same tests also run on this machine's kernel.
//!
//! ```text
//! <target>/kernels/programs/       the guests' files, and what they are packed to
//! <target>/kernels/<kernel>/       what the kernel and the tests wrote there
//! ```

mod apt;
mod guest;
mod host;
mod initramfs;
mod kept;
mod mirror;
mod series;
mod suites;
mod verdict;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub(crate) use self::series::Series;

use self::guest::Logs;
use self::kept::Kernel;
use self::mirror::Mirror;
use self::suites::{SUITES, Suite};
use self::verdict::Outcome;
use crate::cli::Kernels;
use crate::console::{self, Steps, readable};
use crate::requirements::{self, KERNELS, Report};
use crate::workspace::Workspace;
use crate::{build, root};

/// The last lines of a log that are shown of a failure.
const SHOWN: usize = 60;

/// What became of one kernel.
struct Ended {
    series: Series,
    release: String,
    outcomes: Vec<(&'static Suite, Outcome)>,
    took: Duration,
}

pub(crate) fn run(workspace: &Workspace, options: &Kernels) -> Result<()> {
    let mut chosen: Vec<_> = Series::ALL.into_iter().collect();
    if !options.kernels.is_empty() {
        chosen.retain(|series| options.kernels.contains(series));
    }
    if options.list {
        list(workspace, &chosen);
        return Ok(());
    }
    if chosen.contains(&Series::Host) {
        root::demand("kernels")?;
    }
    let mut steps = Steps::default();
    requirements::ensure(workspace, &mut steps, KERNELS, Report::OnlyMissing)?;
    let kernels = kernels(workspace, &mut steps, &chosen, options)?;
    build::programs(workspace, &mut steps)?;
    let programs = steps.step("build the tests", || suites::build(workspace))?;
    let folder = workspace.target.join("kernels");

    let mut ended = Vec::new();
    if chosen.contains(&Series::Host) {
        ended.push(steps.step("test on this machine's kernel", || {
            let start = Instant::now();
            let release = host::release();
            let logs = host::run(workspace, &programs, &folder.join("host"))?;
            Ok(end(Series::Host, &release, start, &logs))
        })?);
    }
    if !kernels.is_empty() {
        ended.extend(steps.step("test on emulated machines", || {
            let archive = initramfs::programs(workspace, &programs, &folder.join("programs"))?;
            emulate(&kernels, &archive, &folder)
        })?);
    }
    steps.summary();
    conclude(&ended, &folder)
}

fn list(workspace: &Workspace, chosen: &[Series]) {
    for series in chosen {
        let release = match (series, Kernel::kept(workspace, *series)) {
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

/// The chosen kernels, with those fetched that are not there.
fn kernels(
    workspace: &Workspace,
    steps: &mut Steps,
    chosen: &[Series],
    options: &Kernels,
) -> Result<Vec<Kernel>> {
    let mut kernels = Vec::new();
    for series in chosen.iter().copied().filter(|series| *series != Series::Host) {
        let kept = Kernel::kept(workspace, series).filter(|_| !options.update);
        kernels.push(match kept {
            Some(kernel) => kernel,
            None => steps.step(&format!("fetch kernel {}", series.name()), || {
                let mirror = Mirror::find(options.mirror.as_deref())?;
                Kernel::fetch(workspace, series, &mirror)
            })?,
        });
    }
    Ok(kernels)
}

/// Runs all guests at once: their clocks do not notice that they share this machine.
fn emulate(kernels: &[Kernel], archive: &Path, folder: &Path) -> Result<Vec<Ended>> {
    let emulate = |kernel: &Kernel| -> Result<Ended> {
        let Kernel { series, release, .. } = kernel;
        console::note(&format!("{release} boots"));
        let start = Instant::now();
        let logs = guest::run(kernel, archive, &folder.join(series.name()))
            .with_context(|| format!("kernel {release}"))?;
        Ok(end(*series, release, start, &logs))
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

/// Judges a kernel by its logs, and shows what one wants to see of a failure.
fn end(series: Series, release: &str, start: Instant, logs: &Logs) -> Ended {
    let outcomes: Vec<_> =
        SUITES.iter().map(|suite| (suite, verdict::of(suite, &logs.suites))).collect();
    let ended = Ended { series, release: release.to_owned(), outcomes, took: start.elapsed() };
    console::note(&format!("{release}: {}, {}", ended.verdict(), readable(ended.took)));
    // The first tells most: what comes after the end of a kernel never began.
    let failed = ended.outcomes.iter().find(|(_, outcome)| *outcome != Outcome::Passed);
    if let Some((suite, _)) = failed {
        show(&format!("{}, {release}", suite.name), &verdict::output(suite, &logs.suites));
        show(&format!("kernel messages, {release}"), &logs.console.lines().collect::<Vec<_>>());
    }
    ended
}

fn show(title: &str, lines: &[&str]) {
    console::note(&format!("---- {title} ----"));
    for line in lines.iter().skip(lines.len().saturating_sub(SHOWN)) {
        console::note(line.trim_end());
    }
}

impl Ended {
    fn passed(&self) -> bool {
        self.outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Passed)
    }

    fn verdict(&self) -> String {
        let of = |(suite, outcome): &(&Suite, Outcome)| match outcome {
            Outcome::Passed => format!("{} passed", suite.name),
            Outcome::Failed(status) => format!("{} failed ({status})", suite.name),
            Outcome::Unfinished => format!("{} did not end", suite.name),
        };
        self.outcomes.iter().map(of).collect::<Vec<_>>().join(", ")
    }
}

/// The table, and an error if anything failed.
fn conclude(ended: &[Ended], folder: &Path) -> Result<()> {
    let width = ended.iter().map(|ended| ended.release.len()).max().unwrap_or(0);
    for Ended { series, release, took, .. } in ended {
        let found = ended.iter().find(|ended| ended.series == *series);
        let verdict = found.map(Ended::verdict).unwrap_or_default();
        let (name, took) = (series.name(), readable(*took));
        console::note(&format!("{name:6} {release:width$} {took:>12}  {verdict}"));
    }
    let failed: Vec<_> = ended.iter().filter(|ended| !ended.passed()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = failed.iter().map(|ended| ended.series.name()).collect();
    let logs: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    let logs: Vec<_> = logs.iter().map(|log| log.display().to_string()).collect();
    bail!(
        "failed on {} of {} kernels: {}\nlogs: {}",
        failed.len(),
        ended.len(),
        names.join(", "),
        logs.join(", ")
    )
}
