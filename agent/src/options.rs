//! The agent's options: flags and environment variables. Every path, device and port is an option, so
//! that several nodes can share a machine.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgAction, CommandFactory, Parser, ValueEnum, error::ErrorKind};
use ipnetwork::IpNetwork;
use weir_datapath::LogLevel;
use weir_node::Namespace;

use crate::map_capacity::CapacityChoice;

/// Maintains the node's pod network: tunnel, routes, neighbours, forwarding entries, masquerading and
/// the CNI configuration.
#[derive(Debug, Clone, Parser)]
#[command(name = "weir-agent", version)]
pub struct Options {
    /// Name of this node's Node object
    #[arg(long, env = "WEIR_NODE_NAME")]
    pub node_name: String,

    /// Read the cluster's objects from YAML files in this directory instead of the API server
    #[arg(long, env = "WEIR_MANIFESTS", value_name = "DIR")]
    pub manifests: Option<PathBuf>,

    /// Kubeconfig for the API server
    #[arg(long, env = "WEIR_KUBECONFIG", value_name = "FILE", conflicts_with = "manifests")]
    pub kubeconfig: Option<PathBuf>,

    /// URL of the API server; the credentials are those of the pod's ServiceAccount
    #[arg(long, env = "WEIR_API_SERVER", value_name = "URL", conflicts_with = "manifests")]
    pub api_server: Option<String>,

