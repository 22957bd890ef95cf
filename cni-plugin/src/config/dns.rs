//! DNS settings of configurations and results, in the format of the specification.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::null::null_is_default;
use crate::Error;

/// DNS settings. Runtimes write them into files of the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    nameservers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    search: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    options: Vec<String>,
}

impl Dns {
    /// Checks that name servers are addresses, and that every other value is one word: a line break would
    /// add a line to the container's file.
    pub(super) fn check(&self) -> Result<(), Error> {
        let Self { nameservers, domain, search, options } = self;
        for (index, text) in nameservers.iter().enumerate() {
            if text.parse::<IpAddr>().is_err() {
                let problem = format!("{text:?} is not an IP address");
                return Err(Error::config(format!("dns.nameservers[{index}]"), problem));
            }
        }
        // Go programs may write an absent domain as an empty one.
        if let Some(text) = domain.as_ref().filter(|text| !text.is_empty()) {
            check_word("dns.domain".to_owned(), text)?;
        }
        for (name, list) in [("search", search), ("options", options)] {
            for (index, text) in list.iter().enumerate() {
                check_word(format!("dns.{name}[{index}]"), text)?;
            }
        }
        Ok(())
    }
}

fn check_word(key: String, text: &str) -> Result<(), Error> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Error::config(key, format!("{text:?} is empty or has white space")));
    }
    Ok(())
}
