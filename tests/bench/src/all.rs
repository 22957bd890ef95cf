//! One benchmark after the other, and the page that tells their figures.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use k8s_openapi::jiff::Timestamp;

use crate::page;

/// All benchmarks, one after the other, with their tables put into a page
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Which of them
    #[arg(
        long,
        value_enum,
        value_name = "SUBJECT",
        value_delimiter = ',',
        default_value = "cni,overlay,services"
    )]
    only: Vec<Subject>,

    /// The page with `<!-- SUBJECT: generated -->` and `<!-- SUBJECT: end -->`, between which a
    /// subject's tables go once all have been measured; else they are only printed
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,

    /// Where to draw the rate of connections over the number of Services, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// Measure so little that it takes a minute or two: to see that it works
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

    fn quickly(self) -> &'static [&'static str] {
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

/// Measures, prints, and writes the page.
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

/// In a process of its own: what one leaves in this one's memory, or where it lets it run, is none
/// of the next one's.
fn run(subject: Subject, options: &Options) -> Result<String> {
    let mut command = Command::new(env::current_exe().context("find this program")?);
    command.arg(subject.name()).stdout(Stdio::piped());
    if options.quick {
        command.args(subject.quickly());
    }
    if let (Subject::Services, Some(file)) = (subject, &options.plot) {
        command.arg("--plot").arg(file);
    }
    let ended = command.spawn().and_then(std::process::Child::wait_with_output);
    let ended = ended.with_context(|| format!("run the benchmark {}", subject.name()))?;
    ensure!(ended.status.success(), "the benchmark {} failed", subject.name());
    String::from_utf8(ended.stdout).context("its tables are no UTF-8")
}
