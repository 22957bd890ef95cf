//! The containerd process of a node.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::lab::{Finished, Node, Stack, Tool, eventually};

use super::cgroup;
use super::image::Image;

/// Longer than any test uses a runtime.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);
const READY: Duration = Duration::from_secs(30);

/// A running containerd. It and everything that it started end when this is dropped.
#[derive(Debug)]
pub struct Containerd {
    node: Node,
    dir: PathBuf,
    namespace: String,
    pid: Pid,
    pidfd: OwnedFd,
    main: Option<JoinHandle<Result<Finished>>>,
}

impl Containerd {
    /// Starts a containerd on `node` whose only network is `conflist` and whose only CNI plugin is
    /// the file `plugin`.
    ///
    /// # Errors
    /// When containerd is not installed, or does not respond in time; the error holds its log.
    pub fn start(node: &Node, conflist: &str, plugin: &Path) -> Result<Self> {
        cgroup::remove_stale();
        let dir = node.dir().join("containerd");
        fs::create_dir_all(dir.join("private")).context("create the directory for containerd")?;
        fs::write(dir.join("network.conflist"), conflist).context("write the conflist")?;
        fs::write(dir.join("config.toml"), configuration(&dir))
            .context("write the configuration of containerd")?;
        let first = node
            .command("unshare")?
            .args(["--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c"])
            .args([include_str!("start.sh"), "start.sh"])
            .args([&dir, plugin])
            .deadline(LIFETIME);
        let main = thread::spawn(move || first.finish());

        let pid = read_pid(&dir, &main)?;
        let containerd = Self {
            node: node.clone(),
            namespace: unique_name(node)?,
            dir,
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty()).context("open the pidfd of containerd")?,
            main: Some(main),
        };
        eventually("containerd responds", READY, || {
            ensure!(containerd.is_running(), "containerd ended:\n{}", containerd.log());
            Ok(containerd.ctr(&["version"])?.finish()?.status.success())
        })
        .with_context(|| format!("the log of containerd:\n{}", containerd.log()))?;
        Ok(containerd)
    }

    /// A call of `ctr`, inside of the runtime's namespaces.
    ///
    /// # Errors
    /// When the node's namespaces have been removed.
    pub fn ctr(&self, arguments: &[&str]) -> Result<Tool> {
        let tool = self
            .node
            .command("nsenter")?
            .args(["--mount", "--pid", "--target", &self.pid.to_string(), "--", "ctr"])
            .args(["--namespace", &self.namespace, "--address"])
            .arg(self.dir.join("containerd.sock"))
            .args(arguments);
        Ok(tool)
    }

    /// Imports an image.
    ///
    /// # Errors
    /// When `ctr image import` fails.
    pub fn import(&self, image: &Image) -> Result<()> {
        let import = ["image", "import", "--snapshotter", SNAPSHOTTER];
        self.ctr(&import)?.arg(image.archive()).stdout()?;
        Ok(())
    }

    /// The containerd namespace of all containers. It is also the name of their cgroups and a part of
    /// the command line of each shim.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The container ID that CNI plugins are given for the container `name`.
    #[must_use]
    pub fn container_id(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace)
    }

    /// The path by which the test reads a path of the runtime's mount namespace.
    #[must_use]
    pub fn view(&self, path: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.pid.to_string())
            .join("root")
            .join(path.trim_start_matches('/'))
    }

    /// The log of containerd.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("containerd.log")).unwrap_or_default()
    }

    fn is_running(&self) -> bool {
        self.main.as_ref().is_some_and(|main| !main.is_finished())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // With the first process of a PID namespace the kernel ends all others, and reaps it last.
        // When its parent has ended, only the cgroups of the runtime are left.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        if let Some(main) = self.main.take() {
            let _ = main.join();
        }
        cgroup::remove(&self.namespace);
    }
}

/// The snapshotter that copies, which works on every file system, also below an overlay.
pub(super) const SNAPSHOTTER: &str = "native";

fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{dir}/containerd.sock"
"#
    )
}

/// The name of the node's directory: unique on the machine, and cgroups get the name of the
/// namespace of containerd.
fn unique_name(node: &Node) -> Result<String> {
    let name = node.dir().file_name().context("the directory of the node has no name")?;
    Ok(name.to_string_lossy().into_owned())
}

fn read_pid(dir: &Path, main: &JoinHandle<Result<Finished>>) -> Result<Pid> {
    let file = dir.join("pid");
    let log = || fs::read_to_string(dir.join("containerd.log")).unwrap_or_default();
    eventually("the runtime has its namespaces", READY, || {
        ensure!(!main.is_finished() || file.exists(), "preparing the runtime failed");
        Ok(file.exists())
    })
    .with_context(log)?;
    let number = fs::read_to_string(&file).context("read the process ID of containerd")?;
    let number = number.trim().parse().context("parse the process ID of containerd")?;
    Pid::from_raw(number).context("the process ID of containerd is zero")
}
