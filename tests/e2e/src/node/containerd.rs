//! The node's container runtime: the machine's containerd and runc.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{launch, write};
use crate::environment::Environment;
use crate::process;
use crate::state::{Machine, log};
use crate::wait;

const CONFIG: &str = "/etc/containerd/config.toml";
const READY: Duration = Duration::from_secs(60);
/// The image of the container that holds a pod's namespaces.
const PAUSE: &str = "localhost/weir-e2e/pause:1";

/// Starts it and waits until it answers.
///
/// # Errors
/// When it ends; the error holds the end of its log.
pub(super) fn start(environment: &Environment, node: &mut Machine) -> Result<()> {
    write(node, CONFIG, &config())?;
    let flags = ["--config", CONFIG].map(str::to_owned);
    let process = launch(environment, node, "containerd", Path::new("containerd"), &flags)?;
    let log = log(environment.state()?, node.name(), "containerd");
    wait::until("containerd answers", READY, || {
        ensure!(process.is_alive(), "containerd has ended");
        process::output(node.place.command("ctr")?.arg("version")).map(drop)
    })
    .with_context(|| process::log_tail(&log))?;
    Ok(())
}

fn config() -> String {
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
# Without CAP_SYS_RESOURCE nobody can lower what a process has inherited.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
conf_dir = "/etc/cni/net.d"
"#
    )
}
