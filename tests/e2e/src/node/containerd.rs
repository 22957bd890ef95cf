//! The node's container runtime: the host's containerd and runc.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::environment::Environment;
use crate::member::Member;
use crate::process;
use crate::wait;

const CONFIG: &str = "/etc/containerd/config.toml";
const READY: Duration = Duration::from_secs(60);
/// The image of the pause container.
const PAUSE: &str = "localhost/weir-e2e/pause:1";

/// Starts containerd and waits until it serves.
///
/// # Errors
/// When it ends; the error has the end of its log.
pub(super) fn start(environment: &Environment, node: &mut Member) -> Result<()> {
    node.write(CONFIG, &config())?;
    let flags = ["--config", CONFIG].map(str::to_owned);
    let process = node.launch(environment, "containerd", Path::new("containerd"), &flags)?;
    let log = node.log(environment, "containerd")?;
    wait::until("containerd serves", READY, || {
        ensure!(process.is_alive(), "containerd has ended");
        process::output(node.machine.command("ctr")?.arg("version")).map(drop)
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
# Without CAP_SYS_RESOURCE a process cannot lower its inherited score.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
conf_dir = "/etc/cni/net.d"
"#
    )
}
