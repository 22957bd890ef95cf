//! Three machines on the underlay of a control plane.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use weir_tests::lab::{Node, Stack, eventually};

use crate::agent::{Agent, Knows};
use crate::control_plane::{self, ADDRESS, ControlPlane};

/// Where pods find their ServiceAccount.
const SERVICE_ACCOUNT: &str = "/run/secrets/kubernetes.io/serviceaccount";

/// How long a controller may take for what takes moments.
const PATIENCE: Duration = Duration::from_secs(30);

/// A machine that a Node object stands for.
#[derive(Debug)]
pub struct Machine {
    /// The name of its Node.
    pub name: String,
    /// Its address on the underlay.
    pub address: String,
    node: Node,
}

/// The control plane and the machines.
#[derive(Debug)]
pub struct Scene {
    /// The machines `node1`, `node2`, `node3`.
    pub machines: Vec<Machine>,
    /// What they are told of the cluster by.
    pub plane: ControlPlane,
    control: Node,
}

impl Scene {
    /// A control plane with the shipped manifests applied, and three machines without Nodes.
    ///
    /// # Errors
    /// Without root, or when the control plane does not get ready.
    pub fn new() -> Result<Self> {
        let control = control_plane::machine()?;
        let machines = (1..=3).map(|n| Machine::new(&control, n)).collect::<Result<_>>()?;
        let plane = ControlPlane::start(&control)?;
        let scene = Self { machines, plane, control };
        scene.apply_manifests()?;
        Ok(scene)
    }

    /// Applies the shipped manifests again.
    ///
    /// # Errors
    /// When the API server refuses them.
    pub fn apply_manifests(&self) -> Result<()> {
        // Set by cargo; the other is for starting the program by hand.
        let package = env::var_os("CARGO_MANIFEST_DIR");
        let package = package.as_deref().unwrap_or(env!("CARGO_MANIFEST_DIR").as_ref());
        let manifests = Path::new(package).join("../../manifests/base");
        let manifests = manifests.to_str().context("the repository's path is no UTF-8")?;
        self.plane.kubectl().run(&["apply", "-k", manifests]).map(drop)
    }

    /// Creates a Node for each machine and waits until all have their subnets.
    ///
    /// # Errors
    /// When they do not get them.
    pub fn create_nodes(&self) -> Result<()> {
        let kubectl = self.plane.kubectl();
        for machine in &self.machines {
            kubectl.create_node(&machine.name, &machine.address)?;
        }
        eventually("all Nodes have subnets", PATIENCE, || {
            Ok(kubectl.pod_cidrs()?.len() == self.machines.len())
        })
    }

    /// Starts an agent on each machine that follows the API server.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_agents(&self) -> Result<Vec<Agent>> {
        let token = &["create", "token", "weir-agent", "--namespace=weir-system"];
        let token = self.plane.kubectl().run(token)?;
        let kubelet_conf = self.write_kubelet_conf()?;
        let start = |machine: &Machine| {
            machine.mount_service_account(token.trim(), &self.plane.authority())?;
            Agent::start(&machine.node, &machine.name, Knows::ApiServer(&kubelet_conf))
        };
        self.machines.iter().map(start).collect()
    }

    /// Starts an agent on each machine that reads what kubectl printed.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_agents_from_directory(&self) -> Result<Vec<Agent>> {
        let folder = self.control.dir().join("manifests");
        fs::create_dir_all(&folder)?;
        let nodes = self.plane.kubectl().run(&["get", "nodes", "-o", "yaml"])?;
        fs::write(folder.join("nodes.yaml"), nodes)?;
        let start = |machine: &Machine| {
            Agent::start(&machine.node, &machine.name, Knows::Manifests(&folder))
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
        let address = control_plane::plug(control, &node, "eth0", 10 + number)?;
        node.sh(&format!("ip route add default via {ADDRESS}"))?;
        Ok(Self { name: format!("node{number}"), address, node })
    }

    /// The routes that the agent made: subnet and next hop.
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

    /// The forwarding entries of the tunnel.
    ///
    /// # Errors
    /// When iproute2 fails.
    pub fn forwarding(&self) -> Result<BTreeSet<String>> {
        let lines = self.node.command("bridge")?.args(["fdb", "show", "dev", "weir.1"]).finish()?;
        let lines = String::from_utf8_lossy(&lines.stdout).into_owned();
        Ok(lines.lines().map(|line| line.trim().to_owned()).collect())
    }

    /// Removes the agent's routes and its tunnel.
    ///
    /// # Errors
    /// When iproute2 fails.
    pub fn forget_routes(&self) -> Result<()> {
        for line in
            ["ip -4 route flush proto 87", "ip -6 route flush proto 87", "ip link del weir.1"]
        {
            self.node.sh(line)?;
        }
        Ok(())
    }

    fn mount_service_account(&self, token: &str, authority: &Path) -> Result<()> {
        let certificate = fs::read(authority)?;
        // In the machine's own mount namespace; what is there already is hidden for it alone.
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
