//! All benchmarks one after the other, with their tables in a page of documentation.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use k8s_openapi::jiff::Timestamp;

use crate::page;

/// All benchmarks one after the other, with their tables written into a page
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The benchmarks to run
    #[arg(
        long,
        value_enum,
        value_name = "SUBJECT",
        value_delimiter = ',',
        default_value = "cni,overlay,services"
    )]
    only: Vec<Subject>,

    /// Page whose text between `<!-- SUBJECT: generated -->` and `<!-- SUBJECT: end -->` is
    /// replaced by the subject's tables once all have been measured [default: only print them]
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,

    /// Draw the rate of connections over the number of Services into this file, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// Measure for a minute or two only, to see that everything works
    #[arg(long)]
    quick: bool,
}

/// A benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// The CNI plugin
    Cni,
    /// The overlay
    Overlay,
    /// Services
    Services,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Cni => "cni",
            Self::Overlay => "overlay",
            Self::Services => "services",
        }
    }

    fn quick_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Cni => &["--samples", "100", "--pods", "0"],
            Self::Overlay => {
                &["--peers", "100", "--starts", "1", "-n", "10", "--turns", "1", "--seconds", "1"]
            }
            Self::Services => &[
                "--services=1,1000",
                "--rounds=1",
                "--milliseconds=100",
                "--sizes=1000x10",
                "--starts=1",
                "--changes=10",
                "--churn=5",
            ],
        }
    }
}

/// Measures, prints the tables, and writes the page.
pub(crate) fn measure(options: &Options) -> Result<()> {
    let names: Vec<_> = options.only.iter().map(|subject| subject.name()).collect();
    if let Some(file) = &options.page {
        page::check(file, &names)?;
    }
    let mut parts = Vec::new();
    for subject in &options.only {
        let tables = run(*subject, options)?;
        println!("{tables}");
        let measured = Timestamp::now().strftime("%-d %B %Y");
        parts.push((subject.name(), format!("Measured on {measured}: {tables}")));
    }
    match &options.page {
        Some(file) => page::update(file, &parts),
        None => Ok(()),
    }
}

/// Runs a benchmark in a process of its own, so that its memory and its processor affinity do not
/// affect the next one.
fn run(subject: Subject, options: &Options) -> Result<String> {
    let mut command = Command::new(env::current_exe().context("find this program")?);
    command.arg(subject.name()).stdout(Stdio::piped());
    if options.quick {
        command.args(subject.quick_arguments());
    }
    if let (Subject::Services, Some(file)) = (subject, &options.plot) {
        command.arg("--plot").arg(file);
    }
    let ended = command.spawn().and_then(std::process::Child::wait_with_output);
    let ended = ended.with_context(|| format!("run the benchmark {}", subject.name()))?;
    ensure!(ended.status.success(), "the benchmark {} failed", subject.name());
    String::from_utf8(ended.stdout).context("the tables are not UTF-8")
}
