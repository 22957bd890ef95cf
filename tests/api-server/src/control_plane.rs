//! etcd, kube-apiserver and kube-controller-manager.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{Node, Stack, eventually};

use crate::daemon::Daemon;
use crate::kubectl::Kubectl;

/// The API server's address on the underlay.
pub const ADDRESS: &str = "172.31.77.1";
/// A port that no agent connects to.
const UNWATCHED_PORT: u16 = 7443;
const PORT: u16 = 6443;
const ADMIN_TOKEN: &str = "admin-token";
const READY: Duration = Duration::from_secs(90);

/// Makes a machine for a control plane. It has [`ADDRESS`] on a bridge, to which nodes are
/// connected.
///
/// # Errors
/// Without root.
pub fn create_machine() -> Result<Node> {
    let machine = Node::new()?;
    machine.sh("ip link add underlay type bridge")?;
    machine.sh(&format!("ip addr add {ADDRESS}/24 dev underlay"))?;
    machine.sh("ip link set underlay up")?;
    // The API server takes its own address from the default route.
    machine.sh(&format!("ip route add default via {ADDRESS}"))?;
    Ok(machine)
}

/// Connects `node` to the bridge of a control plane's machine. The node's interface is `link`, and
/// `host` is the last byte of its address, which is returned.
///
/// # Errors
/// When either has an interface of this name already.
pub fn connect_node(machine: &Node, node: &Node, link: &str, host: u8) -> Result<String> {
    let (netns, port) = (node.namespaces()?.net_path(), format!("port{host}"));
    let address = format!("172.31.77.{host}");
    machine.sh(&format!("ip link add {port} type veth peer name {link} netns {netns}"))?;
    machine.sh(&format!("ip link set {port} master underlay up"))?;
    node.sh(&format!("ip addr add {address}/24 dev {link}"))?;
    node.sh(&format!("ip link set {link} up"))?;
    Ok(address)
}

/// A control plane on a machine of its own.
#[derive(Debug)]
pub struct ControlPlane {
    // Fields are dropped in this order: clients before their servers.
    controller_manager: Option<Daemon>,
    api_server: Option<Daemon>,
    etcd: Option<Daemon>,
    machine: Node,
    tools: PathBuf,
}

impl ControlPlane {
    /// Starts it on `machine`, which has [`ADDRESS`], and waits until it is ready.
    ///
    /// # Errors
    /// When a program is missing or does not get ready; the error has its log.
    pub fn start(machine: &Node) -> Result<Self> {
        let tools = std::env::var_os("WEIR_TOOLS_DIR").map(PathBuf::from);
        let tools = tools.context("WEIR_TOOLS_DIR is not set: run this by cargo xtask e2e api")?;
        let dir = machine.dir();
        fs::write(dir.join("tokens.csv"), format!("{ADMIN_TOKEN},admin,0,system:masters\n"))?;
        let key = dir.join("service-account.key");
        // The older format for keys, from which the API server can read the public part too.
        let generate = ["ecparam", "-name", "prime256v1", "-genkey", "-noout"];
        machine.command("openssl")?.args(generate).arg("-out").arg(&key).stdout()?;

        let mut plane = Self {
            controller_manager: None,
            api_server: None,
            etcd: None,
            machine: machine.clone(),
            tools,
        };
        plane.start_etcd()?;
        plane.start_api_server()?;
        plane.start_controller_manager()?;
        Ok(plane)
    }

