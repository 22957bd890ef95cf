//! The plugin's errors and their codes in the specification.

use std::{io, net::IpAddr, path::PathBuf, time::Duration};

use ipnetwork::IpNetwork;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `cniVersion` is missing or not supported.
    #[error("cniVersion {found:?} is not supported; use one of 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0")]
    Version {
        /// What the configuration says.
        found: String,
    },
    /// The specification has the verb only since a later version than the configuration's.
    #[error("{command} needs cniVersion {since} or later, and the configuration says {found}")]
    CommandTooNew {
        /// The verb.
        command: &'static str,
        /// The configuration's version.
        found: &'static str,
        /// The first version that has the verb.
        since: &'static str,
    },
    /// An environment variable is missing or invalid.
    #[error("environment variable {variable} {problem}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// Why it is invalid.
        problem: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// The operation.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
    /// The container's network namespace cannot be used.
    #[error("cannot use the network namespace in CNI_NETNS")]
    Namespace(#[source] weir_netlink::Error),
    /// `CNI_NETNS` is the namespace that the plugin itself runs in.
    #[error("CNI_NETNS is the host's own network namespace")]
    HostNamespace,
    /// Standard input could not be read.
    #[error("cannot read the configuration from standard input")]
    Input(#[source] io::Error),
    /// The runtime that drives the netlink sockets could not be started.
    #[error("cannot start the I/O runtime")]
    Runtime(#[source] io::Error),
    /// Standard input is longer than any configuration.
    #[error("the configuration on standard input is larger than {limit} bytes")]
    InputTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Standard input is not JSON in UTF-8.
    #[error("the configuration on standard input is not a JSON object")]
    Decode(#[source] serde_json::Error),
    /// The configuration has an invalid value.
    #[error("configuration key {key}: {problem}")]
    Config {
        /// Its path, for example `ipam.ranges[0][0].subnet`.
        key: String,
        /// Why it is invalid.
        problem: String,
    },
    /// Another process holds the address store's lock.
    #[error("the address store {} stayed locked by another process for {limit:?}", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long the plugin waited.
        limit: Duration,
    },
    /// The agent has not prepared the node since it booted.
    #[error(
        "weir-agent has not prepared this node yet: {} is missing; if this persists, see \
         the log of the agent and its /readyz",
        path.display()
    )]
    AgentNotReady {
        /// The file that the agent writes when the overlay is ready.
        path: PathBuf,
    },
    /// `STATUS`: an `ADD` would fail.
    #[error("not ready for ADD: {reason}")]
    NotReady {
        /// Why.
        reason: String,
    },
    /// The kernel refused a request.
    #[error("the kernel refused a request")]
    Netlink(#[from] weir_netlink::Error),
    /// This attachment exists already.
    #[error(
        "container {container_id} already has interface {ifname} on this node; DEL it before another ADD"
    )]
    AlreadyAdded {
        /// The container.
        container_id: String,
        /// Its interface.
        ifname: String,
    },
    /// The container has an interface of this name that Weir did not make.
    #[error("the container's network namespace already has an interface {ifname}")]
    InterfaceTaken {
        /// Its name.
        ifname: String,
    },
    /// All addresses of a range set are taken.
    #[error("no free address in {ranges}: all {size} {problem}")]
    Exhausted {
        /// The ranges, as text.
        ranges: String,
        /// How many addresses they have.
        size: u128,
        /// Why none of them is free.
        problem: &'static str,
    },
    /// A requested address is not available.
    #[error("requested address {ip} {problem}")]
    Requested {
        /// The address.
        ip: IpAddr,
        /// Why not.
        problem: &'static str,
    },
    /// Another interface on the bridge, or the bridge itself, has the MAC address.
    #[error("MAC address {mac}, {origin}, is that of {owner}; request another one")]
    MacTaken {
        /// The MAC address.
        mac: String,
        /// Where it is from.
        origin: String,
        /// What has it.
        owner: String,
    },
    /// The bridge serves another subnet than the configuration's.
    #[error(
        "bridge {bridge} has address {found}, not {wanted}: the node's pod CIDR changed; \
         drain the node and delete the link {bridge} to switch to the new one"
    )]
    OtherSubnet {
        /// The bridge.
        bridge: String,
        /// An address of the bridge.
        found: IpNetwork,
        /// The gateway address that the configuration wants.
        wanted: IpNetwork,
    },
    /// `CHECK`: the kernel is not as the previous result says.
    #[error("{subject} is not as ADD left it: {difference}")]
    Difference {
        /// The object that was compared.
        subject: String,
        /// The difference.
        difference: String,
    },
    /// eBPF programs are pinned that this version cannot attach.
    #[error(
        "{} holds pinned programs that this weir-cni cannot attach: install the weir-cni of the \
         weir-agent that pinned them",
        path.display()
    )]
    Programs {
        /// The pin directory.
        path: PathBuf,
        /// The cause; `None` if nothing in the directory is known.
        source: Option<weir_datapath::Error>,
    },
    /// The pinned programs or maps could not be used for a pod.
    #[error("cannot {action}")]
    Datapath {
        /// The operation.
        action: &'static str,
        /// The cause.
        source: weir_datapath::Error,
    },
    /// The bridge has no port for another pod.
    #[error(
        "bridge {bridge} has 1,023 ports, the maximum of the kernel: lower the \
         number of pods on this node (--max-pods of the kubelet)"
    )]
    BridgeFull {
        /// The bridge.
        bridge: String,
    },
    /// Several steps of a teardown failed; the first is the source.
    #[error("{} steps failed: {}", .0.len(), summary(.0))]
    Several(Vec<Error>),
}

