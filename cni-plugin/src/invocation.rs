//! The parameters of a call: the environment variables of the specification.

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf};

use weir_netlink::MacAddr;
use weir_node::{Attachment, PodIdentity};

use crate::{
    Error,
    mac::{ChosenMac, Origin},
    version::SpecVersion,
};

/// A verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Adds an interface to a container.
    Add,
    /// Removes it.
    Del,
    /// Compares it with the result of ADD.
    Check,
    /// Removes everything that belongs to no valid attachment.
    Gc,
    /// Reports whether ADD would succeed.
    Status,
    /// Reports the supported versions.
    Version,
}

impl Command {
    const ALL: [Self; 6] =
        [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::Version];

    /// The value of `CNI_COMMAND`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The first version of the specification that has the verb.
    pub const fn since(self) -> SpecVersion {
        match self {
            Self::Add | Self::Del | Self::Version => SpecVersion::V0_3_0,
            Self::Check => SpecVersion::V0_4_0,
            Self::Gc | Self::Status => SpecVersion::V1_1_0,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The checked `CNI_ARGS`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `IP`: the requested addresses.
    pub ips: Vec<IpAddr>,
    /// `MAC`: the requested MAC address.
    pub mac: Option<ChosenMac>,
    /// `K8S_POD_NAMESPACE`, `K8S_POD_NAME` and `K8S_POD_UID`.
    pub pod: PodIdentity,
}

/// The environment variables of a call.
#[derive(Debug, Clone)]
pub struct Environment {
    /// A value that is not UTF-8 is `None`.
    variables: BTreeMap<String, Option<String>>,
}

impl Environment {
    /// The variables of this process that start with `CNI_`.
    pub fn of_process() -> Self {
        let named = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| name.starts_with("CNI_"))?;
            Some((name, value.into_string().ok()))
        });
        Self { variables: named.collect() }
    }

    /// The given variables.
    pub fn of(variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), Some((*value).to_owned()));
        Self { variables: variables.iter().map(owned).collect() }
    }

    /// The value of a variable; an empty one counts as not set.
    fn get(&self, variable: &'static str) -> Result<Option<&str>, Error> {
        match self.variables.get(variable) {
            None => Ok(None),
            Some(None) => Err(Error::environment(variable, "is not UTF-8")),
            Some(Some(value)) => Ok(Some(value.as_str()).filter(|value| !value.is_empty())),
        }
    }

    fn require(&self, variable: &'static str) -> Result<&str, Error> {
        self.get(variable)?.ok_or_else(|| Error::environment(variable, "is not set"))
    }

    /// `CNI_COMMAND`.
    pub fn command(&self) -> Result<Command, Error> {
        let found = self.require("CNI_COMMAND")?;
        Command::ALL.into_iter().find(|command| command.as_str() == found).ok_or_else(|| {
            let problem =
                format!("is {found:?}; it must be ADD, DEL, CHECK, GC, STATUS or VERSION");
            Error::environment("CNI_COMMAND", problem)
        })
    }

    /// `CNI_CONTAINERID` and `CNI_IFNAME`.
    pub fn attachment(&self) -> Result<Attachment, Error> {
        let container_id = self.require("CNI_CONTAINERID")?;
        check_identifier(container_id)
            .map_err(|problem| Error::environment("CNI_CONTAINERID", problem))?;
        let ifname = self.require("CNI_IFNAME")?;
        weir_node::interface_name::check(ifname)
            .map_err(|problem| Error::environment("CNI_IFNAME", problem))?;
        Ok(Attachment { container_id: container_id.to_owned(), ifname: ifname.to_owned() })
    }

    /// `CNI_NETNS`, which `ADD` and `CHECK` require.
    pub fn netns(&self) -> Result<PathBuf, Error> {
        self.require("CNI_NETNS").map(PathBuf::from)
    }

    /// `CNI_NETNS` if it is set: `DEL` works without it.
    pub fn optional_netns(&self) -> Result<Option<PathBuf>, Error> {
        Ok(self.get("CNI_NETNS")?.map(PathBuf::from))
    }

    /// `CNI_ARGS`: `KEY=value` pairs between semicolons. An unknown key is an error unless
    /// `IgnoreUnknown` is set, as in the reference plugins.
    pub fn arguments(&self) -> Result<Arguments, Error> {
        let invalid = |problem: String| Error::environment("CNI_ARGS", problem);
        let mut arguments = Arguments::default();
        let mut ignore_unknown = false;
        let mut unknown = Vec::new();
        let pairs = self.get("CNI_ARGS")?.unwrap_or_default().split(';');
        for pair in pairs.map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| invalid(format!("has {pair:?}, which is not KEY=value")))?;
            let pod = &mut arguments.pod;
            match key {
                "IgnoreUnknown" => {
                    ignore_unknown = matches!(value, "1" | "true" | "True" | "TRUE" | "t" | "T");
                }
                "IP" => {
                    for part in value.split(',').map(str::trim) {
                        let ip = part.parse().map_err(|_| {
                            invalid(format!("has IP={part}, which is not an IP address"))
                        })?;
                        arguments.ips.push(ip);
                    }
                }
                "MAC" => {
                    let address =
                        parse_mac(value).map_err(|problem| invalid(format!("MAC: {problem}")))?;
                    let origin = Origin::Requested("MAC in CNI_ARGS");
                    arguments.mac = Some(ChosenMac { address, origin });
                }
                "K8S_POD_NAMESPACE" => pod.namespace = Some(value.to_owned()),
                "K8S_POD_NAME" => pod.name = Some(value.to_owned()),
                "K8S_POD_UID" => pod.uid = Some(value.to_owned()),
                "K8S_POD_INFRA_CONTAINER_ID" => {}
                _ => unknown.push(key),
            }
        }
        if unknown.is_empty() || ignore_unknown {
            return Ok(arguments);
        }
        Err(invalid(format!("has unknown keys {unknown:?} and not IgnoreUnknown=1")))
    }
}

