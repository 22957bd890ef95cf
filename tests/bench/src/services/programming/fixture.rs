//! A node with the manifests of many Services, whose agent has not been started.

use anyhow::Result;
use serde::Serialize;
use weir_tests::lab::{Cluster, ManifestDir, Member};

use super::super::objects::Service;

/// Services in a file of manifests: one file for each would be up to 50,000 files.
const SERVICES_PER_FILE: usize = 500;
/// Services that change, each in a file of its own.
pub(super) const CHANGING: u32 = 100;

/// The number of Services, and the number of endpoints of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Size {
    pub(crate) services: u32,
    pub(crate) endpoints: u32,
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("{text:?} is not a size like 1000x10");
        let (services, endpoints) = text.split_once('x').ok_or_else(malformed)?;
        let services = services.parse().map_err(|_| malformed())?;
        let endpoints = endpoints.parse().map_err(|_| malformed())?;
        if !(CHANGING..=60_000).contains(&services) || !(3..=100).contains(&endpoints) {
            return Err(format!("{text}: from {CHANGING} to 60000 Services, 3 to 100 endpoints"));
        }
        Ok(Self { services, endpoints })
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} Services x {} endpoints", self.services, self.endpoints)
    }
}

/// The node and its manifests.
pub(super) struct Fixture {
    cluster: Cluster,
    pub(super) size: Size,
}

impl Fixture {
    pub(super) fn new(size: Size) -> Result<Self> {
        let cluster = Cluster::new(1).services().without_timer().log_level("info").stopped();
        let fixture = Self { cluster: cluster.build()?, size };
        let manifests = fixture.manifests()?;
        for number in 0..CHANGING {
            fixture.write(number, size.endpoints)?;
        }
        let others: Vec<_> = (CHANGING..size.services).collect();
        for (file, numbers) in others.chunks(SERVICES_PER_FILE).enumerate() {
            let one = |&number| Service::other(number, size.endpoints).yaml();
            let documents: Vec<_> = numbers.iter().map(one).collect();
            manifests.write(&format!("others-{file}.yaml"), &documents.join("---\n"))?;
        }
        Ok(fixture)
    }

    pub(super) fn node(&self) -> Result<&Member> {
        self.cluster.node(1)
    }

    fn manifests(&self) -> Result<&ManifestDir> {
        self.cluster.manifests()
    }

    /// Writes one of the changing Services with the first `endpoints` of its endpoints, and gives
    /// it.
    pub(super) fn write(&self, number: u32, endpoints: u32) -> Result<Service> {
        let mut service = Service::other(number, self.size.endpoints);
        service.endpoints.truncate(usize::try_from(endpoints)?);
        self.manifests()?.write(&format!("changing-{number}.yaml"), &service.yaml())?;
        Ok(service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_two_numbers() {
        assert_eq!("1000x10".parse(), Ok(Size { services: 1000, endpoints: 10 }));
        for malformed in ["", "x", "1000", "1000x", "99x10", "1000x2", "1e3x10"] {
            assert!(malformed.parse::<Size>().is_err(), "{malformed}");
        }
    }
}
