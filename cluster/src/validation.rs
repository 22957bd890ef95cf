//! Values of Kubernetes objects that are not valid, described for an operator.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use thiserror::Error;

use crate::meta::DisplayName;
use weir_model::ObjectName;

/// A field whose value is not valid. The rest of its object is used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{noun} {}: {field}: {error}", DisplayName(name))]
pub(crate) struct InvalidValue {
    /// What messages call the kind of object.
    noun: &'static str,
    /// The object.
    name: ObjectName,
    /// The path of the field in it.
    field: String,
    /// Why the value is not valid.
    error: ValidationError,
}

/// Why the value of a field is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ValidationError {
    #[error("`{0}` is not an IP address")]
    NotAnAddress(String),
    #[error("`{0}` is not a subnet in CIDR notation, for example 10.244.1.0/24")]
    NotASubnet(String),
    #[error("a Service cannot have the address `{0}`")]
    NotAServiceAddress(IpAddr),
    #[error("an endpoint cannot have the address `{0}`")]
    NotAnEndpointAddress(IpAddr),
    #[error("other nodes cannot reach `{0}`")]
    UnreachableNodeAddress(IpAddr),
    #[error("`{0}` is a second address of the same family, and only the first is used")]
    SecondAddressOfFamily(IpAddr),
    #[error("`{0}` is a second subnet of the same family, and only the first is used")]
    SecondSubnetOfFamily(IpNetwork),
    #[error("`{ip}` does not match the slice's addressType {expected}")]
    OtherFamily { ip: IpAddr, expected: &'static str },
    #[error("{0} is not a port number")]
    NotAPort(i64),
    #[error("must be {expected}, not `{found}`")]
    NotOneOf { found: String, expected: &'static str },
    #[error("must be between 1 and 86400 seconds, not {0}")]
    TimeoutOutOfRange(i64),
}

/// Collects the invalid values of one object.
#[derive(Debug)]
pub(crate) struct Validation<'a> {
    noun: &'static str,
    name: &'a ObjectName,
    invalid: Vec<InvalidValue>,
}

impl<'a> Validation<'a> {
    pub(crate) const fn new(noun: &'static str, name: &'a ObjectName) -> Self {
        Self { noun, name, invalid: Vec::new() }
    }

    pub(crate) fn reject(&mut self, field: impl Into<String>, error: ValidationError) {
        let Self { noun, name, invalid } = self;
        let (noun, name) = (*noun, (*name).clone());
        invalid.push(InvalidValue { noun, name, field: field.into(), error });
    }

    pub(crate) fn into_invalid(self) -> Vec<InvalidValue> {
        self.invalid
    }
}

/// Whether other machines can send to an address.
pub(crate) const fn is_unicast_target(ip: IpAddr) -> bool {
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast())
}