    /// The certificate with which the API server is verified.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.machine.dir().join("certificates/apiserver.crt")
    }

    /// kubectl for the API server at its normal port.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        Kubectl {
            machine: self.machine.clone(),
            program: self.tools.join("kubectl"),
            kubeconfig: self.kubeconfig(PORT),
        }
    }

    /// Kills the API server and the controller manager. On SIGTERM the API server would serve its
    /// watches for another minute.
    pub fn kill_api_server(&mut self) {
        (self.controller_manager, self.api_server) = (None, None);
    }

    /// Starts both again, with the state in etcd.
    ///
    /// # Errors
    /// When the API server does not get ready.
    pub fn restart(&mut self) -> Result<()> {
        self.start_api_server()?;
        self.start_controller_manager()
    }

    /// While the API server is down: changes its state without any watch, through an API server on
    /// another port.
    ///
    /// # Errors
    /// When it does not get ready, and those of `change`.
    pub fn change_unwatched(&self, change: impl FnOnce(&Kubectl) -> Result<()>) -> Result<()> {
        ensure!(self.api_server.is_none(), "the API server still runs");
        let unwatched = self.api_server(UNWATCHED_PORT)?;
        let kubectl = Kubectl { kubeconfig: self.kubeconfig(UNWATCHED_PORT), ..self.kubectl() };
        let changed = change(&kubectl);
        drop(unwatched);
        changed
    }

    /// Makes a backup of the state.
    ///
    /// # Errors
    /// When the control plane does not get ready again.
    pub fn save_state(&mut self) -> Result<()> {
        self.with_stopped_etcd(|plane| plane.sh("cp -r etcd etcd.saved"))
    }

    /// Restores the saved state.
    ///
    /// # Errors
    /// When there is none, or the control plane does not get ready again.
    pub fn restore_state(&mut self) -> Result<()> {
        self.with_stopped_etcd(|plane| {
            plane.sh("rm -r etcd")?;
            plane.sh("cp -r etcd.saved etcd")
        })
    }

    fn with_stopped_etcd(&mut self, work: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        self.kill_api_server();
        self.etcd.take().map(Daemon::stop).transpose()?;
        work(self)?;
        self.start_etcd()?;
        self.restart()
    }

    /// Runs a command in the folder of the state.
    fn sh(&self, line: &str) -> Result<()> {
        let cd = format!("cd {} && {line}", self.machine.dir().display());
        self.machine.command("sh")?.args(["-c", &cd]).stdout().map(drop)
    }

    fn start_etcd(&mut self) -> Result<()> {
        let dir = self.machine.dir();
        let mut etcd = Command::new(self.tools.join("etcd"));
        etcd.arg("--data-dir").arg(dir.join("etcd")).args(["--unsafe-no-fsync"]);
        self.etcd = Some(Daemon::start(&self.machine, etcd, &dir.join("etcd.log"))?);
        Ok(())
    }

    fn start_api_server(&mut self) -> Result<()> {
        self.api_server = Some(self.api_server(PORT)?);
        Ok(())
    }

    fn api_server(&self, port: u16) -> Result<Daemon> {
        let dir = self.machine.dir();
        let key = dir.join("service-account.key");
        let mut command = Command::new(self.tools.join("kube-apiserver"));
        command
            .args(["--etcd-servers=http://127.0.0.1:2379", "--authorization-mode=RBAC"])
            .args([format!("--advertise-address={ADDRESS}"), format!("--secure-port={port}")])
            .args(["--service-cluster-ip-range=10.96.0.0/16", "--anonymous-auth=false"])
            .args(["--service-account-issuer=https://kubernetes.default.svc"])
            .args(["--endpoint-reconciler-type=none"])
            .arg(format!("--cert-dir={}", dir.join("certificates").display()))
            .arg(format!("--service-account-key-file={}", key.display()))
            .arg(format!("--service-account-signing-key-file={}", key.display()))
            .arg(format!("--token-auth-file={}", dir.join("tokens.csv").display()));
        let daemon = Daemon::start(&self.machine, command, &dir.join("kube-apiserver.log"))?;
        let kubectl = Kubectl { kubeconfig: self.write_kubeconfig(port)?, ..self.kubectl() };
        eventually("the API server is ready", READY, || {
            ensure!(daemon.is_running()?, "kube-apiserver ended:\n{}", tail(&daemon.log()));
            Ok(kubectl.call(&["get", "--raw", "/readyz"])?.finish()?.status.success())
        })
        .with_context(|| tail(&daemon.log()))?;
        Ok(daemon)
    }

    fn start_controller_manager(&mut self) -> Result<()> {
        let mut command = Command::new(self.tools.join("kube-controller-manager"));
        command
            .arg("--kubeconfig")
            .arg(self.kubeconfig(PORT))
            .args(["--allocate-node-cidrs", "--leader-elect=false"])
            .args(["--cluster-cidr=10.244.0.0/16,fd00:244::/48"])
            .args(["--controllers=node-ipam-controller,serviceaccount-controller"]);
        let log = self.machine.dir().join("kube-controller-manager.log");
        self.controller_manager = Some(Daemon::start(&self.machine, command, &log)?);
        Ok(())
    }

    /// The kubeconfig of the cluster's administrator.
    #[must_use]
    pub fn admin_conf(&self) -> PathBuf {
        self.kubeconfig(PORT)
    }

    fn kubeconfig(&self, port: u16) -> PathBuf {
        self.machine.dir().join(format!("admin-{port}.conf"))
    }

    fn write_kubeconfig(&self, port: u16) -> Result<PathBuf> {
        let path = self.kubeconfig(port);
        let authority = self.authority();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: admin\n\
             clusters: [{{name: lab, cluster: {{server: 'https://{ADDRESS}:{port}', \
             certificate-authority: {}}}}}]\n\
             users: [{{name: admin, user: {{token: {ADMIN_TOKEN}}}}}]\n\
             contexts: [{{name: admin, context: {{cluster: lab, user: admin}}}}]\n",
            authority.display(),
        );
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
