//! Pod churn: many pods are created at once and deleted again, in some rounds.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use comfy_table::Table;
use serde::Serialize;
use serde_json::{Value, json};

use crate::console::{self, step};
use crate::environment::Environment;
use crate::kubectl::{Kubectl, condition};
use crate::leaks;
use crate::state::State;
use crate::wait;

const NAMESPACE: &str = "weir-churn";
const TIMEOUT: Duration = Duration::from_secs(300);

/// The options of `churn`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Churn {
    /// Pods that are created at once and deleted at once
    #[arg(long, default_value_t = 50)]
    pods: u32,
    /// Rounds of creating and deleting them
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The times of a round, in seconds.
#[derive(Debug, Serialize)]
struct Round {
    ready: f64,
    gone: f64,
}

/// The times of all rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    cni: String,
    pods: u32,
    rounds: Vec<Round>,
}

impl Outcome {
    /// The number of pods of all rounds.
    pub(crate) fn total(&self) -> u32 {
        (1..).zip(&self.rounds).last().map_or(0, |(rounds, _)| rounds) * self.pods
    }
}

/// Measures the rounds, prints the times, and checks that the pods left nothing behind.
///
/// # Errors
/// When a pod does not get Ready, or leaves something behind.
pub(crate) fn run(environment: &Environment, churn: &Churn) -> Result<()> {
    let state = State::load(environment)?;
    let kubectl = Kubectl::new(environment, &state)?;
    let outcome = measure(&kubectl, &state, churn.pods, churn.rounds)?;
    step("find leftovers of pods", || leaks::ensure_none(environment, &state))?;
    console::result(&if churn.json { serde_json::to_string(&outcome)? } else { table(&outcome) })
}

/// Measures the rounds, without looking for leftovers.
///
/// # Errors
/// When a pod does not get Ready, or is not deleted.
pub(crate) fn measure(kubectl: &Kubectl, state: &State, pods: u32, rounds: u32) -> Result<Outcome> {
    let outcome = all_rounds(kubectl, state, pods, rounds);
    let removed = kubectl.run(&["delete", "namespace", NAMESPACE, "--ignore-not-found"]);
    let outcome = outcome?;
    removed?;
    Ok(outcome)
}

fn all_rounds(kubectl: &Kubectl, state: &State, pods: u32, count: u32) -> Result<Outcome> {
    kubectl
        .apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}"))?;
    // Pods need the ServiceAccount of their namespace.
    wait::until("the namespace is ready", TIMEOUT, || {
        kubectl.run(&["-n", NAMESPACE, "get", "serviceaccount", "default"])
    })?;
    let mut rounds = Vec::new();
    for number in 1..=count {
        let title = format!("round {number}: {pods} pods");
        rounds.push(step(&title, || round(kubectl, pods))?);
    }
    Ok(Outcome { cni: format!("{:?}", state.spec.cni), pods, rounds })
}

fn round(kubectl: &Kubectl, count: u32) -> Result<Round> {
    let start = Instant::now();
    let items: Vec<_> = (0..count).map(pod).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    kubectl.apply(&list.to_string())?;
    wait::until("all pods are Ready", TIMEOUT, || {
        let pods = kubectl.list(&["-n", NAMESPACE, "pods"])?;
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        ensure!(ready == pods.len(), "{ready} of {} are Ready", pods.len());
        Ok(())
    })?;
    let ready = start.elapsed();
    let start = Instant::now();
    kubectl.run(&["-n", NAMESPACE, "delete", "pods", "--all", "--wait=true"])?;
    Ok(Round { ready: ready.as_secs_f64(), gone: start.elapsed().as_secs_f64() })
}

fn pod(number: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("churn-{number}"), "namespace": NAMESPACE},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "pause", "image": "localhost/weir-e2e/pause:1"}],
        },
    })
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// A table for people.
pub(crate) fn table(outcome: &Outcome) -> String {
    let mut table = Table::new();
    table.set_header(["round", "all Ready", "per pod", "all gone", "per pod"]);
    let per_pod = |seconds: f64| format!("{:.0} ms", seconds * 1000.0 / f64::from(outcome.pods));
    for (number, Round { ready, gone }) in (1..).zip(&outcome.rounds) {
        table.add_row([
            format!("{number}"),
            format!("{ready:.1} s"),
            per_pod(*ready),
            format!("{gone:.1} s"),
            per_pod(*gone),
        ]);
    }
    format!("{} pods at once, {}\n{table}", outcome.pods, outcome.cni)
}
