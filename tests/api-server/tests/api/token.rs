//! What somebody can do who has stolen an agent's token.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_api_tests::{ADDRESS, TestCluster};
use weir_tests::lab::{Finished, Stack, eventually};

use crate::TIMEOUT;

/// The token of the agent on node1 changes the condition of node1 and its own Events, and nothing else.
pub(crate) fn changes_nothing_but_what_its_agent_needs(cluster: &TestCluster) -> Result<()> {
    let thief = Thief { cluster, token: cluster.agent_token("node1")? };
    // A policy is in force some time after it was applied.
    eventually("the policy is in force", TIMEOUT, || {
        Ok(said(&thief.patch("node2", &network_unavailable("False"))?)
            .contains("its own Node only"))
    })?;
    thief.is_refused("node2", &network_unavailable("False"), "its own Node only")?;
    thief.is_allowed("node1", &network_unavailable("True"))?;
    thief.is_allowed("node1", &network_unavailable("False"))?;
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    thief.is_refused("node1", &ready, "no condition but NetworkUnavailable")?;
    let address = json!({"type": "InternalIP", "address": "172.31.77.99"});
    let moved = json!({"status": {"addresses": [address]}});
    thief.is_refused("node1", &moved, "but its conditions")?;
    let larger = json!({"status": {"capacity": {"cpu": "1000"}}});
    thief.is_refused("node1", &larger, "but its conditions")?;
    for metadata in [
        json!({"annotations": {"weir.dev/underlay-ip": "172.31.77.99"}}),
        json!({"labels": {"a": "b"}}),
    ] {
        thief.is_refused("node1", &json!({"metadata": metadata}), "no metadata")?;
    }

    // A token without a node belongs to no agent.
    let create = ["create", "token", "weir-agent", "--namespace=weir-system"];
    let unbound = cluster.plane.kubectl().run(&create)?.trim().to_owned();
    let unbound = Thief { cluster, token: unbound };
    unbound.is_refused("node1", &network_unavailable("False"), "its own Node only")?;

    writes_only_its_own_events(&thief)?;
    reads_only_what_its_agent_reads(&thief)
}

fn network_unavailable(status: &str) -> Value {
    json!({"status": {"conditions": [{"type": "NetworkUnavailable", "status": status}]}})
}

fn event(name: &str, node: &str, controller: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": controller,
        "reportingInstance": node,
        "action": "Test",
        "reason": "Test",
        "type": "Warning",
        "regarding": {"apiVersion": "v1", "kind": "Node", "name": node},
    })
}

fn writes_only_its_own_events(thief: &Thief<'_>) -> Result<()> {
    let create = |event: &Value| thief.finish(&["create", "-f", "-"], event);
    let own = create(&event("own", "node1", "weir.dev/agent"))?;
    ensure!(own.status.success(), "{}", own.stderr);
    refused(&create(&event("other", "node2", "weir.dev/agent"))?, "its own Node only")?;
    let mut elsewhere = event("elsewhere", "node1", "weir.dev/agent");
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    refused(&create(&elsewhere)?, "forbidden")?;

    thief.cluster.plane.kubectl().create(&event("foreign", "node1", "kubelet"))?;
    refused(&thief.patch_event("foreign")?, "its own Events only")?;
    let own = thief.patch_event("own")?;
    ensure!(said(&own).contains("\"count\": 77"), "{own:?}");
    Ok(())
}

fn reads_only_what_its_agent_reads(thief: &Thief<'_>) -> Result<()> {
    for resource in ["secrets", "configmaps", "pods", "serviceaccounts"] {
        let read = thief.finish(&["get", resource, "--all-namespaces"], &Value::Null)?;
        refused(&read, "forbidden").with_context(|| resource.to_owned())?;
    }
    for verb in ["delete", "update", "create"] {
        let asked = thief.finish(&["auth", "can-i", verb, "nodes"], &Value::Null)?;
        ensure!(!asked.status.success(), "{verb}");
    }
    Ok(())
}

struct Thief<'a> {
    cluster: &'a TestCluster,
    token: String,
}

impl Thief<'_> {
    fn finish(&self, arguments: &[&str], input: &Value) -> Result<Finished> {
        let with_token = [&["--token", self.token.as_str()], arguments].concat();
        let tool = self.cluster.plane.kubectl().call(&with_token)?;
        tool.stdin(input.to_string()).finish()
    }

    fn patch(&self, node: &str, patch: &Value) -> Result<Finished> {
        self.patch_at(&format!("api/v1/nodes/{node}/status"), "strategic-merge-patch", patch)
    }

    fn patch_event(&self, name: &str) -> Result<Finished> {
        let path = format!("apis/events.k8s.io/v1/namespaces/default/events/{name}");
        let series = json!({"count": 77, "lastObservedTime": "2026-01-01T00:00:07.000000Z"});
        self.patch_at(&path, "merge-patch", &json!({"series": series}))
    }

    /// Patches an object. kubectl would read it first, which is not allowed.
    fn patch_at(&self, path: &str, kind: &str, patch: &Value) -> Result<Finished> {
        let tool = self.cluster.control().command("curl")?;
        let tool = tool.args(["--silent", "--show-error", "-X", "PATCH"]);
        let tool = tool.args(["--data", &patch.to_string()]);
        let tool = tool.args(["-H", &format!("Content-Type: application/{kind}+json")]);
        let tool = tool.args(["-H", &format!("Authorization: Bearer {}", self.token)]);
        let tool = tool.arg("--cacert").arg(self.cluster.plane.authority());
        tool.arg(format!("https://{ADDRESS}:6443/{path}")).finish()
    }

    fn is_allowed(&self, node: &str, patch: &Value) -> Result<()> {
        let finished = self.patch(node, patch)?;
        let answer = said(&finished);
        let object: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
        ensure!(object["kind"] == "Node", "{node} {patch}: {answer}");
        Ok(())
    }

    fn is_refused(&self, node: &str, patch: &Value, why: &str) -> Result<()> {
        refused(&self.patch(node, patch)?, why).with_context(|| format!("{node} {patch}"))
    }
}

/// What a program has printed.
fn said(finished: &Finished) -> String {
    format!("{}{}", finished.stderr, String::from_utf8_lossy(&finished.stdout))
}

/// The API server has refused it for this reason.
fn refused(finished: &Finished, why: &str) -> Result<()> {
    let said = said(finished);
    let is_refused = said.to_lowercase().contains("forbidden");
    ensure!(is_refused && said.contains(why), "not refused because of {why:?}: {said}");
    Ok(())
}
