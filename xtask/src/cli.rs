//! The command line. A task with options of its own has them in its own file.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::bench::Bench;
use crate::e2e::E2e;
use crate::{kernels, lint, test};

/// The tasks of this repository. Each installs what it lacks before it starts.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
#[command(after_help = "\
Environment:
  WEIR_CACHE_DIR    where tools are kept [default: $XDG_CACHE_HOME/weir or ~/.cache/weir]
  CARGO_TARGET_DIR  where everything is built [default: target]")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Install everything that any task needs
    ///
    /// Debian packages, components of the pinned Rust toolchain, and tools that are built from
    /// source and kept in the project's own cache folder. What is installed already is left as it
    /// is, so a second run changes nothing. Each task installs what it lacks; this one is for
    /// preparing a machine or an image ahead of time. Kubernetes' own programs are left out: `e2e`
    /// builds them at its first run, which takes some minutes.
    Setup,

    /// Build the released programs: static, for any Linux distribution
    ///
    /// They are linked with musl, checked to need no dynamic loader, and written to
    /// x86_64-unknown-linux-musl/release in the target directory.
    Build,

    /// Make the agent's container image, an OCI archive (as root)
    ///
    /// It holds the released programs and nft from this machine's package, and is written to
    /// image/weir-agent.tar in the target directory. No registry is used.
    Image,

    /// Lint, build, and run all tests, those in network namespaces too (as root)
    ///
    /// Fails, and names what is missing, when it is not run as root or when the kernel lacks what
    /// the tests need: no test is skipped.
    Test(test::Options),

    /// Check formatting, clippy's warnings, the code's structure, and the dependencies
    Lint(lint::Options),

    /// Test on other kernels too, emulated, and on this machine's (as root)
    ///
    /// Boots Debian's kernels with the released programs and the tests that depend on the kernel.
    /// The kernels are fetched once, with apt but separate from this machine's packages, and kept in
    /// the cache folder. Only this machine's kernel needs root: `--kernel` chooses others.
    Kernels(kernels::Options),

    /// Show a cluster of two nodes with a few pods on this machine, and remove it again (as root)
    ///
    /// Arguments go to the demo: `cargo xtask demo -- --help` shows its own.
    Demo {
        /// Arguments for the demo
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },

    /// Attack a cluster of two nodes on this machine, and show what each attacker got (as root)
    ///
    /// Fails if an attacker got something. Arguments go to the program: `cargo xtask attack -- --help`
    /// shows its own.
    Attack {
        /// Arguments for the attackers
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },

    /// Run Weir with Kubernetes' own programs (as root)
    ///
    /// All commands but `api` work on one cluster of real components on this machine, whose nodes
    /// are namespaces: `up` starts it, `run` tests it, `down` removes it.
    #[command(subcommand)]
    E2e(E2e),

    /// Measure Weir against what it replaces (as root)
    #[command(subcommand)]
    Bench(Bench),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::e2e::Passed;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_demo_and_the_benchmarks_get_the_arguments_behind_them() {
        let cli = Cli::try_parse_from(["xtask", "demo", "--pods", "5"]).unwrap();
        let Task::Demo { args } = cli.task else { panic!("{cli:?}") };
        assert_eq!(args, ["--pods", "5"]);

        let cli = Cli::try_parse_from(["xtask", "attack", "--only", "underlay"]).unwrap();
        let Task::Attack { args } = cli.task else { panic!("{cli:?}") };
        assert_eq!(args, ["--only", "underlay"]);

        let cli = Cli::try_parse_from(["xtask", "bench", "cni", "--", "--help"]).unwrap();
        let Task::Bench(Bench::Cni { args }) = cli.task else { panic!("{cli:?}") };
        assert_eq!(args, ["--help"]);

        let cli = Cli::try_parse_from(["xtask", "bench", "overlay", "--", "-o", "json"]).unwrap();
        let Task::Bench(Bench::Overlay { args }) = cli.task else { panic!("{cli:?}") };
        assert_eq!(args, ["-o", "json"]);

        let cli = Cli::try_parse_from(["xtask", "bench", "services", "--only", "connect"]).unwrap();
        let Task::Bench(Bench::Services { args }) = cli.task else { panic!("{cli:?}") };
        assert_eq!(args, ["--only", "connect"]);

        let cli = Cli::try_parse_from(["xtask", "bench", "all", "--quick"]).unwrap();
        let Task::Bench(Bench::All { args }) = cli.task else { panic!("{cli:?}") };
        assert_eq!(args, ["--quick"]);
    }

    #[test]
    fn a_command_of_e2e_gets_all_arguments_behind_it_also_help() {
        let words = ["xtask", "e2e", "exec", "node1", "--", "ip", "-6", "route"];
        let Task::E2e(E2e::Exec(Passed { args })) = Cli::try_parse_from(words).unwrap().task else {
            panic!()
        };
        assert_eq!(args, ["node1", "--", "ip", "-6", "route"]);

        let words = ["xtask", "e2e", "up", "--help"];
        let Task::E2e(E2e::Up(Passed { args })) = Cli::try_parse_from(words).unwrap().task else {
            panic!()
        };
        assert_eq!(args, ["--help"]);
    }

    #[test]
    fn the_test_programs_get_the_arguments_behind_two_dashes() {
        let words = ["xtask", "test", "--no-lint", "-p", "weir-cni", "--", "--nocapture", "store"];
        let Task::Test(test) = Cli::try_parse_from(words).unwrap().task else { panic!() };
        assert!(test.no_lint);
        assert_eq!(test.packages, ["weir-cni"]);
        assert_eq!(test.args, ["--nocapture", "store"]);
    }
}
