//! The crates of the repository, as cargo knows them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The programs for the kernel, a workspace of their own.
const EBPF: &str = "ebpf/Cargo.toml";

/// A crate of the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest: PathBuf,
    /// The crates of the repository that it depends on, except for its tests.
    pub(crate) uses: Vec<String>,
    /// The file of the library's root module, if it has one.
    pub(crate) library: Option<PathBuf>,
    /// The files of all root modules: of the library, programs, tests and the build script.
    pub(crate) roots: Vec<PathBuf>,
}

/// All crates of the repository in `root`.
pub(crate) fn packages(root: &Path) -> Result<Vec<Package>> {
    let mut packages = parse(&metadata(&root.join("Cargo.toml"))?)?;
    let ebpf = root.join(EBPF);
    if ebpf.is_file() {
        packages.extend(parse(&metadata(&ebpf)?)?);
    }
    Ok(packages)
}

/// What cargo writes about the workspace, without looking at other crates.
fn metadata(manifest: &Path) -> Result<Value> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]).arg(manifest);
    let text = output(&mut cargo)?;
    serde_json::from_str(&text).context("read what cargo metadata wrote")
}

fn parse(metadata: &Value) -> Result<Vec<Package>> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    packages.iter().map(package).collect()
}

fn package(package: &Value) -> Result<Package> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let name = text(&package["name"]).context("a package has no name")?;
    let manifest = text(&package["manifest_path"]).context("a package has no manifest")?.into();
    let mut found = Package { name, manifest, ..Package::default() };
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        // Only a crate of this repository is given by its path.
        if !dependency["path"].is_null() && dependency["kind"] != "dev" {
            found.uses.extend(text(&dependency["name"]));
        }
    }
    for target in package["targets"].as_array().into_iter().flatten() {
        let Some(root) = text(&target["src_path"]).map(PathBuf::from) else { continue };
        if target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "lib")) {
            found.library = Some(root.clone());
        }
        found.roots.push(root);
    }
    Ok(found)
}

/// The names of all crates that a crate is built of, itself included.
pub(crate) fn built_of(package: &Package) -> Result<Vec<String>> {
    let mut cargo = Command::new("cargo");
    cargo.args(["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let text = output(cargo.arg("--manifest-path").arg(&package.manifest))?;
    let mut names: Vec<String> =
        text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().context("start cargo")?;
    if !output.status.success() {
        bail!(
            "cargo failed: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).context("cargo wrote something that is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_uses_what_it_is_built_of_and_not_what_its_tests_use() {
        let metadata = serde_json::json!({ "packages": [{
            "name": "weir-a",
            "manifest_path": "/r/a/Cargo.toml",
            "dependencies": [
                { "name": "weir-b", "path": "/r/b", "kind": null },
                { "name": "weir-c", "path": "/r/c", "kind": "dev" },
                { "name": "weir-d", "path": "/r/d", "kind": "build" },
                { "name": "serde", "kind": null },
            ],
            "targets": [
                { "kind": ["lib"], "src_path": "/r/a/src/lib.rs" },
                { "kind": ["bin"], "src_path": "/r/a/src/main.rs" },
            ],
        }]});
        let packages = parse(&metadata).unwrap();
        let [package] = &*packages else { panic!("{packages:?}") };
        assert_eq!(package.uses, ["weir-b", "weir-d"]);
        assert_eq!(package.library.as_deref(), Some(Path::new("/r/a/src/lib.rs")));
        assert_eq!(package.roots.len(), 2);
    }
}
