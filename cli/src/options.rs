//! Options that several commands have. They are the agent's, with its names, variables and defaults,
//! so that the tool looks where the agent works, also in the agent's own container.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use weir_datapath::Pins;

/// Where things are on a node.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The bridge of the pods
    #[arg(long, env = "WEIR_BRIDGE", value_name = "NAME", default_value = "weir0")]
    pub(crate) bridge: String,
    /// Where the plugin is installed
    #[arg(long, env = "WEIR_CNI_BIN_DIR", value_name = "DIR", default_value = "/opt/cni/bin")]
    pub(crate) cni_bin_dir: PathBuf,
    /// Where the CNI configuration is
    #[arg(long, env = "WEIR_CNI_CONF_DIR", value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub(crate) cni_conf_dir: PathBuf,
    /// Directory of endpoint records and subnet.env
    #[arg(long, env = "WEIR_RUN_DIR", value_name = "DIR", default_value = "/run/weir")]
    pub(crate) run_dir: PathBuf,
    /// Directory of the address stores
    #[arg(
        long,
        env = "WEIR_DATA_DIR",
        value_name = "DIR",
        default_value = "/var/lib/cni/networks"
    )]
    pub(crate) data_dir: PathBuf,
    /// Directory of the pinned eBPF programs and maps
    #[arg(long, env = "WEIR_PIN_DIR", value_name = "DIR", default_value = "/sys/fs/bpf/weir")]
    pub(crate) pin_dir: PathBuf,
}

impl Place {
    /// What is pinned.
    pub(crate) fn pins(&self) -> Pins {
        Pins::new(&self.pin_dir)
    }
}

/// Where the agent answers.
#[derive(Debug, Clone, Args)]
pub(crate) struct AgentAddress {
    /// Where the agent serves /healthz and what it knows
    #[arg(
        long,
        env = "WEIR_HEALTH_ADDRESS",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9470"
    )]
    pub(crate) health_address: SocketAddr,
}
