//! The cgroups of machines, in every hierarchy of either version.
//!
//! All machines are below one cgroup, so that the rest of a cluster is found without its record.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::wait;

/// The cgroup of all machines.
const ALL: &str = "weir-e2e";
const TIMEOUT: Duration = Duration::from_secs(20);

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted on this host.
    pub(crate) path: PathBuf,
    /// `cgroup` or `cgroup2`.
    pub(crate) kind: String,
    /// The options that say which one it is.
    pub(crate) options: String,
}

/// Makes the cgroups of a machine.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn create(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let all = hierarchy.path.join(ALL);
        for cgroup in [all.clone(), all.join(name)] {
            match fs::create_dir(&cgroup) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                made => made.with_context(|| format!("create {}", cgroup.display()))?,
            }
            inherit_cpuset(&cgroup)?;
        }
    }
    Ok(())
}

/// In version 1 a new cpuset has no processors, and no process can enter it.
fn inherit_cpuset(cgroup: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (own, parents) = (cgroup.join(file), cgroup.parent().map(|parent| parent.join(file)));
        if let (true, Some(parents)) = (own.exists(), parents.filter(|path| path.exists())) {
            let value =
                fs::read(&parents).with_context(|| format!("read {}", parents.display()))?;
            fs::write(&own, value).with_context(|| format!("write {}", own.display()))?;
        }
    }
    Ok(())
}

/// The files that a process writes its id into to enter the machine, separated by spaces.
pub(super) fn procs_files(name: &str) -> Result<String> {
    let file = |hierarchy: Hierarchy| {
        hierarchy.path.join(ALL).join(name).join("cgroup.procs").display().to_string()
    };
    Ok(hierarchies()?.into_iter().map(file).collect::<Vec<_>>().join(" "))
}

/// Kills every process of the machine, or of all machines, and removes the cgroups. Cgroups that
/// are gone already are not an error.
///
/// # Errors
/// When a process or a cgroup stays.
pub(crate) fn destroy(name: Option<&str>) -> Result<()> {
    let cgroups: Vec<_> = hierarchies()?.iter().map(|found| cgroup_of(&found.path, name)).collect();
    for cgroup in &cgroups {
        let kill = cgroup.join("cgroup.kill");
        if kill.exists() {
            fs::write(&kill, "1").with_context(|| format!("write {}", kill.display()))?;
        }
    }
    wait::until("no process is left", TIMEOUT, || {
        let left: usize = cgroups.iter().map(|cgroup| processes(cgroup).len()).sum();
        ensure!(left == 0, "{left} processes do not end");
        Ok(())
    })?;
    // The kernel frees a process a moment after it has left the list.
    wait::until("the cgroups are gone", TIMEOUT, || cgroups.iter().try_for_each(|one| remove(one)))
}

/// Whether there are machines.
pub(crate) fn exist() -> Result<bool> {
    Ok(hierarchies()?.iter().any(|found| found.path.join(ALL).exists()))
}

fn cgroup_of(hierarchy: &Path, name: Option<&str>) -> PathBuf {
    let all = hierarchy.join(ALL);
    name.map_or(all.clone(), |name| all.join(name))
}

fn children(cgroup: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cgroup).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

/// The ids of all processes of a machine, in any order.
///
/// # Errors
/// When no cgroups are mounted.
pub(crate) fn members(name: &str) -> Result<Vec<u32>> {
    // The machine's processes are in all hierarchies, but an unused hierarchy may be empty.
    let mut all =
        hierarchies()?.into_iter().map(|found| processes(&cgroup_of(&found.path, Some(name))));
    Ok(all.find(|members| !members.is_empty()).unwrap_or_default())
}

fn processes(cgroup: &Path) -> Vec<u32> {
    let own = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let own = own.lines().filter_map(|line| line.parse().ok());
    own.chain(children(cgroup).iter().flat_map(|child| processes(child))).collect()
}

fn remove(cgroup: &Path) -> Result<()> {
    children(cgroup).iter().try_for_each(|child| remove(child))?;
    match fs::remove_dir(cgroup) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", cgroup.display()))
        }
        _ => Ok(()),
    }
}

/// Where cgroups of either version are mounted. Many hosts have both versions.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
    let found: Vec<_> = mounts.lines().filter_map(parse).collect();
    ensure!(
        found.iter().any(|hierarchy| hierarchy.kind == "cgroup2"),
        "no cgroup2 is mounted on this host: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"
    );
    Ok(found)
}

fn parse(mount: &str) -> Option<Hierarchy> {
    let mut fields = mount.split(' ').skip(1);
    let (path, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
    if !matches!(kind, "cgroup" | "cgroup2") {
        return None;
    }
    let general = ["rw", "relatime", "nosuid", "nodev", "noexec", "xattr", "nsdelegate"];
    let own = options.split(',').filter(|option| !general.contains(option));
    let mut own: Vec<_> = own.filter(|option| kind == "cgroup" && !option.is_empty()).collect();
    if own.iter().all(|option| option.starts_with("name=")) && !own.is_empty() {
        own.insert(0, "none");
    }
    Some(Hierarchy { path: path.into(), kind: kind.to_owned(), options: own.join(",") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(mount: &str) -> Option<String> {
        parse(mount).map(|hierarchy| hierarchy.options)
    }

    #[test]
    fn a_hierarchy_is_mounted_again_by_its_own_options() {
        let mount = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,relatime,cpu,cpuacct 0 0";
        assert_eq!(options(mount).as_deref(), Some("cpu,cpuacct"));
        let named = "cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd 0 0";
        assert_eq!(options(named).as_deref(), Some("none,name=systemd"));
        let second =
            "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nsdelegate,memory_recursiveprot 0 0";
        assert_eq!(options(second).as_deref(), Some(""));
        assert_eq!(options("tmpfs /sys/fs/cgroup tmpfs rw 0 0"), None);
    }
}
