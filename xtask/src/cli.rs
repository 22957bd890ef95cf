//! The command line.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};

use crate::kernels::Series;

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
    /// source and kept in a cache folder of the project's own. What is there already is left as it
    /// is, so a second run changes nothing. Other tasks install what they lack by themselves; this
    /// one is for preparing a machine or an image ahead of time. Kubernetes' own programs are left
    /// to `e2e`, which builds them for some minutes when it runs first.
    Setup,

    /// Build the released programs: static, for any Linux distribution
    ///
    /// They are linked with musl, checked to need no dynamic loader, and left in
    /// x86_64-unknown-linux-musl/release below the target directory.
    Build,

    /// Make the agent's container image, an OCI archive (as root)
    ///
    /// It holds the released programs and nft from this machine's package, and is left in
    /// image/weir-agent.tar below the target directory. No registry is asked for anything.
    Image,

    /// Lint, build, and run all tests, those in network namespaces too (as root)
    ///
    /// Fails, and names what lacks, when it is not run as root or when the kernel has not what the
    /// tests need: no test is skipped.
    Test(Test),

    /// Check formatting, clippy's warnings, and the dependencies' licences and sources
    Lint(Lint),

    /// Test on other kernels too, emulated, and on this machine's (as root)
    ///
    /// Boots Debian's kernels with the released programs and tests of what depends on the kernel.
    /// They are fetched once, with apt but apart from what it knows of this machine, and kept in
    /// the cache folder. Root is needed for this machine's kernel only: `--kernel` chooses others.
    Kernels(Kernels),

    /// Show a cluster of two nodes with a few pods on this machine, and remove it again (as root)
    ///
    /// Arguments go to the demo: `cargo xtask demo -- --help` shows its own.
    Demo {
        /// Arguments for the demo
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },

    /// Run Weir with Kubernetes' own programs (as root)
    ///
    /// All but `api` are about one cluster of real components on this machine, whose nodes are
    /// namespaces: `up` starts it, `run` tests it, `down` removes it.
    #[command(subcommand)]
    E2e(E2e),

    /// Measure Weir against what it replaces (as root)
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Only the tests of this package; can be given several times
    #[arg(short, long = "package", value_name = "NAME")]
    pub(crate) packages: Vec<String>,

    /// Leave the lints out
    #[arg(long)]
    pub(crate) no_lint: bool,

    /// Arguments for the test programs: a part of a test's name, --nocapture, ...
    #[arg(last = true)]
    pub(crate) args: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Kernels {
    /// Only this kernel; can be given several times
    #[arg(long = "kernel", value_name = "NAME", value_enum)]
    pub(crate) kernels: Vec<Series>,

    /// Say which kernels and tests there are, and do nothing
    #[arg(long)]
    pub(crate) list: bool,

    /// Fetch the newest kernels, also where one is there
    #[arg(long)]
    pub(crate) update: bool,

    /// Fetch from this mirror of Debian and, with `-security` behind it, of its security archive,
    /// instead of from those that this machine's own packages come from
    #[arg(long, value_name = "URI", env = "WEIR_DEBIAN_MIRROR")]
    pub(crate) mirror: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// Format the code, and apply the changes that clippy proposes
    #[arg(long)]
    pub(crate) fix: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum E2e {
    /// Agents that follow a real API server
    ///
    /// Builds etcd, kube-apiserver, kube-controller-manager and kubectl as tests/upstream/go.mod pins
    /// them, once and with Go; that takes some minutes. They run in a network namespace.
    Api {
        /// Arguments for the test program: --nocapture, ...
        #[arg(last = true)]
        args: Vec<OsString>,
    },

    /// Start a cluster on this machine, with Weir as its network
    ///
    /// Builds what it consists of first: Kubernetes' programs as tests/upstream/go.mod pins them
    /// (with Go, for some minutes, once), Weir's, and the container images.
    #[command(disable_help_flag = true)]
    Up(Passed),

    /// Run upstream's [sig-network] tests on the cluster
    #[command(disable_help_flag = true)]
    Run(Passed),

    /// Remove the cluster and all that it left on this machine
    #[command(disable_help_flag = true)]
    Down(Passed),

    /// Run kubectl on the cluster
    #[command(disable_help_flag = true)]
    Kubectl(Passed),

    /// Run a command on a node of the cluster
    #[command(disable_help_flag = true)]
    Exec(Passed),

    /// Compare addresses, links and records on the nodes with the pods that there are
    #[command(disable_help_flag = true)]
    Leaks(Passed),

    /// Start a cluster, run a dozen tests that cover what can break, and remove it, as CI does
    #[command(disable_help_flag = true)]
    Smoke(Passed),

    /// See what goes on when agents, kubelets, containerd or a node go away
    #[command(disable_help_flag = true)]
    Check(Passed),

    /// Create and delete many pods at once, and measure that
    #[command(disable_help_flag = true)]
    Churn(Passed),

    /// Measure how soon a node that boots works, and what its agent takes
    #[command(disable_help_flag = true)]
    Measure(Passed),

    /// Say what runs, and how it is
    #[command(disable_help_flag = true)]
    Status(Passed),
}

/// What is passed on to another program as it is, `--help` too.
#[derive(Debug, Args)]
pub(crate) struct Passed {
    /// Arguments of the command; --help says which
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// All of them, one after the other, on a machine that does nothing else
    ///
    /// Takes some twenty minutes, then puts the tables into docs/benchmarks.md, between markers, and
    /// draws docs/benchmarks-services.svg. `cargo xtask bench all -- --help` shows its arguments.
    All {
        /// Arguments for the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },

    /// ADD and DEL of the CNI plugin against the reference bridge and host-local plugins
    ///
    /// Arguments go to the benchmark: `cargo xtask bench cni -- --help` shows its own.
    Cni {
        /// Arguments for the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },

    /// Services: connections and requests against kube-proxy's rules and a network without any
    ///
    /// Arguments go to the benchmark: `cargo xtask bench services -- --help` shows its own.
    Services {
        /// Arguments for the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },

    /// The agent's overlay: start, changes, repair, and traffic against flannel's entries
    ///
    /// Arguments go to the benchmark: `cargo xtask bench overlay -- --help` shows its own.
    Overlay {
        /// Arguments for the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_demo_belongs_to_the_demo() {
        let cli = Cli::try_parse_from(["xtask", "demo", "--pods", "5"]).unwrap();
        let Task::Demo { args } = cli.task else { panic!("{cli:?}") };
        assert_eq!(args, ["--pods", "5"]);

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
    fn what_follows_a_command_of_e2e_is_passed_on_also_a_call_for_help() {
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
    fn what_follows_two_dashes_belongs_to_the_test_programs() {
        let words = ["xtask", "test", "--no-lint", "-p", "weir-cni", "--", "--nocapture", "store"];
        let Task::Test(test) = Cli::try_parse_from(words).unwrap().task else { panic!() };
        assert!(test.no_lint);
        assert_eq!(test.packages, ["weir-cni"]);
        assert_eq!(test.args, ["--nocapture", "store"]);
    }
}
