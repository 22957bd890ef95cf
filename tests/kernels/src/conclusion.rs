//! How the tests ended on each kernel, and how that is shown.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use xtask::console::{self, readable};

use crate::guest::Logs;
use crate::series::Series;
use crate::suites::{SUITES, Suite};
use crate::verdict::{self, Outcome};

/// The last lines of a log that are shown of a failure.
const SHOWN: usize = 60;

/// How the suites ended on one kernel.
#[derive(Debug)]
pub(crate) struct Conclusion {
    series: Series,
    release: String,
    outcomes: Vec<(&'static Suite, Outcome)>,
    took: Duration,
}

impl Conclusion {
    /// Judges a kernel by its logs, and shows the end of them if a suite failed.
    pub(crate) fn of(series: Series, release: &str, start: Instant, logs: &Logs) -> Self {
        let outcomes: Vec<_> =
            SUITES.iter().map(|suite| (suite, verdict::of(suite, &logs.suites))).collect();
        let conclusion =
            Self { series, release: release.to_owned(), outcomes, took: start.elapsed() };
        console::note(&format!(
            "{release}: {}, {}",
            conclusion.verdict(),
            readable(conclusion.took)
        ));
        // The first failure matters most: when a kernel ends, the suites behind it do not start.
        let failed = conclusion.outcomes.iter().find(|(_, outcome)| *outcome != Outcome::Passed);
        if let Some((suite, _)) = failed {
            show(&format!("{}, {release}", suite.name), &verdict::output(suite, &logs.suites));
            show(&format!("kernel messages, {release}"), &logs.console.lines().collect::<Vec<_>>());
        }
        conclusion
    }

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

fn show(title: &str, lines: &[&str]) {
    console::note(&format!("---- {title} ----"));
    for line in lines.iter().skip(lines.len().saturating_sub(SHOWN)) {
        console::note(line.trim_end());
    }
}

/// Shows the table of all kernels.
///
/// # Errors
/// When a suite failed on one of them.
pub(crate) fn report(conclusions: &[Conclusion], folder: &Path) -> Result<()> {
    let width = conclusions.iter().map(|one| one.release.len()).max().unwrap_or(0);
    for conclusion in conclusions {
        let Conclusion { series, release, took, .. } = conclusion;
        let (name, took, verdict) = (series.name(), readable(*took), conclusion.verdict());
        console::note(&format!("{name:6} {release:width$} {took:>12}  {verdict}"));
    }
    let failed: Vec<_> = conclusions.iter().filter(|one| !one.passed()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = failed.iter().map(|one| one.series.name()).collect();
    let logs: Vec<_> = names.iter().map(|name| folder.join(name).display().to_string()).collect();
    bail!(
        "failed on {} of {} kernels: {}\nlogs: {}",
        failed.len(),
        conclusions.len(),
        names.join(", "),
        logs.join(", ")
    )
}