    /// The kubelet's kubeconfig, for the API server's address if no other option has it
    #[arg(
        long,
        env = "WEIR_KUBELET_CONF",
        value_name = "FILE",
        default_value = "/etc/kubernetes/kubelet.conf"
    )]
    pub kubelet_conf: PathBuf,

    /// Network configuration in flannel's format; without the file, every value has its default
    #[arg(
        long,
        env = "WEIR_NET_CONF",
        value_name = "FILE",
        default_value = "/etc/weir/net-conf.json"
    )]
    pub net_conf: PathBuf,

    /// Serve Services with eBPF programs; needs the permission to list and watch Services and
    /// EndpointSlices
    #[arg(long, env = "WEIR_SERVICES", default_value_t = false, action = ArgAction::Set)]
    pub services: bool,

    /// Let packets between pods bypass the node's stack; turn it off if the node's own firewall must
    /// see them. Needs --services
    #[arg(long, env = "WEIR_FAST_PATH", default_value_t = true, action = ArgAction::Set)]
    pub fast_path: bool,

    /// Let pods send with their own addresses only. Turned off, every pod of the node may send with any
    /// address; see --routing-namespaces for those of some namespaces. Needs --services
    #[arg(long, env = "WEIR_POD_SOURCE_CHECK", default_value_t = true, action = ArgAction::Set)]
    pub pod_source_check: bool,

    /// Let the pods of these namespaces send with any address, because they route for others, as VPN
    /// gateways do; can be repeated. Who may create pods there can speak as any pod of the node. Needs
    /// --services
    #[arg(long, env = "WEIR_ROUTING_NAMESPACES", value_name = "NAMESPACE", value_delimiter = ',')]
    pub routing_namespaces: Vec<Namespace>,

    /// Packets that the eBPF programs log; each level includes those before it. Levels that are off
    /// cost nothing. Needs --services
    #[arg(long, env = "WEIR_PACKET_LOG", value_enum, default_value = "off")]
    pub packet_log: PacketLog,

    /// Masquerade all traffic of pods to cluster IPs, so that backends see the node's address instead
    /// of the pod's. Needs --services
    #[arg(long, env = "WEIR_MASQUERADE_ALL", default_value_t = false, action = ArgAction::Set)]
    pub masquerade_all: bool,

    /// The cgroup (version 2) whose processes reach Services through their sockets [default: the root
    /// of the first cgroup2 in /proc/mounts]
    #[arg(long, env = "WEIR_CGROUP", value_name = "DIR")]
    pub cgroup: Option<PathBuf>,

    /// The bridge of the pods
    #[arg(long, env = "WEIR_BRIDGE", value_name = "NAME", default_value = "weir0", value_parser = link_name)]
    pub bridge: String,

    /// Masquerade pod traffic that leaves the cluster
    #[arg(long, env = "WEIR_IP_MASQ", default_value_t = true, action = ArgAction::Set)]
    pub ip_masq: bool,

    /// Do not masquerade pod traffic to this subnet; can be repeated
    #[arg(long, env = "WEIR_NO_MASQUERADE_CIDR", value_name = "CIDR", value_delimiter = ',')]
    pub no_masquerade_cidr: Vec<IpNetwork>,

    /// The weir-cni program to install on the node; without this option nothing is installed
    #[arg(long, env = "WEIR_CNI_BINARY", value_name = "FILE")]
    pub cni_binary: Option<PathBuf>,

    /// Where the container runtime looks for CNI plugins
    #[arg(long, env = "WEIR_CNI_BIN_DIR", value_name = "DIR", default_value = "/opt/cni/bin")]
    pub cni_bin_dir: PathBuf,

    /// Where the container runtime looks for CNI configurations
    #[arg(long, env = "WEIR_CNI_CONF_DIR", value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub cni_conf_dir: PathBuf,

    /// Directory of files that are kept until a reboot: subnet.env and endpoint records
    #[arg(long, env = "WEIR_RUN_DIR", value_name = "DIR", default_value = "/run/weir")]
    pub run_dir: PathBuf,

    /// Directory of the allocated pod addresses
    #[arg(
        long,
        env = "WEIR_DATA_DIR",
        value_name = "DIR",
        default_value = "/var/lib/cni/networks"
    )]
    pub data_dir: PathBuf,

    /// Directory of the pinned eBPF programs and maps
    #[arg(long, env = "WEIR_PIN_DIR", value_name = "DIR", default_value = "/sys/fs/bpf/weir")]
    pub pin_dir: PathBuf,

    /// Capacity of eBPF maps, in entries; can be repeated: services, slots, backends,
    /// flows-tcp, flows-datagram, affinity, endpoints, routes, fragments or sockets, as in
    /// flows-tcp=131072. The default depends on the machine's memory. Existing maps keep their
    /// capacity
    #[arg(long, env = "WEIR_MAP_CAPACITY", value_name = "NAME=ENTRIES", value_delimiter = ',')]
    pub map_capacity: Vec<CapacityChoice>,

    /// Directory to write kernel parameters in, for a container whose own /proc/sys is read-only
    #[arg(long, env = "WEIR_PROC_SYS", value_name = "DIR", default_value = "/proc/sys")]
    pub proc_sys: PathBuf,

    /// Serve /healthz, /readyz and /metrics here
    #[arg(
        long,
        env = "WEIR_HEALTH_ADDRESS",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9470"
    )]
    pub health_address: SocketAddr,

    /// Compare everything with the kernel at least this often, in seconds
    #[arg(
        long,
        env = "WEIR_RESYNC_SECONDS",
        value_name = "SECONDS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub resync_seconds: u64,

    /// TX checksum offload of the tunnel device; auto turns it off on kernels before 5.7
    #[arg(long, env = "WEIR_TX_CHECKSUM", value_enum, default_value = "auto")]
    pub tx_checksum: TxChecksum,

    /// Mark bit: masquerade this packet
    #[arg(long, env = "WEIR_MASQUERADE_MARK", default_value = "0x00200000", value_parser = mark_bit)]
    pub masquerade_mark: u32,

    /// Mark bit: never masquerade this packet, because it is a reply of a known flow
    #[arg(long, env = "WEIR_REPLY_MARK", default_value = "0x00400000", value_parser = mark_bit)]
    pub reply_mark: u32,

    /// Mark bit: reject this packet
    #[arg(long, env = "WEIR_REJECT_MARK", default_value = "0x00800000", value_parser = mark_bit)]
    pub reject_mark: u32,

    /// Log level: error, warn, info, debug, trace, or a tracing filter. The Kubernetes client's own
    /// lines are off by default, because the agent logs problems with the API server itself
    #[arg(long, env = "WEIR_LOG", default_value = "info,kube_client=off,kube_runtime=off")]
    pub log_level: String,

    /// Format of the log
    #[arg(long, env = "WEIR_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// TX checksum offload of the tunnel device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TxChecksum {
    /// Off on kernels before 5.7, else the kernel's default.
    Auto,
    /// The device computes checksums.
    On,
    /// The kernel computes checksums.
    Off,
}

/// Which packets the eBPF programs log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PacketLog {
    /// None.
    Off,
    /// Packets that are dropped.
    Dropped,
    /// Packets that are refused, because no endpoint serves their destination.
    Refused,
    /// New flows to Services.
    Opened,
}

