//! What is tested on each kernel: tests that depend on what the kernel has and how it behaves, and
//! those that show a cluster at work. The rest of the tests is about Weir alone.
//!
//! Processes of a lab's nodes are left to the data path's suite, which knows what kernels before 5.14
//! cannot do: tell a namespace, other than the machine's first, that it is the node's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use xtask::released::TARGET;
use xtask::{command, console};

use serde_json::Value;

/// Some tests of a test program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    /// The package, and its folder in the repository.
    package: (&'static str, &'static str),
    /// The program's name in the package.
    target: &'static str,
    /// Modules and tests, by their whole names.
    tests: &'static [&'static str],
    /// Those of them that say most about a kernel in little time.
    quick: &'static [&'static str],
}

/// How much is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// All tests of the suites.
    All,
    /// Only what says most about a kernel in little time.
    Quick,
}

pub(crate) const SUITES: &[Suite] = &[
    Suite {
        name: "datapath",
        package: ("weir-datapath", "datapath"),
        target: "kernel",
        tests: &[
            "attachment::",
            "batch::",
            "cluster_ip::a_pod_reaches_a_backend_of_its_node_by_ipv4",
            "cluster_ip::the_verifier_looks_at_few_instructions",
            "lifetimes::either_direction_keeps_a_flow_of_datagrams",
            "lifetimes::established_connections_outlive_a_flood_of_syns_by_ipv6",
            "lifetimes::a_syn_on_a_live_connection_goes_to_its_backend_and_takes_nothing_over_by_ipv4",
            "firewall::nothing_is_invalid_to_conntrack_by_ipv6",
            "fragments::fragments_pass_both_ways_by_ipv6",
            "hairpin::a_pod_reaches_itself_through_its_service_by_ipv4",
            "refusal::a_service_without_backends_refuses_at_once_by_ipv6",
            "remote::a_pod_reaches_a_backend_of_another_node_past_the_stack_by_ipv4",
            "remote::a_pod_reaches_a_backend_of_another_node_past_the_stack_by_ipv6",
            "renewal::connections_by_one_port_have_the_entries_of_one_and_choose_freely_by_ipv6",
            "sockets::a_process_of_the_node_is_refused_where_nobody_listens",
            "sockets::a_process_of_the_node_reaches_a_backend_by_ipv4",
            "source::",
            "trial::",
        ],
        // Each of them loads all programs, which takes an emulated machine the better part of a minute.
        quick: &[
            "batch::every_slot_is_read_in_its_place",
            "fragments::fragments_pass_both_ways_by_ipv6",
            "remote::a_pod_reaches_a_backend_of_another_node_past_the_stack_by_ipv4",
            "sockets::a_process_of_the_node_reaches_a_backend_by_ipv4",
            "source::an_arp_message_names_the_pod_that_sends_it",
        ],
    },
    Suite {
        name: "plugin",
        package: ("weir-tests", "tests"),
        target: "system",
        tests: &[
            "bridge::",
            "check::check_names_damage_in_the_pod",
            "check::check_names_damage_on_the_node",
            "del::del_succeeds_without_the_namespace",
            "gc::gc_removes_an_interface_without_reservation_and_record",
            "gc::gc_keeps_valid_attachments_and_removes_the_others",
            "kernel_state::",
            "macs::",
            "neighbours::",
            "routes::",
            "traffic::",
        ],
        quick: &["bridge::", "kernel_state::", "traffic::"],
    },
    Suite {
        name: "cluster",
        package: ("weir-tests", "tests"),
        target: "cluster",
        tests: &[
            "bridge_entries::the_bridges_own_entry_is_restored_at_once",
            "cleanup::cleanup_removes_everything_of_weir_and_nothing_else",
            "cli::trace::",
            "device::the_tunnel_device_has_the_documented_settings_and_does_not_learn",
            "device::a_deleted_tunnel_device_is_restored",
            "masquerade::machines_outside_of_the_cluster_see_pods_with_their_nodes_address",
            "offload::",
            "connectivity::dual_stack_pods_talk_by_routes",
            "connectivity::dual_stack_pods_talk_through_a_tunnel_over_ipv4",
            "services::dual_stack_pods_reach_a_service_in_both_families_through_a_tunnel",
            "services::external_client::",
            "services::rejection::the_agent_logs_refused_packets_if_configured",
        ],
        quick: &[
            "masquerade::machines_outside_of_the_cluster_see_pods_with_their_nodes_address",
            "offload::without_the_flag_the_agent_keeps_the_offload_setting_of_a_correct_kernel",
            "services::dual_stack_pods_reach_a_service_in_both_families_through_a_tunnel",
            "services::external_client::a_machine_outside_of_the_cluster_reaches_services_through_a_node",
        ],
    },
];

/// A suite with the program that was built for it.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) suite: &'static Suite,
    depth: Depth,
    pub(crate) file: PathBuf,
}

