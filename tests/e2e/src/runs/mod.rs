//! Runs of upstream's tests: Kubernetes' own e2e.test, driven by ginkgo from the hub.

mod conformance;
pub(crate) mod reasons;
mod report;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::console;
use crate::environment::Environment;
use crate::kubectl::admin_config;
use crate::state::State;
use report::{Outcome, Report};

/// The options of `run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Run {
    /// Run the tests whose names match
    #[arg(long, value_name = "RE", default_value = r"\[sig-network\]")]
    pub(crate) focus: String,
    /// Exclude the tests whose names match, besides those that cannot run here
    #[arg(long, value_name = "RE")]
    pub(crate) skip: Vec<String>,
    /// Tests that run at the same time
    #[arg(long, default_value_t = 4)]
    pub(crate) procs: u8,
    /// Stop after this many minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 40)]
    pub(crate) timeout: u32,
    /// Write the results as a page
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// Runs the tests, prints the results, and gives the number of tests that passed.
///
/// # Errors
/// When a test fails, or none runs.
pub(crate) fn run(environment: &Environment, run: &Run) -> Result<usize> {
    let state = State::load(environment)?;
    let ended = start(environment, &state, run);
    let report = match Report::read(&environment.state()?.join("report/report.json")) {
        Ok(report) => report,
        // Without results, the error of ginkgo explains more.
        Err(error) => return Err(ended.err().unwrap_or(error)),
    };
    if let Some(path) = &run.report {
        let page = conformance::page(&state.spec, &report);
        fs::write(path, page).with_context(|| format!("write {}", path.display()))?;
        console::note(&format!("results: {}", path.display()));
    }
    console::result(&report.summary())?;
    let failed = report.count(Outcome::Failed);
    let passed = report.count(Outcome::Passed);
    ensure!(passed + failed > 0, "no test ran: does --focus match any?");
    if failed > 0 {
        let folder = environment.state()?.join("report");
        bail!("{failed} tests failed; their output is in {}", folder.display());
    }
    ended?;
    Ok(passed)
}

fn start(environment: &Environment, state: &State, run: &Run) -> Result<()> {
    let dir = environment.state()?;
    let results = dir.join("report");
    match fs::remove_dir_all(&results) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context("remove the last results");
        }
        _ => fs::create_dir_all(&results).context("create the folder for results")?,
    }
    let mut ginkgo = state.hub()?.machine.command(environment.tool("ginkgo")?)?;
    ginkgo.args([
        format!("--procs={}", run.procs),
        format!("--timeout={}m", run.timeout),
        format!("--output-dir={}", results.display()),
        format!("--focus={}", run.focus),
    ]);
    ginkgo.args([
        "--no-color",
        "--silence-skips",
        "--json-report=report.json",
        "--junit-report=junit.xml",
    ]);
    let skips = reasons::that_hold(&state.spec).map(|reason| escape_regex(reason.pattern));
    ginkgo.args(skips.chain(run.skip.iter().cloned()).map(|skip| format!("--skip={skip}")));
    ginkgo.arg(environment.tool("e2e.test")?).args(["--", "--provider=skeleton"]);
    ginkgo.arg(format!("--kubeconfig={}", admin_config(dir).display()));
    ginkgo.arg(format!("--kubectl-path={}", environment.tool("kubectl")?.display()));
    ginkgo.args(["--disable-log-dump", "--system-pods-startup-timeout=2m"]);
    let ended = ginkgo.stdin(Stdio::null()).status().context("start ginkgo")?;
    ensure!(ended.success(), "ginkgo: {ended}");
    Ok(())
}

/// A regular expression that matches the text literally.
pub(crate) fn escape_regex(text: &str) -> String {
    let special = |c: char| r"\.+*?()|[]{}^$".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_test_is_matched_literally() {
        assert_eq!(escape_regex("[Feature:X] a.b (c)"), r"\[Feature:X\] a\.b \(c\)");
    }
}
