//! What Services become, in small examples: each file `golden/NAME.yaml` has the objects of a
//! cluster, and `golden/NAME.tables` has the tables that `node1` must make of them.
//!
//! A YAML file begins with a sentence on the behaviour that it shows, and with the number of that
//! behaviour in `docs/services.md`. These comment lines have a meaning:
//!
//! - `# Agent option: --masquerade-all` sets this option.
//! - `# Node address: IP` binds an address on `node1`.
//! - `# Then: TEXT` begins a later state of the cluster. Its objects are added to those above, and
//!   replace objects of the same name.
//!
//! `UPDATE=1 cargo test -p weir-cluster --test golden` writes the `.tables` files anew. Read the
//! changes before you commit them.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use weir_cluster::manifest::Manifest;
use weir_model::Snapshot;
use weir_services::allocator::{Allocator, Capacity};
use weir_services::compile::NodeContext;
use weir_services::engine::Engine;
use weir_services::tables::{Backend, Frontend, FrontendKey, FrontendPolicy, Scope, Tables};

const CAPACITY: Capacity = Capacity { frontends: 1000, backends: 1000, slots: 1000 };
const THEN: &str = "# Then: ";

#[test]
fn services_become_the_expected_tables() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut failures = Vec::new();
    for yaml in files("yaml") {
        let found = tables_of(&fs::read_to_string(&yaml).unwrap());
        let path = yaml.with_extension("tables");
        if update {
            fs::write(&path, &found).unwrap();
            continue;
        }
        let name = yaml.file_stem().unwrap().to_string_lossy();
        match fs::read_to_string(&path) {
            Ok(expected) if expected == found => {}
            Ok(expected) => failures.push(format!("{name}:\n{}", line_diff(&expected, &found))),
            Err(error) => failures.push(format!("{name}.tables: {error}")),
        }
    }
    assert!(failures.is_empty(), "(- expected, + found)\n{}", failures.join("\n"));
}

#[test]
fn every_example_says_what_it_shows_and_no_tables_are_left_over() {
    let stems = |extension| -> BTreeSet<PathBuf> {
        files(extension).iter().map(|path| path.with_extension("")).collect()
    };
    let left_over: Vec<_> = stems("tables").difference(&stems("yaml")).cloned().collect();
    assert_eq!(left_over, [""; 0].map(PathBuf::from));
    for yaml in files("yaml") {
        let text = fs::read_to_string(&yaml).unwrap();
        let is_comment = |line: &&str| line.starts_with("# ") && !line.starts_with(THEN);
        let head: Vec<&str> = text.lines().take_while(is_comment).collect();
        let sentence = head.join(" ");
        let reference = sentence.split("(docs/services.md ").nth(1).unwrap_or_default();
        assert!(reference.starts_with(|first: char| first.is_ascii_digit()), "{}", yaml.display());
    }
}

fn files(extension: &str) -> BTreeSet<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

/// The tables after each state of the cluster, as text.
fn tables_of(yaml: &str) -> String {
    let mut engine = engine(yaml);
    let mut all = String::new();
    let mut text = String::new();
    for (number, state) in yaml.split(THEN).enumerate() {
        // What follows the marker on its line is a sentence.
        let (sentence, objects) =
            if number == 0 { ("", state) } else { state.split_once('\n').unwrap() };
        if number > 0 {
            write!(text, "\nthen: {sentence}\n\n").unwrap();
        }
        // An object that is written again has changed.
        all = format!("{objects}\n---\n{all}");
        engine.update(&snapshot(&all), Instant::now());
        text += &dump(&engine);
    }
    text
}

/// An engine for `node1` with the options in the comments.
fn engine(yaml: &str) -> Engine {
    let values = |key: &'static str| yaml.lines().filter_map(move |line| line.strip_prefix(key));
    let context = NodeContext {
        masquerade_all: values("# Agent option: ").any(|option| option == "--masquerade-all"),
        bound_addresses: values("# Node address: ").map(|ip| ip.parse().unwrap()).collect(),
    };
    Engine::new("node1", context, Allocator::new(CAPACITY, 0))
}

/// The cluster that has these objects. Of several definitions of an object the first counts.
fn snapshot(objects: &str) -> Snapshot {
    let manifest = Manifest::parse(objects.as_bytes());
    assert_eq!(manifest.problems, [], "the objects must be valid");
    manifest.snapshot()
}

fn dump(engine: &Engine) -> String {
    let tables = engine.allocator().tables();
    let mut text = String::from("frontends\n");
    for (key, frontend) in &tables.frontends {
        writeln!(text, "  {}", frontend_line(key, frontend, &tables)).unwrap();
    }
    text += "backends\n";
    let backends: BTreeSet<String> = tables.backends.values().map(backend_line).collect();
    for line in backends {
        writeln!(text, "  {line}").unwrap();
    }
    let problems: BTreeMap<_, _> = engine.allocator().problems().collect();
    for (service, problem) in problems {
        writeln!(text, "problem of {service}: {problem}").unwrap();
    }
    text
}

fn frontend_line(key: &FrontendKey, frontend: &Frontend, tables: &Tables) -> String {
    let FrontendKey { ip, port, scope } = *key;
    let scope = match scope {
        Scope::Internal => "",
        Scope::External => "external ",
    };
    let destination = match port {
        Some(_) => key.to_string(),
        None => format!("{ip} other ports"),
    };
    let FrontendPolicy { affinity, drop_if_empty, local_set, masquerade } = frontend.value.policy;
    let flags: Vec<String> = [
        (affinity > 0).then(|| format!("affinity {affinity} s")),
        local_set.then(|| "local set".to_owned()),
        drop_if_empty.then(|| "drop if empty".to_owned()),
        masquerade.then(|| "masquerade".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let flags = if flags.is_empty() { String::new() } else { format!(" [{}]", flags.join(", ")) };
    let mut backends: Vec<SocketAddr> = frontend
        .slots
        .iter()
        .map(|id| tables.backends[id])
        .map(|backend| SocketAddr::new(backend.ip, backend.port))
        .collect();
    backends.sort_unstable();
    let backends: Vec<String> = backends.iter().map(ToString::to_string).collect();
    let result = match (backends.is_empty(), drop_if_empty) {
        (true, true) => "drop".to_owned(),
        (true, false) => "reject".to_owned(),
        (false, _) => backends.join(", "),
    };
    format!("{scope}{destination}{flags} -> {result}")
}

fn backend_line(backend: &Backend) -> String {
    let Backend { ip, port, serving, in_cluster_set, in_local_set } = *backend;
    let new_flows = match (in_cluster_set, in_local_set) {
        (true, true) => "in the cluster set and in the local set",
        (true, false) => "in the cluster set",
        (false, true) => "in the local set",
        (false, false) => "in no set: no new flows",
    };
    let serving = if serving { "serving" } else { "not serving" };
    format!("{} {serving}, {new_flows}", SocketAddr::new(ip, port))
}

/// The lines that differ, in the order of the files.
fn line_diff(expected: &str, found: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    // The length of the longest common subsequence of the lines from `i` and from `j` on.
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut diff) = (0, 0, String::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            diff += &format!("- {}\n", old[i]);
            i += 1;
        } else {
            diff += &format!("+ {}\n", new[j]);
            j += 1;
        }
    }
    diff
}
