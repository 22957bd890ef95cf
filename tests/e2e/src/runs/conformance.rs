//! A page of results, as in docs/conformance/.

use std::fmt::Write;

use super::reasons;
use super::report::{Outcome, Report, Test};
use crate::spec::ClusterSpec;

/// The page in Markdown.
pub(super) fn page(spec: &ClusterSpec, report: &Report) -> String {
    let mut page = format!(
        "# Upstream's network tests\n\n\
         Kubernetes' own `[sig-network]` tests on the cluster of `cargo xtask e2e up`: real \
         components, Weir by its shipped manifests.\n\
         This page is made by `cargo xtask e2e run --report FILE`.\n\n\
         Cluster: {}.\n\n\
         {} passed, {} failed, {} not run.\n",
        describe(spec),
        report.count(Outcome::Passed),
        report.count(Outcome::Failed),
        report.count(Outcome::Skipped),
    );
    section(&mut page, "Failed", Outcome::Failed, "what it said", report, |test| {
        test.message.lines().next().unwrap_or_default().to_owned()
    });
    section(&mut page, "Passed", Outcome::Passed, "took", report, |test| {
        format!("{:.0} s", test.took.as_secs_f64())
    });
    section(&mut page, "Not run", Outcome::Skipped, "why", report, |test| why(test, spec));
    page
}

fn describe(spec: &ClusterSpec) -> String {
    let ClusterSpec { nodes, ip_family, mode, proxy, proxy_mode, cni } = spec;
    format!(
        "{nodes} nodes, {ip_family:?}, pod network {cni:?} ({mode:?}), \
         Services by {proxy:?} ({proxy_mode:?})"
    )
}

fn section(
    page: &mut String,
    title: &str,
    outcome: Outcome,
    column: &str,
    report: &Report,
    remark: impl Fn(&Test) -> String,
) {
    let mut tests = report.tests.iter().filter(|test| test.outcome == outcome).peekable();
    if tests.peek().is_none() {
        return;
    }
    // Writing to a String does not fail.
    let _ = write!(page, "\n## {title}\n\n| test | {column} |\n| --- | --- |\n");
    for test in tests {
        let _ = writeln!(page, "| {} | {} |", cell(&test.name), cell(&remark(test)));
    }
}

/// Why a test did not run: its own message, or the reason that excludes it on this cluster.
fn why(test: &Test, spec: &ClusterSpec) -> String {
    if !test.message.is_empty() {
        return test.message.lines().next().unwrap_or_default().to_owned();
    }
    let mut reasons = reasons::that_hold(spec);
    let found = reasons.find(|reason| test.name.contains(reason.pattern));
    found.map_or("not asked for in this run", |reason| reason.why).to_owned()
}

fn cell(text: &str) -> String {
    text.replace("[sig-network] ", "").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn test(name: &str, outcome: Outcome, message: &str) -> Test {
        let took = Duration::from_secs(7);
        Test { name: format!("[sig-network] {name}"), outcome, took, message: message.to_owned() }
    }

    #[test]
    fn every_test_that_did_not_run_has_a_reason() {
        let spec = ClusterSpec::default();
        let report = Report {
            tests: vec![
                test("DNS a|b", Outcome::Passed, ""),
                test("X [Feature:Ingress] y", Outcome::Skipped, ""),
                test("Z", Outcome::Skipped, "Only supported for providers [gce]\nmore"),
                test("Q", Outcome::Skipped, ""),
            ],
        };
        let page = page(&spec, &report);
        assert!(page.contains("1 passed, 0 failed, 3 not run."));
        assert!(page.contains("| DNS a\\|b | 7 s |"));
        assert!(page.contains("| X [Feature:Ingress] y | wants a cloud's load balancers |"));
        assert!(page.contains("| Z | Only supported for providers [gce] |"));
        assert!(page.contains("| Q | not asked for in this run |"));
        assert!(!page.contains("## Failed"));
    }
}
