//! A measured plugin: its program, its configuration and its node.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use weir_datapath::{Capacities, Pins, load};
use weir_tests::lab::{Node, Pod, Stack, binary};

use super::sample::Job;

/// The address families that pods get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Families {
    /// IPv4 alone.
    Ipv4,
    /// IPv4 and IPv6.
    Dual,
}

/// A plugin on a node of its own.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) node: Node,
    program: PathBuf,
    cni_path: PathBuf,
    config: Value,
}

impl Contender {
    /// Weir's plugin.
    pub(crate) fn weir(families: Families) -> Result<Self> {
        let program = binary("weir-cni")?;
        Self::new(program, families, |config, dir| {
            config["type"] = json!("weir-cni");
            config["runDir"] = json!(dir.join("run"));
            config["pinDir"] = json!(dir.join("pins"));
        })
    }

    /// Weir's plugin on a node with the eBPF programs of Services: ADD attaches two of them and
    /// adds the pod to their maps.
    pub(crate) fn weir_with_programs(families: Families) -> Result<Self> {
        let mut contender = Self::weir(families)?;
        let folder = contender.node.dir().join("bpf");
        contender.node.mount_bpffs(&folder)?;
        let pins = Pins::new(folder.join("weir"));
        contender.node.run(|| Ok(load(&pins, &Capacities::default())?))?;
        contender.config["pinDir"] = json!(pins.folder());
        Ok(contender)
    }

    /// The reference plugin `bridge`, which calls `host-local` itself.
    pub(crate) fn reference(folder: &Path, families: Families) -> Result<Self> {
        for program in ["bridge", "host-local"] {
            let path = folder.join(program);
            ensure!(
                path.exists(),
                "no {} (install Debian's containernetworking-plugins)",
                path.display()
            );
        }
        Self::new(folder.join("bridge"), families, |config, _dir| {
            config["type"] = json!("bridge");
            config["ipMasq"] = json!(false);
        })
    }

    /// Makes the node and the configuration. Every option that changes the work of ADD is the same
    /// for both plugins.
    fn new(
        program: PathBuf,
        families: Families,
        customize: impl FnOnce(&mut Value, &Path),
    ) -> Result<Self> {
        let node = Node::new()?;
        let mut ranges = vec![json!([{ "subnet": "10.42.0.0/24" }])];
        if families == Families::Dual {
            ranges.push(json!([{ "subnet": "fd42::/64" }]));
        }
        let mut config = json!({
            "cniVersion": "1.0.0",
            "name": "bench",
            "bridge": "weir0",
            "mtu": 1500,
            "isDefaultGateway": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": ranges,
                "dataDir": node.dir().join("networks"),
            },
        });
        customize(&mut config, node.dir());
        let cni_path = program.parent().context("the plugin has no folder")?.to_owned();
        Ok(Self { node, program, cni_path, config })
    }

    /// Makes `count` sandboxes with names that begin with `prefix`.
    pub(crate) fn sandboxes(&self, prefix: &str, count: u32) -> Result<Vec<Pod>> {
        (0..count).map(|number| self.node.pod(&format!("{prefix}{number}"))).collect()
    }

    /// The ADD of a sandbox; `attempt` makes the container ID unique within the sandbox.
    pub(crate) fn add(&self, pod: &Pod, attempt: u32) -> Job {
        self.job("ADD", pod, attempt, &self.config)
    }

    /// The DEL after that ADD. As with libcni, it gets the result of the ADD.
    pub(crate) fn del(&self, pod: &Pod, attempt: u32, added: &[u8]) -> Result<Job> {
        let mut config = self.config.clone();
        config["prevResult"] = serde_json::from_slice(added).context("parse the result of ADD")?;
        Ok(self.job("DEL", pod, attempt, &config))
    }

    fn job(&self, verb: &str, pod: &Pod, attempt: u32, config: &Value) -> Job {
        let variable = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
            (OsString::from(name), value.as_ref().to_owned())
        };
        Job {
            program: self.program.clone(),
            environment: vec![
                variable("CNI_COMMAND", &verb),
                variable("CNI_CONTAINERID", &format!("{}-{attempt}", pod.name())),
                variable("CNI_NETNS", &pod.netns()),
                variable("CNI_IFNAME", &"eth0"),
                variable("CNI_PATH", &self.cni_path),
            ],
            stdin: config.to_string().into_bytes(),
        }
    }
}
