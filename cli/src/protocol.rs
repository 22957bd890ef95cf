//! Transport protocols on the command line and in output.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use weir_datapath::common::protocol;

/// The number of an IP protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Protocol(pub(crate) u8);

impl Protocol {
    pub(crate) const TCP: Self = Self(protocol::TCP);
    pub(crate) const UDP: Self = Self(protocol::UDP);
    pub(crate) const SCTP: Self = Self(protocol::SCTP);
    const NAMES: [(Self, &'static str); 3] =
        [(Self::TCP, "tcp"), (Self::UDP, "udp"), (Self::SCTP, "sctp")];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(known, _)| known == self) {
            Some((_, name)) => f.pad(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::NAMES.iter().find(|(_, name)| text.eq_ignore_ascii_case(name));
        known
            .map(|(protocol, _)| *protocol)
            .ok_or_else(|| format!("{text:?} must be tcp, udp or sctp"))
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_read_as_it_is_shown_and_in_capitals() {
        assert_eq!("UDP".parse(), Ok(Protocol::UDP));
        assert_eq!(Protocol::SCTP.to_string().parse(), Ok(Protocol::SCTP));
        assert!("icmp".parse::<Protocol>().is_err());
    }
}
