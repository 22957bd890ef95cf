//! A control plane with three machines on its underlay.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use weir_tests::lab::{Node, Stack, eventually};

use crate::agent::{Agent, Source};
use crate::control_plane::{self, ADDRESS, ControlPlane};

/// The mount path of a pod's ServiceAccount.
const SERVICE_ACCOUNT: &str = "/run/secrets/kubernetes.io/serviceaccount";

/// Longer than a controller takes on a busy host.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The machine of a Node object.
#[derive(Debug)]
pub struct Machine {
    /// The name of its Node object.
    pub name: String,
    /// Its address on the underlay.
    pub address: String,
    node: Node,
}

/// The control plane and the machines.
#[derive(Debug)]
pub struct TestCluster {
    /// The machines `node1`, `node2`, `node3`.
    pub machines: Vec<Machine>,
    /// Their control plane.
    pub plane: ControlPlane,
    control: Node,
}

impl TestCluster {
    /// Starts a control plane, applies the shipped manifests, and makes three machines without Node
    /// objects.
    ///
    /// # Errors
    /// Without root, or when the control plane does not get ready.
    pub fn new() -> Result<Self> {
        let control = control_plane::create_machine()?;
        let machines = (1..=3).map(|n| Machine::new(&control, n)).collect::<Result<_>>()?;
        let plane = ControlPlane::start(&control)?;
        let cluster = Self { machines, plane, control };
        cluster.apply_manifests("services")?;
        Ok(cluster)
    }

    /// Applies an overlay of the shipped manifests.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn apply_manifests(&self, overlay: &str) -> Result<()> {
        // cargo sets it at run time; the compile-time value serves a test binary that is run
        // without cargo.
        let package = env::var_os("CARGO_MANIFEST_DIR");
        let package = package.as_deref().unwrap_or(env!("CARGO_MANIFEST_DIR").as_ref());
        let manifests = Path::new(package).join("../../manifests/overlays").join(overlay);
        let manifests = manifests.to_str().context("the repository's path is not UTF-8")?;
        self.plane.kubectl().run(&["apply", "-k", manifests]).map(drop)
    }

    /// Creates a Node for each machine and waits until all have their subnets.
    ///
    /// # Errors
    /// When a Node gets none in time.
    pub fn create_nodes(&self) -> Result<()> {
        let kubectl = self.plane.kubectl();
        for machine in &self.machines {
            kubectl.create_node(&machine.name, &machine.address)?;
        }
        eventually("all Nodes have subnets", TIMEOUT, || {
            Ok(kubectl.pod_cidrs()?.len() == self.machines.len())
        })
    }

    /// Starts an agent on each machine, with the API server as its source.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_agents(&self) -> Result<Vec<Agent>> {
        let kubelet_conf = self.write_kubelet_conf()?;
        let start = |machine: &Machine| {
            let token = self.agent_token(&machine.name)?;
            machine.mount_service_account(&token, &self.plane.authority())?;
            Agent::start(&machine.node, &machine.name, Source::ApiServer(&kubelet_conf))
        };
        self.machines.iter().map(start).collect()
    }

    /// The machine of the control plane.
    #[must_use]
    pub fn control(&self) -> &Node {
        &self.control
    }

    /// A token of the agents' ServiceAccount, as the kubelet of a node gives it to the agent's pod.
    ///
    /// # Errors
    /// When the API server issues none.
    pub fn agent_token(&self, node: &str) -> Result<String> {
        let (kubectl, pod) = (self.plane.kubectl(), format!("weir-agent-{node}"));
        let namespace = "--namespace=weir-system";
        if !kubectl.call(&["get", "pod", &pod, namespace])?.finish()?.status.success() {
            kubectl.create(&json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": pod, "namespace": "weir-system"},
                "spec": {
                    "nodeName": node,
                    "serviceAccountName": "weir-agent",
                    "containers": [{"name": "weir-agent", "image": "localhost/weir-agent"}],
                },
            }))?;
        }
        let name = format!("--bound-object-name={pod}");
        let create = ["create", "token", "weir-agent", namespace, "--bound-object-kind=Pod", &name];
        Ok(kubectl.run(&create)?.trim().to_owned())
    }

    /// Starts an agent on each machine, with a directory of manifests that kubectl printed as its
    /// source.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_agents_from_directory(&self) -> Result<Vec<Agent>> {
        let folder = self.control.dir().join("manifests");
        fs::create_dir_all(&folder)?;
        let nodes = self.plane.kubectl().run(&["get", "nodes", "-o", "yaml"])?;
        fs::write(folder.join("nodes.yaml"), nodes)?;
        let start = |machine: &Machine| {
            Agent::start(&machine.node, &machine.name, Source::Manifests(&folder))
        };
        self.machines.iter().map(start).collect()
    }

    fn write_kubelet_conf(&self) -> Result<PathBuf> {
        let path = self.control.dir().join("kubelet.conf");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: node\n\
             clusters: [{{name: lab, cluster: {{server: 'https://{ADDRESS}:6443'}}}}]\n\
             users: [{{name: node, user: {{client-certificate: /not/for/us}}}}]\n\
             contexts: [{{name: node, context: {{cluster: lab, user: node}}}}]\n"
        );
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Machine {
    fn new(control: &Node, number: u8) -> Result<Self> {
        let node = Node::new()?;
        let address = control_plane::connect_node(control, &node, "eth0", 10 + number)?;
        node.sh(&format!("ip route add default via {ADDRESS}"))?;
        Ok(Self { name: format!("node{number}"), address, node })
    }

    /// The agent's routes: subnet and next hop.
    ///
    /// # Errors
    /// When iproute2 fails.
    pub fn routes(&self) -> Result<BTreeSet<String>> {
        let mut routes = BTreeSet::new();
        for family in ["-4", "-6"] {
            let lines = self.node.sh(&format!("ip {family} route show proto 87"))?;
            routes.extend(lines.lines().map(|line| line.trim().to_owned()));
        }
        Ok(routes)
    }

    /// The FDB entries of the VXLAN device.
    ///
    /// # Errors
    /// When iproute2 fails.
    pub fn fdb(&self) -> Result<BTreeSet<String>> {
        let lines = self.node.command("bridge")?.args(["fdb", "show", "dev", "weir.1"]).finish()?;
        let lines = String::from_utf8_lossy(&lines.stdout).into_owned();
        Ok(lines.lines().map(|line| line.trim().to_owned()).collect())
    }

    /// Removes the agent's routes and its VXLAN device.
    ///
    /// # Errors
    /// When iproute2 fails.
    pub fn remove_routes(&self) -> Result<()> {
        for line in
            ["ip -4 route flush proto 87", "ip -6 route flush proto 87", "ip link del weir.1"]
        {
            self.node.sh(line)?;
        }
        Ok(())
    }

    fn mount_service_account(&self, token: &str, authority: &Path) -> Result<()> {
        let certificate = fs::read(authority)?;
        // In the machine's own mount namespace: the mount hides files for this machine only.
        if !self.node.run(|| Ok(Path::new(SERVICE_ACCOUNT).exists()))? {
            self.node.sh("mount -t tmpfs tmpfs /run")?;
        }
        self.node.run(|| {
            fs::create_dir_all(SERVICE_ACCOUNT)?;
            fs::write(Path::new(SERVICE_ACCOUNT).join("token"), token)?;
            fs::write(Path::new(SERVICE_ACCOUNT).join("ca.crt"), certificate)?;
            Ok(())
        })
    }
}
