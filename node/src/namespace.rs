//! Namespaces of Kubernetes whose pods may route.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::PodIdentity;

/// The longest name in bytes (RFC 1123).
const LENGTH_MAX: usize = 63;

/// The name of a namespace, which is a DNS label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Namespace(String);

/// A text that names no namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the name of a namespace: it must have 1 to 63 lower-case letters, digits and \
     hyphens, and begin and end with a letter or a digit"
)]
pub struct NotANamespace(String);

impl FromStr for Namespace {
    type Err = NotANamespace;

    fn from_str(text: &str) -> Result<Self, NotANamespace> {
        let is_outer = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let is_valid = bytes.len() <= LENGTH_MAX
            && bytes.iter().all(|byte| is_outer(*byte) || *byte == b'-')
            && [bytes.first(), bytes.last()]
                .into_iter()
                .all(|end| end.is_some_and(|b| is_outer(*b)));
        if is_valid { Ok(Self(text.to_owned())) } else { Err(NotANamespace(text.to_owned())) }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a pod may send with addresses of others, as its namespace is one of these. A pod without a
/// namespace may not.
pub fn may_route(pod: &PodIdentity, namespaces: &[Namespace]) -> bool {
    let own = pod.namespace.as_deref();
    own.is_some_and(|own| namespaces.iter().any(|namespace| namespace.0 == own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_namespaces_are_dns_labels() {
        let longest = "a".repeat(LENGTH_MAX);
        for valid in ["vpn", "0", "kube-system", "a--b", &longest] {
            assert_eq!(valid.parse::<Namespace>().unwrap().to_string(), valid);
        }
        let too_long = "a".repeat(LENGTH_MAX + 1);
        for invalid in
            ["", "-", "a-", "-a", "VPN", "a.b", "a b", " a", "*", "vpn/gw", "ä", &too_long]
        {
            let error = invalid.parse::<Namespace>().unwrap_err().to_string();
            assert!(error.contains(&format!("{invalid:?}")), "{error}");
        }
    }

    #[test]
    fn only_pods_of_a_listed_namespace_may_route() {
        let namespaces = ["vpn", "edge"].map(|name| name.parse().unwrap());
        let pod = |namespace: Option<&str>| PodIdentity {
            namespace: namespace.map(str::to_owned),
            name: Some("vpn".to_owned()),
            uid: None,
        };
        assert!(may_route(&pod(Some("edge")), &namespaces));
        assert!(!may_route(&pod(Some("edge")), &[]));
        for other in [Some("default"), Some(""), Some("vpn2"), None] {
            assert!(!may_route(&pod(other), &namespaces), "{other:?}");
        }
    }
}
