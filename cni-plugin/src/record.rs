//! The endpoint record: what the agent, `weir` and `CHECK` may know of a pod's interface.
//!
//! A record is a JSON file named after the host's interface. `ADD` first claims the attachment by
//! creating `<interface>.pending`, which fails if it is there, and as its last step writes the
//! record into that file and renames it to `<interface>.json`. So a `.json` file is always whole,
//! and of two `ADD`s for one attachment only one gets past the claim.

use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io::ErrorKind,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::{Error, attachment::Attachment, config::PortMapping, invocation::PodIdentity};

/// The layout below. A reader that finds a greater one knows less than the writer.
pub const LAYOUT: u32 = 1;

/// A pod's interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointRecord {
    /// [`LAYOUT`] of the writer.
    pub version: u32,
    /// Name of the network.
    pub network: String,
    /// Container and interface.
    #[serde(flatten)]
    pub attachment: Attachment,
    /// Path of the pod's network namespace.
    pub netns: PathBuf,
    /// The veth's end on the host.
    pub host_interface: String,
    /// Its index.
    pub host_ifindex: u32,
    /// The bridge it is a port of.
    pub bridge: String,
    /// Hardware address of the pod's interface.
    pub mac: String,
    /// The pod's addresses with the prefix length of their subnet.
    pub addresses: Vec<IpNetwork>,
    /// MTU of the pod's interface, in bytes.
    pub mtu: u32,
    /// The pod, as far as the runtime named it.
    pub pod: PodRecord,
    /// Ports of the node that lead to the pod.
    pub port_mappings: Vec<PortMapping>,
}

impl EndpointRecord {
    /// The pod's addresses, without prefix lengths.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().map(IpNetwork::ip)
    }
}

/// A pod's identity, as far as the runtime tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRecord {
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its UID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

impl From<PodIdentity> for PodRecord {
    fn from(PodIdentity { namespace, name, uid }: PodIdentity) -> Self {
        Self { namespace, name, uid }
    }
}

/// The directory of the endpoint records.
#[derive(Debug, Clone)]
pub struct Records {
    directory: PathBuf,
}

impl Records {
    /// The records below a run directory. Touches nothing.
    pub fn new(run_dir: &Path) -> Self {
        Self { directory: run_dir.join("endpoints") }
    }

    /// The record of an attachment; `None` if there is none that is whole and understood.
    pub fn find(&self, attachment: &Attachment) -> Option<EndpointRecord> {
        let content = fs::read(self.complete(attachment)).ok()?;
        let record: EndpointRecord = serde_json::from_slice(&content).ok()?;
        (record.attachment == *attachment).then_some(record)
    }

    /// All records that are whole and understood.
    pub fn list(&self) -> Result<Vec<EndpointRecord>, Error> {
        let mut records = Vec::new();
        for path in self.paths("json")? {
            let content = match fs::read(&path) {
                Ok(content) => content,
                // Removed since the directory was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::file("read", path)(error)),
            };
            records.extend(serde_json::from_slice::<EndpointRecord>(&content).ok());
        }
        Ok(records)
    }

    /// The host interfaces of all claims, by whether their `ADD` has been under way for longer
    /// than `age`: then it was killed.
    pub(crate) fn claims(&self, age: Duration) -> Result<Claims, Error> {
        let now = SystemTime::now();
        let mut claims = Claims::default();
        for path in self.paths("pending")? {
            let since = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
            // Without a time, or with one in the future, it counts as young: it is left alone.
            let elapsed = since.and_then(|since| now.duration_since(since).ok());
            let is_abandoned = elapsed.is_some_and(|elapsed| elapsed > age);
            if let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) {
                let names =
                    if is_abandoned { &mut claims.abandoned } else { &mut claims.under_way };
                names.insert(name.to_owned());
            }
        }
        Ok(claims)
    }

    /// Claims an attachment for an `ADD`; it must not have a record or another claim.
    pub(crate) fn claim(&self, attachment: &Attachment) -> Result<Claim, Error> {
        fs::create_dir_all(&self.directory).map_err(Error::file("create", &self.directory))?;
        let already = || Error::AlreadyAdded {
            container_id: attachment.container_id.clone(),
            ifname: attachment.ifname.clone(),
        };
        let pending = self.pending(attachment);
        match OpenOptions::new().write(true).create_new(true).open(&pending) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(already()),
            Err(error) => return Err(Error::file("create", pending)(error)),
        }
        let claim = Claim { pending, complete: self.complete(attachment) };
        if claim.complete.exists() {
            claim.withdraw()?;
            return Err(already());
        }
        Ok(claim)
    }

    /// Removes all that is recorded of an attachment. What is gone already is no error.
    pub(crate) fn remove(&self, attachment: &Attachment) -> Result<(), Error> {
        // The record goes last: as long as it is there, DEL knows what to remove.
        remove_if_there(&self.pending(attachment))?;
        remove_if_there(&self.complete(attachment))
    }

    /// Removes a claim by the name of the host's interface; a record of that name stays.
    pub(crate) fn remove_claim(&self, host_interface: &str) -> Result<(), Error> {
        remove_if_there(&self.directory.join(host_interface).with_extension("pending"))
    }

    fn complete(&self, attachment: &Attachment) -> PathBuf {
        attachment.record_stem(&self.directory).with_extension("json")
    }

    fn pending(&self, attachment: &Attachment) -> PathBuf {
        attachment.record_stem(&self.directory).with_extension("pending")
    }

    fn paths(&self, extension: &str) -> Result<Vec<PathBuf>, Error> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file("read", &self.directory)(error)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(Error::file("read", &self.directory))?.path();
            if path.extension().is_some_and(|found| found == extension) {
                paths.push(path);
            }
        }
        Ok(paths)
    }
}

