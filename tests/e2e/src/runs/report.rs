//! Ginkgo's report.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::Table;
use serde::Deserialize;

use crate::console::seconds;

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// A test of upstream.
#[derive(Clone, Debug)]
pub(super) struct Test {
    /// Its whole name.
    pub(super) name: String,
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
    /// Its message when it failed or skipped itself.
    pub(super) message: String,
}

/// The results of the network tests.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) tests: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    #[serde(default)]
    spec_reports: Option<Vec<Spec>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    #[serde(default)]
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    #[serde(default)]
    leaf_node_text: String,
    state: String,
    /// In nanoseconds.
    #[serde(default)]
    run_time: u64,
    #[serde(default)]
    failure: Failure,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    #[serde(default)]
    message: String,
}

impl Report {
    /// Reads the report.
    ///
    /// # Errors
    /// When there is none, because no test started.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("there are no results in {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("read {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let suites: Vec<Suite> = serde_json::from_str(text)?;
        let specs = suites.into_iter().flat_map(|suite| suite.spec_reports.unwrap_or_default());
        let mut tests: Vec<_> = specs.filter_map(test).collect();
        tests.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { tests })
    }

    /// The number of tests with this outcome.
    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.tests.iter().filter(|test| test.outcome == outcome).count()
    }

    /// A table of the tests that ran.
    pub(super) fn summary(&self) -> String {
        let mut table = Table::new();
        table.set_header(["result", "took", "test"]);
        for test in self.tests.iter().filter(|test| test.outcome != Outcome::Skipped) {
            table.add_row([test.outcome.word(), &seconds(test.took), &test.name]);
        }
        format!(
            "{table}\n{} passed, {} failed, {} not run",
            self.count(Outcome::Passed),
            self.count(Outcome::Failed),
            self.count(Outcome::Skipped)
        )
    }
}

impl Outcome {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "not run",
        }
    }
}

/// The result of a network test. A failed preparation of the suite counts as a failed test.
fn test(spec: Spec) -> Option<Test> {
    let outcome = match spec.state.as_str() {
        "passed" => Outcome::Passed,
        "skipped" | "pending" => Outcome::Skipped,
        _ => Outcome::Failed,
    };
    let mut words = spec.container_hierarchy_texts.unwrap_or_default();
    words.push(spec.leaf_node_text);
    let name = words.join(" ");
    let is_test = spec.leaf_node_type == "It" && name.contains("[sig-network]");
    let is_preparation = spec.leaf_node_type != "It" && outcome == Outcome::Failed;
    if !is_test && !is_preparation {
        return None;
    }
    let name = if name.trim().is_empty() { spec.leaf_node_type } else { name };
    let took = Duration::from_nanos(spec.run_time);
    Some(Test { name, outcome, took, message: spec.failure.message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_tests_are_read_and_others_are_left_out() {
        let text = r#"[{"SpecReports": [
            {"ContainerHierarchyTexts": ["[sig-network] DNS"], "LeafNodeType": "It",
             "LeafNodeText": "should work", "State": "passed", "RunTime": 1500000000},
            {"ContainerHierarchyTexts": ["[sig-apps] Job"], "LeafNodeType": "It",
             "LeafNodeText": "should run", "State": "failed", "RunTime": 1},
            {"ContainerHierarchyTexts": ["[sig-network] Services"], "LeafNodeType": "It",
             "LeafNodeText": "should skip", "State": "skipped", "RunTime": 0,
             "Failure": {"Message": "wants a cloud"}},
            {"ContainerHierarchyTexts": null, "LeafNodeType": "ReportBeforeSuite",
             "LeafNodeText": "", "State": "passed"},
            {"ContainerHierarchyTexts": null, "LeafNodeType": "SynchronizedBeforeSuite",
             "LeafNodeText": "", "State": "timedout"}
        ]}, {"SpecReports": null}]"#;
        let report = Report::parse(text).unwrap();
        let names: Vec<_> = report.tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "SynchronizedBeforeSuite",
                "[sig-network] DNS should work",
                "[sig-network] Services should skip"
            ]
        );
        assert_eq!(report.tests[1].took, Duration::from_millis(1500));
        assert_eq!(report.count(Outcome::Failed), 1);
        assert!(report.summary().ends_with("1 passed, 1 failed, 1 not run"));
    }
}