/// Parses the MAC address of a pod's interface, which must be a unicast address.
pub(crate) fn parse_mac(text: &str) -> Result<MacAddr, String> {
    match text.parse::<MacAddr>() {
        Ok(mac) if mac.is_unicast() => Ok(mac),
        Ok(mac) => Err(format!("{mac} is not a unicast address")),
        Err(error) => Err(error.to_string()),
    }
}

/// Checks a container ID or network name by the rule of the specification.
pub(crate) fn check_identifier(text: &str) -> Result<(), String> {
    let mut bytes = text.bytes();
    let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts_well && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)) {
        return Ok(());
    }
    Err(format!(
        "is {text:?}; it must start with a letter or digit and have only letters, digits, _ . and -"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arguments(text: &str) -> Result<Arguments, Error> {
        Environment::of(&[("CNI_ARGS", text)]).arguments()
    }

    #[test]
    fn arguments_of_kubelet_are_read() {
        let found = arguments(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=x;\
             K8S_POD_UID=42;IP=10.1.2.3,fd00::3;MAC=0a:58:00:00:00:01;FOO=bar",
        )
        .unwrap();
        assert_eq!(found.pod.name.as_deref(), Some("web-0"));
        assert_eq!(found.ips, ["10.1.2.3", "fd00::3"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert_eq!(found.mac.unwrap().address.to_string(), "0a:58:00:00:00:01");
    }

    #[test]
    fn an_unknown_argument_is_an_error_that_names_it() {
        let error = arguments("FOO=bar").unwrap_err();
        assert_eq!(error.code(), 4);
        assert!(error.to_string().contains("CNI_ARGS") && error.to_string().contains("FOO"));
    }

    #[test]
    fn an_invalid_value_is_an_error_that_names_its_variable() {
        for (variable, value) in [
            ("CNI_CONTAINERID", ""),
            ("CNI_CONTAINERID", "../../etc"),
            ("CNI_CONTAINERID", "-x"),
            ("CNI_IFNAME", "a/b"),
            ("CNI_IFNAME", ".."),
            ("CNI_IFNAME", "all"),
            ("CNI_IFNAME", "default"),
            ("CNI_IFNAME", "sixteencharacter"),
            ("CNI_IFNAME", "a b"),
        ] {
            let mut set = vec![("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0")];
            set.retain(|(name, _)| *name != variable);
            set.push((variable, value));
            let error = Environment::of(&set).attachment().unwrap_err();
            assert_eq!(error.code(), 4, "{variable}={value}");
            assert!(error.to_string().contains(variable), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_environment_makes_it_panic(value in "\\PC*", args in "\\PC*") {
            let environment = Environment::of(&[
                ("CNI_COMMAND", &value),
                ("CNI_CONTAINERID", &value),
                ("CNI_IFNAME", &value),
                ("CNI_ARGS", &args),
            ]);
            let _ = environment.command();
            let _ = environment.attachment();
            let _ = environment.arguments();
        }
    }
}