/// The host interfaces of attachments that are claimed.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// Their `ADD` may still be running.
    pub(crate) under_way: HashSet<String>,
    /// Their `ADD` was killed.
    pub(crate) abandoned: HashSet<String>,
}

/// The right to add one attachment, until it is completed or withdrawn.
#[derive(Debug)]
#[must_use]
pub(crate) struct Claim {
    pending: PathBuf,
    complete: PathBuf,
}

impl Claim {
    /// Turns the claim into the record.
    pub(crate) fn complete(&self, record: &EndpointRecord) -> Result<(), Error> {
        let content = serde_json::to_vec(record)
            .map_err(|error| Error::file("write", &self.pending)(error.into()))?;
        fs::write(&self.pending, content).map_err(Error::file("write", &self.pending))?;
        fs::rename(&self.pending, &self.complete).map_err(Error::file("write", &self.complete))
    }

    /// Gives the claim up.
    pub(crate) fn withdraw(&self) -> Result<(), Error> {
        remove_if_there(&self.pending)
    }
}

fn remove_if_there(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment() -> Attachment {
        Attachment { container_id: "c1".into(), ifname: "eth0".into() }
    }

    fn record() -> EndpointRecord {
        EndpointRecord {
            version: LAYOUT,
            network: "weir".into(),
            attachment: attachment(),
            netns: "/run/netns/c1".into(),
            host_interface: attachment().host_interface(),
            host_ifindex: 7,
            bridge: "weir0".into(),
            mac: "0a:58:0a:f4:01:02".into(),
            addresses: vec!["10.244.1.2/24".parse().unwrap()],
            mtu: 1450,
            pod: PodRecord { name: Some("web".into()), ..PodRecord::default() },
            port_mappings: Vec::new(),
        }
    }

    #[test]
    fn a_claim_keeps_others_away_until_it_is_withdrawn() {
        let run_dir = tempfile::tempdir().unwrap();
        let records = Records::new(run_dir.path());
        let claim = records.claim(&attachment()).unwrap();
        assert_eq!(records.claim(&attachment()).unwrap_err().code(), 101);
        assert!(records.list().unwrap().is_empty());
        claim.withdraw().unwrap();
        assert!(records.claim(&attachment()).is_ok());
    }

    #[test]
    fn a_completed_claim_is_the_record_and_keeps_others_away() {
        let run_dir = tempfile::tempdir().unwrap();
        let records = Records::new(run_dir.path());
        records.claim(&attachment()).unwrap().complete(&record()).unwrap();
        assert_eq!(records.find(&attachment()), Some(record()));
        assert_eq!(records.list().unwrap(), [record()]);
        assert_eq!(records.claim(&attachment()).unwrap_err().code(), 101);
        // The refused claim has left nothing behind.
        records.remove(&attachment()).unwrap();
        assert_eq!(fs::read_dir(run_dir.path().join("endpoints")).unwrap().count(), 0);
    }

    #[test]
    fn broken_and_foreign_files_are_no_records() {
        let run_dir = tempfile::tempdir().unwrap();
        let records = Records::new(run_dir.path());
        let directory = run_dir.path().join("endpoints");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("weir0000000000.json"), b"{").unwrap();
        fs::write(directory.join("README"), b"x").unwrap();
        assert!(records.list().unwrap().is_empty());
        assert!(Records::new(Path::new("/nonexistent")).list().unwrap().is_empty());
    }

    #[test]
    fn a_young_claim_is_not_abandoned() {
        let run_dir = tempfile::tempdir().unwrap();
        let records = Records::new(run_dir.path());
        let _claim = records.claim(&attachment()).unwrap();
        let claims = records.claims(Duration::from_secs(600)).unwrap();
        assert!(claims.abandoned.is_empty());
        assert_eq!(claims.under_way, HashSet::from([attachment().host_interface()]));
    }
}
