//! What cannot be right in a Service or an EndpointSlice, in an operator's words.

use std::net::IpAddr;

use thiserror::Error;

use weir_model::ObjectName;

/// A field that cannot be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind} {name}: {field}: {fault}")]
pub(crate) struct WrongValue {
    /// The kind of object.
    pub(crate) kind: &'static str,
    /// The object.
    pub(crate) name: ObjectName,
    /// The path of the field in it.
    pub(crate) field: String,
    /// What is wrong with it.
    pub(crate) fault: Fault,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Fault {
    #[error("`{0}` is no IP address")]
    NoAddress(String),
    #[error("`{0}` is no address that a Service can have")]
    Unservable(IpAddr),
    #[error("`{0}` is no address that an endpoint can have")]
    Unreachable(IpAddr),
    #[error("`{0}` is a second address of the same family, and only the first is used")]
    SecondOfFamily(IpAddr),
    #[error("`{ip}` is not of the slice's addressType {wanted}")]
    OtherFamily { ip: IpAddr, wanted: &'static str },
    #[error("{0} is no port number")]
    NoPort(i64),
    #[error("`{found}` is none of {known}")]
    Unknown { found: String, known: &'static str },
    #[error("{0} is no number of seconds between 1 and 86400")]
    NoTimeout(i64),
}

/// Collects what is wrong with one object.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    kind: &'static str,
    name: &'a ObjectName,
    wrong: Vec<WrongValue>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(kind: &'static str, name: &'a ObjectName) -> Self {
        Self { kind, name, wrong: Vec::new() }
    }

    pub(crate) fn add(&mut self, field: impl Into<String>, fault: Fault) {
        let Self { kind, name, wrong } = self;
        let (kind, name) = (*kind, (*name).clone());
        wrong.push(WrongValue { kind, name, field: field.into(), fault });
    }

    pub(crate) fn into_wrong(self) -> Vec<WrongValue> {
        self.wrong
    }
}