impl Error {
    /// The code for the caller: below 100 the specification's, from 100 our own.
    pub fn code(&self) -> u32 {
        match self {
            Self::Version { .. } | Self::CommandTooNew { .. } => 1,
            Self::Environment { .. } => 4,
            Self::File { .. }
            | Self::Namespace(_)
            | Self::HostNamespace
            | Self::Input(_)
            | Self::Runtime(_) => 5,
            Self::InputTooLarge { .. } | Self::Decode(_) => 6,
            Self::Config { .. } => 7,
            Self::Locked { .. } | Self::AgentNotReady { .. } => 11,
            Self::NotReady { .. } => 50,
            Self::Netlink(error) if error.is_timeout() => 11,
            Self::Netlink(_) | Self::Datapath { .. } | Self::InterfaceTaken { .. } => 100,
            Self::AlreadyAdded { .. } => 101,
            Self::Exhausted { .. } => 102,
            Self::Requested { .. } | Self::MacTaken { .. } => 103,
            Self::OtherSubnet { .. } => 104,
            Self::Difference { .. } => 105,
            Self::Programs { .. } => 106,
            Self::BridgeFull { .. } => 107,
            Self::Several(errors) => errors.first().map_or(5, Self::code),
        }
    }

    /// The chain of causes below this error, as one line; empty if there is none.
    pub fn details(&self) -> String {
        let mut causes = Vec::new();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        causes.join(": ")
    }

    pub(crate) fn config(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Config { key: key.into(), problem: problem.into() }
    }

    pub(crate) fn environment(variable: &'static str, problem: impl Into<String>) -> Self {
        Self::Environment { variable, problem: problem.into() }
    }

    /// For `map_err` on a file operation.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// One error for all errors of a teardown, or `Ok` without any.
    pub(crate) fn collect(errors: Vec<Self>) -> Result<(), Self> {
        let mut errors = errors;
        match errors.len() {
            0 => Ok(()),
            1 => errors.pop().map_or(Ok(()), Err),
            _ => Err(Self::Several(errors)),
        }
    }
}

impl From<weir_datapath::Error> for Error {
    fn from(source: weir_datapath::Error) -> Self {
        Self::Datapath { action: "read or change the eBPF programs' maps", source }
    }
}

fn summary(errors: &[Error]) -> String {
    let line = |error: &Error| match error.details() {
        details if details.is_empty() => error.to_string(),
        details => format!("{error}: {details}"),
    };
    errors.iter().map(line).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_of_causes_is_in_the_details_only() {
        let denied = io::Error::from_raw_os_error(13);
        let error = Error::file("write", "/var/lib/cni/x")(denied);
        assert_eq!(error.to_string(), "cannot write /var/lib/cni/x");
        assert_eq!(error.details(), "Permission denied (os error 13)");
        assert_eq!(error.code(), 5);
    }

    #[test]
    fn a_teardown_with_several_failures_reports_all_of_them() {
        let errors = vec![
            Error::file("remove", "/a")(io::Error::from_raw_os_error(13)),
            Error::HostNamespace,
        ];
        let error = Error::collect(errors).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/a") && text.contains("Permission denied"), "{text}");
        assert!(text.contains("host's own"), "{text}");
        assert!(Error::collect(Vec::new()).is_ok());
    }
}
