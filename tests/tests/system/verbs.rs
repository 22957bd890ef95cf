//! Every verb in every version of the specification.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weir_tests::lab::{Cni, Config, Node, refused};

const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const CHECKED: [&str; 3] = ["0.4.0", "1.0.0", "1.1.0"];

fn in_version(version: &str) -> Result<(Node, Cni)> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24").version(version))?;
    Ok((node, cni))
}

#[test]
fn add_and_del_work_in_every_version() -> Result<()> {
    for version in VERSIONS {
        let (node, cni) = in_version(version)?;
        let pod = node.pod("a")?;
        let added = cni.add(&pod)?;
        ensure!(added.cni_version == version, "{version}: {:?}", added.raw);
        cni.del(&pod)?;
        cni.ensure_nothing_left()?;
    }
    Ok(())
}

#[test]
fn del_takes_the_previous_result_of_every_version() -> Result<()> {
    for version in VERSIONS {
        let (node, cni) = in_version(version)?;
        let pod = node.pod("a")?;
        let added = cni.add(&pod)?;
        cni.reconfigured(|config| config.with("prevResult", added.raw)).del(&pod)?;
        cni.ensure_nothing_left()?;
    }
    Ok(())
}

#[test]
fn check_works_in_every_version_that_has_it() -> Result<()> {
    for version in CHECKED {
        let (node, cni) = in_version(version)?;
        let pod = node.pod("a")?;
        let added = cni.add(&pod)?;
        cni.check(&pod, &added)?;
    }
    Ok(())
}

#[test]
fn check_is_refused_in_versions_without_it() -> Result<()> {
    for version in VERSIONS.into_iter().filter(|version| !CHECKED.contains(version)) {
        let (node, cni) = in_version(version)?;
        let pod = node.pod("a")?;
        let added = cni.add(&pod)?;
        refused(cni.check(&pod, &added), 1)?;
    }
    Ok(())
}

#[test]
fn gc_and_status_are_refused_in_versions_without_them() -> Result<()> {
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
        let (node, cni) = in_version(version)?;
        let pod = node.pod("a")?;
        cni.add(&pod)?;
        refused(cni.gc(&[]), 1)?;
        refused(cni.status(), 1)?;
        ensure!(cni.reservations()?.len() == 1, "GC of version {version} removed something");
    }
    Ok(())
}

#[test]
fn gc_and_status_work_in_the_version_that_has_them() -> Result<()> {
    let (node, cni) = in_version("1.1.0")?;
    let pod = node.pod("a")?;
    cni.add(&pod)?;
    cni.status()?;
    cni.gc(&[])?;
    cni.ensure_nothing_left()
}

#[test]
fn every_verb_refuses_an_unknown_version() -> Result<()> {
    let node = Node::new()?;
    let pod = node.pod("a")?;
    let known = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    let mut unknown: Vec<Cni> = ["0.1.0", "0.2.0", "1.2.0", "2.0.0", "1.1", "", "latest"]
        .into_iter()
        .map(|version| known.reconfigured(|config| config.version(version)))
        .collect();
    unknown.push(known.reconfigured(|config| config.without("cniVersion")));
    for cni in unknown {
        for verb in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
            refused(cni.call(verb).pod(&pod).run()?.document(), 1)?;
        }
    }
    known.ensure_nothing_left()
}

#[test]
fn version_replies_in_the_requested_version() -> Result<()> {
    for version in VERSIONS {
        let (_node, cni) = in_version(version)?;
        let document = cni.version()?;
        ensure!(document["cniVersion"] == version, "{document}");
        let mut supported: Vec<Value> =
            serde_json::from_value(document["supportedVersions"].clone())?;
        supported.sort_by_key(|version| version.to_string());
        ensure!(json!(supported) == json!(VERSIONS), "{document}");
    }
    Ok(())
}

#[test]
fn version_replies_in_the_newest_version_to_an_unknown_one() -> Result<()> {
    for version in ["0.2.0", "9.0.0", "", "latest"] {
        let (_node, cni) = in_version(version)?;
        let document = cni.version()?;
        ensure!(document["cniVersion"] == "1.1.0", "{version:?}: {document}");
    }
    Ok(())
}

#[test]
fn version_needs_only_the_command_and_the_version() -> Result<()> {
    let (_node, cni) = in_version("1.0.0")?;
    let call = cni.call("VERSION").without("CNI_PATH").stdin(r#"{"cniVersion":"1.0.0"}"#);
    ensure!(call.run()?.document()?["cniVersion"] == "1.0.0");
    Ok(())
}

#[test]
fn an_error_has_the_version_of_the_configuration() -> Result<()> {
    for version in VERSIONS {
        let (node, cni) = in_version(version)?;
        let pod = node.pod("a")?;
        cni.add(&pod)?;
        let error = refused(cni.add(&pod), 101)?;
        ensure!(error.cni_version == version, "{version}: {error:?}");
    }
    Ok(())
}
