//! Pods of this program's own, for what is checked beside upstream's tests.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::deploy::condition;
use crate::kubectl::Kubectl;
use crate::process;
use crate::state::{Machine, State};
use crate::wait;

/// Where they are.
pub(crate) const NAMESPACE: &str = "weir-e2e";
const READY: Duration = Duration::from_secs(60);

/// Pods in a namespace that goes with them.
#[derive(Clone, Debug)]
pub(crate) struct Pods {
    pub(crate) kubectl: Kubectl,
    image: String,
}

impl Pods {
    /// An empty namespace.
    ///
    /// # Errors
    /// When the nodes have no image for pods, or the API server refuses.
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

    /// Creates a pod on a node that runs a program of the image.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(crate) fn create(&self, name: &str, node: &str, command: &[&str]) -> Result<()> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 1,
                // On a node without a network the kubelet refuses a token's volume first, and then
                // waits for seconds before it tries again.
                "automountServiceAccountToken": false,
                "containers": [{"name": "main", "image": self.image, "command": command}],
            },
        });
        self.kubectl.apply(&pod.to_string())
    }

    /// Creates a pod that answers requests by HTTP on port 8080.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(crate) fn create_server(&self, name: &str, node: &str) -> Result<()> {
        self.create(name, node, &["/agnhost", "netexec", "--http-port=8080"])
    }

    /// Waits until a pod is Ready, and gives its address.
    ///
    /// # Errors
    /// When it is not in time.
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

    /// Runs a program in a pod and gives what it prints.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn exec(&self, name: &str, command: &[&str]) -> Result<String> {
        self.kubectl.run(&[&["-n", NAMESPACE, "exec", name, "--"], command].concat())
    }

    /// Deletes the namespace and all pods in it.
    ///
    /// # Errors
    /// When they stay.
    pub(crate) fn clear(&self) -> Result<()> {
        let delete = ["delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=60s"];
        self.kubectl.run(&delete).map(drop)
    }
}

/// The image with programs for tests, by the name that the nodes know.
fn image(node: &Machine) -> Result<String> {
    let mut ctr = node.place.command("ctr")?;
    let images = process::output(ctr.args(["-n", "k8s.io", "images", "list", "-q"]))?;
    let mut found = images.lines().filter(|name| name.contains("e2e-test-images/agnhost:"));
    found.next_back().map(str::to_owned).context("no image of agnhost has been imported")
}
