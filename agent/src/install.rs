//! The files that make a node ready for pods: the CNI plugin, the overlay's `subnet.env` and the CNI
//! configuration. The configuration comes last, because the container runtime starts to use the
//! plugin when it exists.
//!
//! Files are replaced by rename, so that a reader never sees half of a file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
pub use weir_node::PodNetwork;
use weir_node::{
    names::{CONFLIST, NETWORK, PLUGIN},
    subnet_env,
};

use crate::options::Options;

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct Error {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error { action, path, source }
}

/// Installs the plugin. Returns whether the file was written.
pub fn install_plugin(source: &Path, bin_dir: &Path) -> Result<bool, Error> {
    let content = fs::read(source).map_err(error("read", source))?;
    let target = bin_dir.join(PLUGIN);
    replace(&target, &content, 0o755)
}

/// Writes `subnet.env`. Returns whether it differed.
pub fn write_subnet_env(run_dir: &Path, network: &PodNetwork) -> Result<bool, Error> {
    replace(&subnet_env::path(run_dir), network.to_subnet_env().as_bytes(), 0o644)
}

/// Writes the CNI configuration. Returns whether it differed.
pub fn write_conflist(options: &Options, network: &PodNetwork) -> Result<bool, Error> {
    let text = format!("{:#}\n", conflist(options, network));
    replace(&options.cni_conf_dir.join(CONFLIST), text.as_bytes(), 0o644)
}

fn conflist(options: &Options, network: &PodNetwork) -> Value {
    let ranges: Vec<Value> =
        network.subnets.iter().map(|subnet| json!([{ "subnet": subnet }])).collect();
    json!({
        "cniVersion": "1.0.0",
        "name": NETWORK,
        "plugins": [{
            "type": PLUGIN,
            "bridge": options.bridge,
            "mtu": 0,
            // After a reboot this file exists before the agent runs: pods wait for the agent.
            "waitForAgent": true,
            "runDir": options.run_dir,
            "pinDir": options.pin_dir,
            "routingNamespaces": options.routing_namespaces,
            "ipam": { "type": "host-local", "dataDir": options.data_dir, "ranges": ranges },
            "capabilities": { "portMappings": true, "ips": true, "mac": true },
        }],
    })
}

/// Replaces a file unless it has this content already. Returns whether it was written.
fn replace(path: &Path, content: &[u8], mode: u32) -> Result<bool, Error> {
    match fs::read(path) {
        Ok(found) if found == content => return Ok(false),
        Ok(_) => {}
        Err(cause) if cause.kind() == ErrorKind::NotFound => {}
        Err(cause) => return Err(error("read", path)(cause)),
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory).map_err(error("create", directory))?;
    // The name is fixed, so that the file of a killed agent is overwritten. Container runtimes
    // ignore it because of the dot.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let staging = directory.join(format!(".{name}.new"));
    let write = || {
        let mut file: File =
            OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&staging)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(error("write", &staging))?;
    fs::rename(&staging, path).map_err(error("replace", path))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn network() -> PodNetwork {
        PodNetwork {
            subnets: vec!["10.244.1.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()],
            networks: vec!["10.244.0.0/16".parse().unwrap(), "fd00::/48".parse().unwrap()],
            mtu: 1450,
            ip_masq: true,
        }
    }

    #[test]
    fn a_file_is_written_once_and_the_rest_of_a_killed_writer_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let conf_dir = directory.path().join("net.d");
        let options = Options::try_parse_from([
            "weir-agent",
            "--node-name=a",
            "--cni-conf-dir",
            conf_dir.to_str().unwrap(),
            "--routing-namespaces=vpn,edge",
        ])
        .unwrap();
        fs::create_dir_all(&conf_dir).unwrap();
        fs::write(conf_dir.join(".10-weir.conflist.new"), "half of").unwrap();
        assert!(write_conflist(&options, &network()).unwrap());
        assert!(!write_conflist(&options, &network()).unwrap());
        assert_eq!(fs::read_dir(&conf_dir).unwrap().count(), 1);
        let written: Value =
            serde_json::from_slice(&fs::read(conf_dir.join(CONFLIST)).unwrap()).unwrap();
        assert_eq!(written["plugins"][0]["ipam"]["ranges"][1][0]["subnet"], "fd00:1::/64");
        assert_eq!(written["plugins"][0]["routingNamespaces"], json!(["vpn", "edge"]));
    }

    #[test]
    fn the_plugin_is_executable_and_can_be_replaced() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("source");
        let bin_dir = directory.path().join("bin");
        for content in ["first", "second"] {
            fs::write(&source, content).unwrap();
            assert!(install_plugin(&source, &bin_dir).unwrap());
            assert!(!install_plugin(&source, &bin_dir).unwrap());
        }
        let mode = fs::metadata(bin_dir.join(PLUGIN)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        let missing = install_plugin(Path::new("/nonexistent/weir-cni"), &bin_dir).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/weir-cni"));
    }
}
