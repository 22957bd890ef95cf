//! The MTU of pods.

use std::{fs, io::ErrorKind, path::Path};

use tracing::debug;
use weir_netlink::{Netlink, link, route};
use weir_node::subnet_env;

use crate::{
    Error,
    config::{NetworkConfig, check_mtu, check_mtu_for_ipv6},
    range::RangeSet,
};

/// The MTU of Ethernet, for a node without a default route.
const FALLBACK: u32 = 1500;

/// The MTU of pods in bytes: that of the configuration, else that of the agent's `subnet.env`, else
/// that of the uplink. With `waitForAgent`, a missing `subnet.env` is an error.
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

/// `WEIR_MTU` of the agent's `subnet.env`, if the file exists.
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

/// The MTU of the link of the default route; that of IPv4 is preferred.
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
    fn an_invalid_mtu_of_the_agent_is_an_error_that_names_the_key() {
        assert_eq!(of("WEIR_NETWORK=10.244.0.0/16\nWEIR_MTU=1450\n").unwrap(), Some(1450));
        assert_eq!(of("WEIR_NETWORK=10.244.0.0/16\n").unwrap(), None);
        for invalid in ["WEIR_MTU=", "WEIR_MTU=abc", "WEIR_MTU=1", "WEIR_MTU=99999999999"] {
            let error = of(invalid).unwrap_err();
            assert_eq!(error.code(), 7);
            assert!(error.to_string().contains("WEIR_MTU"), "{error}");
        }
        assert_eq!(of_overlay(Path::new("/nonexistent/subnet.env")).unwrap(), None);
    }
}
