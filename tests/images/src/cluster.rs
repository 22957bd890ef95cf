//! The images of a cluster on this machine: the agent's, and those that Kubernetes and upstream's
//! tests name, made here so that no registry is asked.
//!
//! ```text
//! <cache>/images/kubernetes.tar          an archive of all of upstream's images
//! <cache>/images/kubernetes.tar.inputs   what it was made of; it is made again when that changes
//! <output>/cluster/*.tar           links to the archives, for `ctr images import`
//! <output>/cluster/index.json      the names in each archive, and which one is which
//! ```
//!
//! Registries are not known here: `kubeadm` and `e2e.test` print the full names of the images, and
//! each image is recognised by the last element of its name.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use weir_images::tree;
use xtask::console::{self, Steps};
use xtask::{command, digest, lock};

use crate::buildah::Buildah;
use crate::folders::Folders;
use crate::{agent, inputs, toolbox};

const SOURCES: [&str; 4] = [
    include_str!("buildah.rs"),
    include_str!("cluster.rs"),
    include_str!("toolbox.rs"),
    include_str!("tree.rs"),
];
const KUBERNETES: &str = "kubernetes.tar";
/// The sandbox's image, in the configuration of the nodes' containerd.
const PAUSE: &str = "localhost/weir-e2e/pause:1";

/// What an image starts when a pod names no command. All images have the same files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Start {
    entrypoint: &'static str,
    command: &'static str,
}