impl From<PacketLog> for LogLevel {
    fn from(chosen: PacketLog) -> Self {
        match chosen {
            PacketLog::Off => Self::Off,
            PacketLog::Dropped => Self::Dropped,
            PacketLog::Refused => Self::Refused,
            PacketLog::Opened => Self::Opened,
        }
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Options {
    /// The options of this process, from its command line and environment. Ends the process if they are
    /// wrong, with a message.
    pub fn of_process() -> Self {
        let options = Self::parse();
        if let Err(problem) = options.check() {
            Self::command().error(ErrorKind::ArgumentConflict, problem).exit()
        }
        options
    }

    /// What no option can say for itself.
    fn check(&self) -> Result<(), String> {
        let marks = [
            ("--masquerade-mark", self.masquerade_mark),
            ("--reply-mark", self.reply_mark),
            ("--reject-mark", self.reject_mark),
        ];
        for (number, (name, mark)) in marks.iter().enumerate() {
            if let Some((other, _)) = marks.iter().take(number).find(|(_, taken)| taken == mark) {
                return Err(format!(
                    "{name} and {other} are both {mark:#010x}: each needs a bit of its own"
                ));
            }
        }
        Ok(())
    }
}

/// The bits that kubelet (0x8000) and kube-proxy (0x4000) use.
const TAKEN: u32 = 0xc000;

fn link_name(text: &str) -> Result<String, String> {
    weir_node::interface_name::check(text).map(|()| text.to_owned())
}

fn mark_bit(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mark = u32::from_str_radix(digits, 16)
        .map_err(|_| format!("{text:?} is not a hexadecimal number like 0x00200000"))?;
    if mark.count_ones() != 1 {
        return Err(format!("{text} is not a single bit"));
    }
    if mark & TAKEN != 0 {
        return Err(format!("{text} belongs to kubelet or kube-proxy (0x8000 and 0x4000)"));
    }
    Ok(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_bridge_has_a_name_that_the_kernel_accepts() {
        assert_eq!(link_name("weir0"), Ok("weir0".to_owned()));
        assert!(link_name("a/b").is_err() && link_name("a-name-of-17-char").is_err());
    }

    #[test]
    fn marks_are_single_free_bits() {
        assert_eq!(mark_bit("0x00200000"), Ok(0x20_0000));
        for invalid in ["0", "0x3", "0x4000", "0x8000", "many", "0x100000000"] {
            assert!(mark_bit(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn each_mark_has_a_bit_of_its_own() {
        let check = |given: &[&str]| {
            let options = ["weir-agent", "--node-name=a"].iter().chain(given);
            Options::try_parse_from(options).unwrap().check()
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["--masquerade-mark=1", "--reply-mark=2", "--reject-mark=4"]), Ok(()));
        let problem = check(&["--masquerade-mark=0x00400000"]).unwrap_err();
        assert!(problem.contains("--reply-mark and --masquerade-mark"), "{problem}");
        let problem = check(&["--reject-mark=1", "--reply-mark=1"]).unwrap_err();
        assert!(problem.contains("0x00000001"), "{problem}");
    }

    #[test]
    fn several_capacities_can_be_given_at_once() {
        let options = ["weir-agent", "--node-name=a", "--map-capacity=slots=128,sockets=256"];
        assert_eq!(Options::try_parse_from(options).unwrap().map_capacity.len(), 2);
        let unknown = ["weir-agent", "--node-name=a", "--map-capacity=slot=128"];
        let error = Options::try_parse_from(unknown).unwrap_err().to_string();
        assert!(error.contains("there are services, slots"), "{error}");
    }

    #[test]
    fn routing_namespaces_are_names_of_namespaces() {
        let list = ["weir-agent", "--node-name=a", "--routing-namespaces=vpn,edge"];
        let found = Options::try_parse_from(list).unwrap().routing_namespaces;
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["vpn", "edge"]);
        for invalid in ["VPN", "*", "vpn,", "a/b"] {
            let invalid = format!("--routing-namespaces={invalid}");
            let error = Options::try_parse_from(["weir-agent", "--node-name=a", &invalid]);
            let error = error.unwrap_err().to_string();
            assert!(error.contains("--routing-namespaces"), "{error}");
            assert!(error.contains("not the name of a namespace"), "{error}");
        }
    }

    #[test]
    fn ip_masq_can_be_turned_off() {
        let options = ["weir-agent", "--node-name=a", "--ip-masq=false"];
        assert!(!Options::try_parse_from(options).unwrap().ip_masq);
    }
}
