//! The smoke test: makes a cluster, tests the pod network, DNS and Services on it, and ends it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cluster;
use crate::console::{note, step};
use crate::environment::Environment;
use crate::kubectl::Kubectl;
use crate::leaks;
use crate::pods::Pods;
use crate::runs::{self, Run};
use crate::spec::ClusterSpec;
use crate::state::State;
use crate::wait;

/// A dozen of upstream's tests that cover pod network, DNS and Services in two minutes.
const TESTS: [&str; 12] = [
    "Granular Checks: Pods should function for intra-pod communication: http",
    "Granular Checks: Pods should function for intra-pod communication: udp",
    "Granular Checks: Pods should function for node-pod communication: http",
    "Granular Checks: Pods should function for node-pod communication: udp",
    "NoSNAT Should be able to send traffic between Pods without SNAT",
    "DNS should provide DNS for the cluster [Conformance]",
    "DNS should provide DNS for services [Conformance]",
    "DNS should provide DNS for pods for Hostname",
    "API Server should provide secure master service",
    "Services should serve a basic endpoint from pods",
    "Services should have session affinity work for service with type clusterIP [LinuxOnly]",
    "EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service",
];
const TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the smoke test. Making the cluster is tried twice, a failed test is not repeated.
///
/// # Errors
/// When the cluster cannot be made or a test fails. The cluster is ended in any case.
pub(crate) fn run(environment: &Environment, spec: ClusterSpec) -> Result<()> {
    if let Err(error) = cluster::up(environment, spec) {
        note(&format!("the cluster did not come up: {error:#}"));
        cluster::down(environment)?;
        note("trying once more");
        if let Err(error) = cluster::up(environment, spec) {
            cluster::down(environment)?;
            return Err(error);
        }
    }
    let tested = test(environment);
    let ended = cluster::down(environment);
    tested.and(ended)
}

fn test(environment: &Environment) -> Result<()> {
    let state = State::load(environment)?;
    step("resolve names in pods on every node", || resolve(environment, &state))?;
    let focus: Vec<_> = TESTS.iter().map(|test| runs::escape_regex(test)).collect();
    let run = Run { focus: focus.join("|"), skip: Vec::new(), procs: 4, timeout: 10, report: None };
    let passed =
        runs::run(environment, &run).with_context(|| cluster::diagnostics(environment, &state))?;
    ensure!(passed >= TESTS.len(), "only {passed} tests ran: upstream has renamed some");
    step("find leftovers of pods", || leaks::ensure_none(environment, &state))
}

fn resolve(environment: &Environment, state: &State) -> Result<()> {
    let pods = Pods::new(Kubectl::new(environment, state)?, state)?;
    for node in &state.nodes {
        pods.create(&format!("on-{}", node.name()), node.name(), &["sleep", "600"])?;
    }
    for node in &state.nodes {
        let name = format!("on-{}", node.name());
        pods.ready(&name)?;
        wait::until("a name is resolved", TIMEOUT, || {
            pods.exec(&name, &["nslookup", "kubernetes.default.svc.cluster.local"])
        })
        .with_context(|| format!("from a pod on {}", node.name()))?;
    }
    pods.clear()
}
