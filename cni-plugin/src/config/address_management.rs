//! The `ipam` section, in the format of host-local.

use std::{net::IpAddr, path::PathBuf};

use ipnetwork::IpNetwork;
use serde::Deserialize;

use super::null::null_is_default;
use crate::{
    Error,
    attributes::RouteAttributes,
    range::{Range, RangeSet, check_disjoint},
};

/// The unchecked `ipam`. A single range may be directly in it instead of in `ranges`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawIpam {
    r#type: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    ranges: Vec<Vec<RawRange>>,
    subnet: Option<IpNetwork>,
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
    gateway: Option<IpAddr>,
    #[serde(default, deserialize_with = "null_is_default")]
    routes: Vec<RouteAttributes>,
    data_dir: Option<PathBuf>,
}

/// An unchecked range.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawRange {
    subnet: IpNetwork,
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
    gateway: Option<IpAddr>,
}

impl RawIpam {
    /// Checks what every verb needs.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.r#type.as_deref() {
            None | Some("host-local") => Ok(()),
            Some(other) => {
                let problem = format!("{other:?} is not built in; the only one is \"host-local\"");
                Err(Error::config("ipam.type", problem))
            }
        }
    }

    pub(super) fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| PathBuf::from("/var/lib/cni/networks"))
    }

    pub(super) fn routes(&self) -> Result<Vec<RouteAttributes>, Error> {
        for (index, route) in self.routes.iter().enumerate() {
            route.check(&format!("ipam.routes[{index}]"))?;
        }
        Ok(self.routes.clone())
    }
}

/// All range sets: those of the runtime, the single range, those of `ranges`.
pub(super) fn range_sets(ipam: &RawIpam, extra: &[Vec<RawRange>]) -> Result<Vec<RangeSet>, Error> {
    let RawIpam { subnet, range_start, range_end, gateway, .. } = ipam;
    let mut sets = Vec::new();
    for (index, ranges) in extra.iter().enumerate() {
        sets.push(range_set(&format!("runtimeConfig.ipRanges[{index}]"), ranges)?);
    }
    if let Some(subnet) = *subnet {
        let range = Range::new("ipam", subnet, *range_start, *range_end, *gateway)?;
        sets.push(RangeSet::new("ipam", vec![range])?);
    }
    for (index, ranges) in ipam.ranges.iter().enumerate() {
        sets.push(range_set(&format!("ipam.ranges[{index}]"), ranges)?);
    }
    if sets.is_empty() {
        return Err(Error::config("ipam.ranges", "it is missing; give at least one subnet"));
    }
    check_disjoint("ipam.ranges", sets.iter().flat_map(RangeSet::ranges))?;
    Ok(sets)
}

fn range_set(key: &str, raw: &[RawRange]) -> Result<RangeSet, Error> {
    let ranges = raw.iter().enumerate().map(|(index, range)| {
        let RawRange { subnet, range_start, range_end, gateway } = range;
        Range::new(&format!("{key}[{index}]"), *subnet, *range_start, *range_end, *gateway)
    });
    RangeSet::new(key, ranges.collect::<Result<_, _>>()?)
}