/// How the image of this name starts, if it is one that Weir's tests use.
fn start(name: &str) -> Option<Start> {
    let base = name.rsplit('/').next()?.split(':').next()?;
    let (entrypoint, command) = match base {
        "agnhost" => (r#"["/agnhost"]"#, "pause"),
        "busybox" | "distroless-iptables" | "glibc-dns-testing" => ("[]", "/bin/sh"),
        "coredns" => (r#"["/coredns"]"#, ""),
        "nginx" => (r#"["/agnhost"]"#, "netexec --http-port=80"),
        "pause" => (r#"["/pause"]"#, ""),
        "regression-issue-74839" => (r#"["/regression-issue-74839"]"#, ""),
        _ => return None,
    };
    Some(Start { entrypoint, command })
}

/// Makes the archives whose inputs have changed.
pub(crate) fn make(folders: &Folders, steps: &mut Steps) -> Result<()> {
    let agent = agent::archive(folders);
    let made_of = agent::made_of(folders)?;
    if !inputs::are_unchanged(&agent, &made_of) {
        inputs::make_of(&agent, &made_of, || agent::make(folders, steps))?;
    }

    let kubernetes = folders.kept().join(KUBERNETES);
    let names = upstream_names(folders)?;
    let programs = toolbox::programs()?;
    let made_of = upstream_inputs(folders, &names, &programs)?;
    if !inputs::are_unchanged(&kubernetes, &made_of) {
        steps.step("make the images of Kubernetes and its tests", || {
            inputs::make_of(&kubernetes, &made_of, || {
                upstream(folders, &names, &programs, &kubernetes)
            })
        })?;
    }

    let folder = folders.output.join("cluster");
    tree::clear(&folder)?;
    let link = |archive: &Path, name: &str| {
        symlink(archive, folder.join(name))
            .with_context(|| format!("link to {}", archive.display()))
    };
    link(&agent, agent::ARCHIVE)?;
    link(&kubernetes, KUBERNETES)?;
    let name = agent::name();
    let index = serde_json::json!({
        "agent": name,
        "pause": PAUSE,
        "archives": { agent::ARCHIVE: [name], KUBERNETES: names },
    });
    let file = folder.join("index.json");
    fs::write(&file, format!("{index:#}\n")).with_context(|| format!("write {}", file.display()))
}

/// The names that images are asked for by: the tests', kubeadm's, and the sandbox's.
fn upstream_names(folders: &Folders) -> Result<Vec<String>> {
    let tests = command::output(Command::new(folders.tool("e2e.test")).arg("--list-images"))?;
    let kubeadm = folders.tool("kubeadm");
    let version = command::output(Command::new(&kubeadm).args(["version", "--output", "short"]))?;
    let cluster = command::output(
        // With a version, so that it does not look for a newer one.
        Command::new(&kubeadm).args([
            "config",
            "images",
            "list",
            "--kubernetes-version",
            version.trim(),
        ]),
    )?;
    let names = wanted(&[PAUSE, &tests, &cluster].join("\n"));
    for base in ["agnhost", "coredns"] {
        if !names.iter().any(|name| name.contains(base)) {
            bail!("neither kubeadm nor e2e.test names an image {base}");
        }
    }
    Ok(names)
}

/// The names in a listing of images that can be made here, each once.
fn wanted(listing: &str) -> Vec<String> {
    let lines = listing.lines().map(str::trim).filter(|line| !line.contains(char::is_whitespace));
    let mut names: Vec<_> = lines.filter(|line| start(line).is_some()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// Writes one archive with an image for each name.
fn upstream(
    folders: &Folders,
    names: &[String],
    programs: &[(PathBuf, PathBuf)],
    archive: &Path,
) -> Result<()> {
    let _lock = lock::acquire(&folders.cache)?;
    let folder = folders.kept().join("making");
    let (files, layout) = (folder.join("root"), folder.join("layout"));
    tree::clear(&folder)?;
    toolbox::gather(folders, programs, &files)?;
    toolbox::try_programs(&files)?;
    let buildah = Buildah::with_files(&folder, &files)?;
    for name in names {
        let Start { entrypoint, command } =
            start(name).with_context(|| format!("{name} is not the name of an image"))?;
        buildah.configure(&[
            format!("--entrypoint={entrypoint}"),
            format!("--cmd={command}"),
            "--env=PATH=/usr/bin:/bin".to_owned(),
        ])?;
        // Into one layout, which keeps the files that the images share once. A node unpacks them
        // more often than they are stored.
        let destination = format!("oci:{}:{name}", layout.display());
        buildah.commit("0", &["--disable-compression"], &destination)?;
    }
    let new = folder.join(KUBERNETES);
    let mut tar = Command::new("tar");
    command::output(tar.arg("--create").arg("--file").arg(&new).arg("-C").arg(&layout).arg("."))?;
    fs::rename(&new, archive)
        .with_context(|| format!("move {} to {}", new.display(), archive.display()))?;
    fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    console::note(&format!(
        "{}  {} images, {}",
        archive.display(),
        names.len(),
        agent::file_size(archive)?
    ));
    Ok(())
}

fn upstream_inputs(
    folders: &Folders,
    names: &[String],
    programs: &[(PathBuf, PathBuf)],
) -> Result<String> {
    let mut files: Vec<_> = programs.iter().map(|(program, _)| program.clone()).collect();
    for program in toolbox::UPSTREAM {
        // Where the link leads to has the program's version in its path.
        let link = folders.tool(program);
        files.push(fs::read_link(&link).with_context(|| format!("read {}", link.display()))?);
    }
    // And what is done with them.
    let sources = digest::of(&SOURCES);
    Ok(format!("{sources}\n{}\n{}", names.join("\n"), inputs::describe(&files)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_recognised_by_the_last_element_of_its_name() {
        let listing = "registry.example/e2e/agnhost:2.55\nregistry.example/e2e/agnhost:2.63.0\n\
                       registry.example/coredns/coredns:v1.14.2\nregistry.example/nfs:1\n\
                       W1121 a warning about coredns:\nregistry.example/e2e/agnhost:2.55\n";
        assert_eq!(
            wanted(listing),
            [
                "registry.example/coredns/coredns:v1.14.2",
                "registry.example/e2e/agnhost:2.55",
                "registry.example/e2e/agnhost:2.63.0",
            ]
        );
    }
}
