//! Claims of attachments, and the endpoint records that they become.
//!
//! `ADD` first claims the attachment: it creates `<host interface>.pending`, which fails if the file
//! exists. Its last step writes the record into that file and renames it to `<host interface>.json`.
//! So a `.json` file is always complete, and of two `ADD`s for one attachment only one gets past the
//! claim.

use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io::ErrorKind,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use weir_node::{
    Attachment, EndpointRecord,
    endpoint::{self, ReadError},
};

use crate::{Error, lock::Lock};

/// The endpoint records and claims below a run directory.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    run_dir: PathBuf,
}

impl Records {
    /// The records below a run directory. Touches nothing.
    pub(crate) fn new(run_dir: &Path) -> Self {
        Self { run_dir: run_dir.to_owned() }
    }

    /// The record of an attachment; `None` without a complete and valid record.
    pub(crate) fn find(&self, attachment: &Attachment) -> Option<EndpointRecord> {
        let content = fs::read(self.complete(attachment)).ok()?;
        let record: EndpointRecord = serde_json::from_slice(&content).ok()?;
        (record.attachment == *attachment).then_some(record)
    }

    /// All records that are complete and valid.
    pub(crate) fn list(&self) -> Result<Vec<EndpointRecord>, Error> {
        Ok(endpoint::list(&self.run_dir).map_err(read_failed)?.records)
    }

    /// The host interfaces of all claims. A claim older than `age` is abandoned: its `ADD` was
    /// killed.
    pub(crate) fn claims(&self, age: Duration) -> Result<Claims, Error> {
        let now = SystemTime::now();
        let mut claims = Claims::default();
        for path in endpoint::list_files(&self.run_dir, "pending").map_err(read_failed)? {
            let since = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
            // A claim without a time, or with one in the future, counts as running.
            let elapsed = since.and_then(|since| now.duration_since(since).ok());
            let is_abandoned = elapsed.is_some_and(|elapsed| elapsed > age);
            if let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) {
                let names = if is_abandoned { &mut claims.abandoned } else { &mut claims.running };
                names.insert(name.to_owned());
            }
        }
        Ok(claims)
    }

    /// Claims an attachment for an `ADD`; it must not have a record or another claim.
    pub(crate) fn claim(&self, attachment: &Attachment) -> Result<Claim, Error> {
        let directory = endpoint::directory(&self.run_dir);
        fs::create_dir_all(&directory).map_err(Error::file("create", directory))?;
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

    /// Waits until no other call takes a MAC address. Only after a claim: the directory must exist.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        Lock::of_directory(&endpoint::directory(&self.run_dir))
    }

    /// Removes the record and the claim of an attachment. Missing files are not an error.
    pub(crate) fn remove(&self, attachment: &Attachment) -> Result<(), Error> {
        // The record goes last: as long as it exists, DEL knows what to remove.
        remove_if_there(&self.pending(attachment))?;
        remove_if_there(&self.complete(attachment))
    }

    /// Removes a claim by the name of the host's interface; a record of that name stays.
    pub(crate) fn remove_claim(&self, host_interface: &str) -> Result<(), Error> {
        remove_if_there(&self.file(host_interface, "pending"))
    }

    fn complete(&self, attachment: &Attachment) -> PathBuf {
        self.file(&attachment.host_interface(), "json")
    }

    fn pending(&self, attachment: &Attachment) -> PathBuf {
        self.file(&attachment.host_interface(), "pending")
    }

    fn file(&self, host_interface: &str, extension: &str) -> PathBuf {
        endpoint::directory(&self.run_dir).join(host_interface).with_extension(extension)
    }
}

fn read_failed(ReadError { path, source }: ReadError) -> Error {
    Error::File { action: "read", path, source }
}

/// The host interfaces of attachments that are claimed.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// Their `ADD` may still be running.
    pub(crate) running: HashSet<String>,
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
    /// Replaces the claim by the record.
    pub(crate) fn complete(&self, record: &EndpointRecord) -> Result<(), Error> {
        let content = serde_json::to_vec(record)
            .map_err(|error| Error::file("write", &self.pending)(error.into()))?;
        fs::write(&self.pending, content).map_err(Error::file("write", &self.pending))?;
        fs::rename(&self.pending, &self.complete).map_err(Error::file("write", &self.complete))
    }

    /// Removes the claim.
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
    use weir_node::{PodIdentity, endpoint::LAYOUT};

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
            pod: PodIdentity { name: Some("web".into()), ..PodIdentity::default() },
            port_mappings: Vec::new(),
        }
    }

    #[test]
    fn a_claim_excludes_others_until_it_is_withdrawn() {
        let run_dir = tempfile::tempdir().unwrap();
        let records = Records::new(run_dir.path());
        let claim = records.claim(&attachment()).unwrap();
        assert_eq!(records.claim(&attachment()).unwrap_err().code(), 101);
        assert!(records.list().unwrap().is_empty());
        claim.withdraw().unwrap();
        assert!(records.claim(&attachment()).is_ok());
    }

    #[test]
    fn a_completed_claim_is_the_record_and_excludes_others() {
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
    fn a_young_claim_is_not_abandoned() {
        let run_dir = tempfile::tempdir().unwrap();
        let records = Records::new(run_dir.path());
        let _claim = records.claim(&attachment()).unwrap();
        let claims = records.claims(Duration::from_secs(600)).unwrap();
        assert!(claims.abandoned.is_empty());
        assert_eq!(claims.running, HashSet::from([attachment().host_interface()]));
    }
}
