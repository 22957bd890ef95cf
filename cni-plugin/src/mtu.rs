//! The MTU of pods where the configuration leaves it open.

use std::{fs, io::ErrorKind, path::Path};

use tracing::debug;
use weir_netlink::{Netlink, link, route};
use weir_node::subnet_env;

use crate::{
    Error,
    config::{NetworkConfig, check_mtu, check_mtu_for_ipv6},
    range::RangeSet,
};

/// Ethernet's, for a node without a default route.
const FALLBACK: u32 = 1500;

/// The MTU for pods in bytes: the configuration's, else what the agent wrote for its overlay, else
/// the uplink's. If the agent is to be waited for, it is an error that it has written nothing yet.
pub(crate) async fn resolve(
    netlink: &Netlink,
    config: &NetworkConfig,
    sets: &[RangeSet],
) -> Result<u32, Error> {
    let path = subnet_env::path(&config.run_dir);
    let (key, mtu) = if let Some(mtu) = config.mtu {
        ("mtu".to_owned(), mtu)
    } else if let Some(mtu) = of_overlay(&path)? {
        (format!("{}: WEIR_MTU", path.display()), mtu)
    } else if config.wait_for_agent {
        return Err(Error::AgentNotReady { path });
    } else {
        ("mtu of the uplink".to_owned(), of_uplink(netlink).await?.unwrap_or(FALLBACK))
    };
    if sets.iter().any(|set| !set.is_ipv4()) {
        check_mtu_for_ipv6(mtu).map_err(|problem| Error::config(key, problem))?;
    }
    debug!(mtu, "MTU of pods");
    Ok(mtu)
}

/// `WEIR_MTU` of the agent's `subnet.env`, if there is one.
fn of_overlay(path: &Path) -> Result<Option<u32>, Error> {
    let content = match fs::read_to_string(path) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("read", path)(error)),
    };
    let invalid = |problem| Error::config(format!("{}: WEIR_MTU", path.display()), problem);
    let mtu = subnet_env::read_mtu(&content).map_err(|error| invalid(error.to_string()))?;
    if let Some(mtu) = mtu {
        check_mtu(mtu).map_err(invalid)?;
    }
    Ok(mtu)
}

/// The MTU of the link that the default route leaves by; IPv4's if both families have one.
async fn of_uplink(netlink: &Netlink) -> Result<Option<u32>, Error> {
    let routes = route::list(netlink, route::TABLE_MAIN).await?;
    let default = routes
        .iter()
        .filter(|route| route.destination.prefix() == 0 && route.link != 0)
        .min_by_key(|route| (route.destination.is_ipv6(), route.priority.unwrap_or(0)));
    let Some(default) = default else {
        return Ok(None);
    };
    Ok(link::find_by_index(netlink, default.link).await?.map(|uplink| uplink.mtu))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content: &str) -> Result<Option<u32>, Error> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("subnet.env");
        fs::write(&path, content).unwrap();
        of_overlay(&path)
    }

    #[test]
    fn the_agents_file_is_read_and_a_wrong_value_is_named() {
        assert_eq!(of("WEIR_NETWORK=10.244.0.0/16\nWEIR_MTU=1450\n").unwrap(), Some(1450));
        assert_eq!(of("WEIR_NETWORK=10.244.0.0/16\n").unwrap(), None);
        for wrong in ["WEIR_MTU=", "WEIR_MTU=abc", "WEIR_MTU=1", "WEIR_MTU=99999999999"] {
            let error = of(wrong).unwrap_err();
            assert_eq!(error.code(), 7);
            assert!(error.to_string().contains("WEIR_MTU"), "{error}");
        }
        assert_eq!(of_overlay(Path::new("/nonexistent/subnet.env")).unwrap(), None);
    }
}
