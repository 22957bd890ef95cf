//! MAC addresses of 48 bits.

use std::{fmt, str::FromStr};

/// An Ethernet address, written in lower case with colons (`0a:58:0a:f4:01:02`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr([u8; 6]);

/// Why a text is not a MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a MAC address of six bytes, such as 0a:58:0a:f4:01:02")]
pub struct ParseMacError {
    text: String,
}

impl MacAddr {
    /// The address with these bytes, in the order of transmission.
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The bytes, in the order of transmission.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether a single station can own it: not a group address and not zero.
    pub const fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && !matches!(self.0, [0, 0, 0, 0, 0, 0])
    }
}

impl TryFrom<&[u8]> for MacAddr {
    type Error = std::array::TryFromSliceError;

    fn try_from(octets: &[u8]) -> Result<Self, Self::Error> {
        octets.try_into().map(Self)
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.split([':', '-']);
            let mut octets = [0; 6];
            for octet in &mut octets {
                // from_str_radix alone would take a sign for a digit.
                let is_hex =
                    |part: &&str| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit());
                let part = parts.next().filter(is_hex)?;
                *octet = u8::from_str_radix(part, 16).ok()?;
            }
            parts.next().is_none().then_some(Self(octets))
        };
        parse().ok_or_else(|| ParseMacError { text: text.to_owned() })
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_back_from_its_text() {
        let mac = MacAddr::new([0x0a, 0x58, 0, 0xff, 1, 2]);
        assert_eq!(mac.to_string(), "0a:58:00:ff:01:02");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert_eq!("0A-58-00-FF-01-02".parse(), Ok(mac));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "0a:58:00:ff:01",
            "0a:58:00:ff:01:02:03",
            "0a:58:0:ff:01:02",
            "+a:58:00:ff:01:02",
            "é:58:00:ff:01:02",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn group_and_zero_addresses_are_not_unicast() {
        assert!(MacAddr::new([2, 0, 0, 0, 0, 1]).is_unicast());
        assert!(!MacAddr::new([1, 0, 0x5e, 0, 0, 1]).is_unicast());
        assert!(!MacAddr::new([0; 6]).is_unicast());
    }
}
