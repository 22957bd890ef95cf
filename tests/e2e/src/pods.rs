//! Pods of this program's own checks, which upstream's tests do not cover.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::kubectl::{Kubectl, condition};
use crate::member::Member;
use crate::process;
use crate::state::State;
use crate::wait;

/// The pods' namespace.
pub(crate) const NAMESPACE: &str = "weir-e2e";
const READY: Duration = Duration::from_secs(60);

/// Pods in a namespace that is deleted with them.
#[derive(Clone, Debug)]
pub(crate) struct Pods {
    pub(crate) kubectl: Kubectl,
    image: String,
}

impl Pods {
    /// Creates the namespace, without pods.
    ///
    /// # Errors
    /// When the nodes have no image for pods, or the API server refuses the namespace.
    pub(crate) fn new(kubectl: Kubectl, state: &State) -> Result<Self> {
        let pods = Self { kubectl, image: image(state.nodes.first().context("no nodes")?)? };
        pods.clear()?;
        pods.kubectl.apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}"
        ))?;
        wait::until("the namespace has its ServiceAccount", READY, || {
            pods.kubectl.run(&["-n", NAMESPACE, "get", "serviceaccount", "default"])
        })?;
        Ok(pods)
    }

    /// Creates a pod on a node. It runs a program of the test image.
    ///
    /// # Errors
    /// When the API server refuses the pod.
    pub(crate) fn create(&self, name: &str, node: &str, command: &[&str]) -> Result<()> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 1,
                // On a node without a network the kubelet first fails to mount the token's volume,
                // and retries after some seconds only.
                "automountServiceAccountToken": false,
                "containers": [{"name": "main", "image": self.image, "command": command}],
            },
        });
        self.kubectl.apply(&pod.to_string())
    }

    /// Creates a pod with an HTTP server on port 8080.
    ///
    /// # Errors
    /// When the API server refuses the pod.
    pub(crate) fn create_server(&self, name: &str, node: &str) -> Result<()> {
        self.create(name, node, &["/agnhost", "netexec", "--http-port=8080"])
    }

    /// Waits until a pod is Ready, and gives its address.
    ///
    /// # Errors
    /// When it is not Ready in time.
    pub(crate) fn ready(&self, name: &str) -> Result<String> {
        let waited = wait::until(&format!("pod {name} is Ready"), READY, || {
            let pod = self.kubectl.get(&["-n", NAMESPACE, "pod", name])?;
            let ready = condition(&pod, "Ready").is_some_and(|ready| ready["status"] == "True");
            ensure!(ready, "it is {}", pod["status"]["phase"]);
            pod["status"]["podIP"].as_str().map(str::to_owned).context("it has no address")
        });
        waited.with_context(|| {
            self.kubectl.run(&["-n", NAMESPACE, "describe", "pod", name]).unwrap_or_default()
        })
    }

    /// Runs a program in a pod and gives its standard output.
    ///
    /// # Errors
    /// When the program fails.
    pub(crate) fn exec(&self, name: &str, command: &[&str]) -> Result<String> {
        self.kubectl.run(&[&["-n", NAMESPACE, "exec", name, "--"], command].concat())
    }

    /// Deletes the namespace and all pods in it.
    ///
    /// # Errors
    /// When they are not gone in time.
    pub(crate) fn clear(&self) -> Result<()> {
        let delete = ["delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=60s"];
        self.kubectl.run(&delete).map(drop)
    }
}

/// The name of the test image on the nodes.
fn image(node: &Member) -> Result<String> {
    let mut ctr = node.machine.command("ctr")?;
    let images = process::output(ctr.args(["-n", "k8s.io", "images", "list", "-q"]))?;
    let mut found = images.lines().filter(|name| name.contains("e2e-test-images/agnhost:"));
    found.next_back().map(str::to_owned).context("no image of agnhost has been imported")
}