impl Program {
    /// Arguments of the test program. One test at a time: a guest has one processor.
    pub(crate) fn arguments(&self) -> Vec<&'static str> {
        self.suite.arguments(self.depth)
    }
}

impl Suite {
    fn arguments(&self, depth: Depth) -> Vec<&'static str> {
        let tests = match depth {
            Depth::All => self.tests,
            Depth::Quick => self.quick,
        };
        [&["--test-threads=1"], tests].concat()
    }
}

/// Builds the test programs, static as the released ones, so that they need nothing of a guest.
pub(crate) fn build(repository: &Path, depth: Depth) -> Result<Vec<Program>> {
    let mut cargo = command::cargo();
    cargo.args([
        "test",
        "--no-run",
        "--target",
        TARGET,
        "--message-format=json-render-diagnostics",
    ]);
    cargo.current_dir(repository);
    for suite in SUITES {
        cargo.args(["--package", suite.package.0, "--test", suite.target]);
    }
    console::echo(&cargo);
    let messages = command::output(&mut cargo)?;
    let programs = SUITES.iter().map(|suite| {
        let (package, folder) = suite.package;
        let manifest = repository.join(folder).join("Cargo.toml");
        let file = executable(&messages, &manifest, suite.target)
            .with_context(|| format!("cargo built no test {} of {package}", suite.target))?;
        demand_tests(suite, &file)?;
        Ok(Program { suite, depth, file })
    });
    programs.collect()
}

/// Where cargo says that it left the test program of a package.
fn executable(messages: &str, manifest: &Path, target: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut messages = messages.filter(|message| {
        let built = &message["target"];
        built["kind"][0] == "test"
            && built["name"] == target
            && message["manifest_path"].as_str().map(Path::new) == Some(manifest)
    });
    Some(messages.next()?["executable"].as_str()?.into())
}

/// Fails unless each name of the suite is that of a test: one that is misspelt would never fail.
fn demand_tests(suite: &Suite, program: &Path) -> Result<()> {
    let listing = command::output(Command::new(program).arg("--list"))?;
    match unknown(&listing, &[suite.tests, suite.quick].concat()) {
        None => Ok(()),
        Some(name) => bail!("the suite {} names {name}, which is not a test", suite.name),
    }
}

/// A name that is not in what a test program lists.
fn unknown(listing: &str, names: &[&'static str]) -> Option<&'static str> {
    let tests: Vec<_> = listing.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let is_there = |name: &str| match name.ends_with("::") {
        true => tests.iter().any(|test| test.starts_with(name)),
        false => tests.contains(&name),
    };
    names.iter().copied().find(|name| !is_there(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_test_is_found() {
        let listing = "gc::nothing_to_do: test\nroutes::one: test\n\n2 tests, 0 benchmarks\n";
        assert_eq!(unknown(listing, &["gc::nothing_to_do", "routes::"]), None);
        assert_eq!(unknown(listing, &["gc::nothing", "routes::"]), Some("gc::nothing"));
        assert_eq!(unknown(listing, &["route::"]), Some("route::"));
        assert_eq!(unknown(listing, &[]), None);
    }

    #[test]
    fn the_program_of_the_package_is_taken_and_not_a_namesake() {
        let of = |manifest: &str, kind: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"{manifest}","executable":"{file}",
                   "target":{{"kind":["{kind}"],"name":"kernel"}}}}"#
            )
            .replace('\n', "")
        };
        let messages = [
            "no JSON".to_owned(),
            of("/w/other/Cargo.toml", "test", "/t/other"),
            of("/w/datapath/Cargo.toml", "bin", "/t/bin"),
            of("/w/datapath/Cargo.toml", "test", "/t/kernel"),
        ];
        let manifest = Path::new("/w/datapath/Cargo.toml");
        let file = executable(&messages.join("\n"), manifest, "kernel");
        assert_eq!(file.as_deref(), Some(Path::new("/t/kernel")));
        assert_eq!(executable(&messages.join("\n"), manifest, "system"), None);
    }

    #[test]
    fn every_quick_test_is_one_of_all() {
        for suite in SUITES {
            let is_there = |quick: &&&str| suite.tests.iter().any(|test| quick.starts_with(test));
            let quick: Vec<_> = suite.quick.iter().collect();
            let of_all: Vec<_> = suite.quick.iter().filter(is_there).collect();
            assert_eq!(of_all, quick, "{}", suite.name);
        }
    }

    #[test]
    fn names_of_suites_and_tests_have_no_spaces() {
        for suite in SUITES {
            let words =
                [&[suite.name], &*suite.arguments(Depth::All), &*suite.arguments(Depth::Quick)]
                    .concat();
            assert!(words.iter().all(|word| !word.contains(char::is_whitespace)), "{suite:?}");
            assert_eq!(SUITES.iter().filter(|other| other.name == suite.name).count(), 1);
        }
    }
}
