//! Options of several commands. Their names, variables and defaults are those of the agent, so that the
//! tool finds the agent's files, also in the container of the agent.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use weir_datapath::Pins;

/// Names and paths of Weir's things on a node.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The bridge of the pods
    #[arg(long, env = "WEIR_BRIDGE", value_name = "NAME", default_value = "weir0")]
    pub(crate) bridge: String,
    /// Directory of CNI plugins
    #[arg(long, env = "WEIR_CNI_BIN_DIR", value_name = "DIR", default_value = "/opt/cni/bin")]
    pub(crate) cni_bin_dir: PathBuf,
    /// Directory of CNI configurations
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
    /// The pin directory.
    pub(crate) fn pins(&self) -> Pins {
        Pins::new(&self.pin_dir)
    }
}

/// The address of the agent.
#[derive(Debug, Clone, Args)]
pub(crate) struct AgentAddress {
    /// Address of the HTTP server of the agent
    #[arg(
        long,
        env = "WEIR_HEALTH_ADDRESS",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9470"
    )]
    pub(crate) health_address: SocketAddr,
}
