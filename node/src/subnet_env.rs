//! `subnet.env`: what the agent has decided about the network of this node's pods.
//!
//! The file is in the run directory, so it does not outlive a boot. Its lines are `KEY=value`, like
//! those of flannel's file of that name.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use ipnetwork::IpNetwork;

const MTU: &str = "WEIR_MTU=";

/// The network of a node's pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodNetwork {
    /// The node's subnets.
    pub subnets: Vec<IpNetwork>,
    /// The cluster's pod networks.
    pub networks: Vec<IpNetwork>,
    /// MTU of pods in bytes.
    pub mtu: u32,
    /// Whether pod traffic that leaves the cluster is masqueraded.
    pub ip_masq: bool,
}

impl PodNetwork {
    /// The content of `subnet.env`. A family without networks has no line.
    pub fn to_subnet_env(&self) -> String {
        let Self { subnets, networks, mtu, ip_masq } = self;
        let mut text = String::new();
        for (key, cidrs) in [("NETWORK", networks), ("SUBNET", subnets)] {
            for (prefix, is_ipv4) in [("WEIR_", true), ("WEIR_IPV6_", false)] {
                let of_family: Vec<_> = cidrs
                    .iter()
                    .filter(|cidr| cidr.is_ipv4() == is_ipv4)
                    .map(IpNetwork::to_string)
                    .collect();
                if !of_family.is_empty() {
                    // Writing to a String cannot fail.
                    let _ = writeln!(text, "{prefix}{key}={}", of_family.join(","));
                }
            }
        }
        let _ = writeln!(text, "{MTU}{mtu}\nWEIR_IPMASQ={ip_masq}");
        text
    }
}

/// The path of `subnet.env` in a run directory.
pub fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("subnet.env")
}

/// `WEIR_MTU` is not a number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a number")]
pub struct InvalidMtu {
    text: String,
}

/// The MTU of pods in bytes, from the content of `subnet.env`; `None` if it has no `WEIR_MTU`.
pub fn read_mtu(content: &str) -> Result<Option<u32>, InvalidMtu> {
    let Some(text) = content.lines().find_map(|line| line.trim().strip_prefix(MTU)) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| InvalidMtu { text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> PodNetwork {
        PodNetwork {
            subnets: vec!["10.244.1.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()],
            networks: vec!["10.244.0.0/16".parse().unwrap(), "fd00::/48".parse().unwrap()],
            mtu: 1450,
            ip_masq: true,
        }
    }

    #[test]
    fn the_format_of_subnet_env_is_stable() {
        assert_eq!(
            network().to_subnet_env(),
            "WEIR_NETWORK=10.244.0.0/16\nWEIR_IPV6_NETWORK=fd00::/48\nWEIR_SUBNET=10.244.1.0/24\n\
             WEIR_IPV6_SUBNET=fd00:1::/64\nWEIR_MTU=1450\nWEIR_IPMASQ=true\n"
        );
        let ipv6 = PodNetwork {
            subnets: vec!["fd00:1::/64".parse().unwrap(), "fd00:2::/64".parse().unwrap()],
            networks: Vec::new(),
            mtu: 1500,
            ip_masq: false,
        };
        assert_eq!(
            ipv6.to_subnet_env(),
            "WEIR_IPV6_SUBNET=fd00:1::/64,fd00:2::/64\nWEIR_MTU=1500\nWEIR_IPMASQ=false\n"
        );
    }

    #[test]
    fn the_mtu_is_read_back() {
        assert_eq!(read_mtu(&network().to_subnet_env()), Ok(Some(1450)));
        assert_eq!(read_mtu("WEIR_NETWORK=10.244.0.0/16\n  WEIR_MTU=1400 \n"), Ok(Some(1400)));
        assert_eq!(read_mtu("WEIR_NETWORK=10.244.0.0/16\n"), Ok(None));
        for text in ["", "abc", "99999999999"] {
            let error = read_mtu(&format!("WEIR_MTU={text}")).unwrap_err();
            assert_eq!(error.to_string(), format!("{text:?} is not a number"));
        }
    }
}
