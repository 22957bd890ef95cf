//! Where things are: the repository, what is built from it, and the tools' cache.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use xtask::command;
use xtask::released::TARGET;

/// The folders that tasks work in.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The repository.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
    /// The project's own cache folder, outside of the repository and of cargo's home.
    pub(crate) cache: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        // Set by `cargo xtask`; the other is for starting the program by hand.
        let package = env::var_os("CARGO_MANIFEST_DIR");
        let package = package.as_deref().unwrap_or(env!("CARGO_MANIFEST_DIR").as_ref());
        let root = Path::new(package).parent().context("xtask is not in a repository")?.to_owned();
        let metadata = command::output(
            command::cargo()
                .args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"])
                .arg(root.join("Cargo.toml")),
        )?;
        let target = target_directory(&metadata)?;
        let cache = cache_folder(|name| env::var_os(name).filter(|value| !value.is_empty()))?;
        Ok(Self { root, target, cache })
    }

    /// Where [`crate::build`] leaves the released programs.
    pub(crate) fn release(&self) -> PathBuf {
        self.target.join(TARGET).join("release")
    }

    /// Where the tools that [`crate::tools`] keeps can be started from.
    pub(crate) fn tools(&self) -> PathBuf {
        self.cache.join("bin")
    }
}

fn target_directory(metadata: &str) -> Result<PathBuf> {
    let metadata: serde_json::Value =
        serde_json::from_str(metadata).context("read what cargo metadata wrote")?;
    let target = metadata.get("target_directory").and_then(serde_json::Value::as_str);
    Ok(target.context("cargo metadata names no target directory")?.into())
}

fn cache_folder(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let folder = if let Some(own) = variable("WEIR_CACHE_DIR") {
        own.into()
    } else if let Some(caches) = variable("XDG_CACHE_HOME") {
        Path::new(&caches).join("weir")
    } else if let Some(home) = variable("HOME") {
        Path::new(&home).join(".cache/weir")
    } else {
        anyhow::bail!("no folder for tools: set WEIR_CACHE_DIR (HOME is not set either)");
    };
    std::path::absolute(&folder).with_context(|| format!("find {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache_with(variables: &[(&str, &str)]) -> Result<PathBuf> {
        cache_folder(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_most_specific_variable_names_the_cache_folder() {
        let all = [("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("WEIR_CACHE_DIR", "/w")];
        assert_eq!(cache_with(&all).unwrap(), Path::new("/w"));
        assert_eq!(cache_with(&all[..2]).unwrap(), Path::new("/x/weir"));
        assert_eq!(cache_with(&all[..1]).unwrap(), Path::new("/h/.cache/weir"));
        assert!(cache_with(&[]).unwrap_err().to_string().contains("WEIR_CACHE_DIR"));
    }

    #[test]
    fn a_relative_cache_folder_does_not_move_with_the_working_directory() {
        assert!(cache_with(&[("WEIR_CACHE_DIR", "cache")]).unwrap().is_absolute());
    }

    #[test]
    fn the_target_directory_is_that_of_cargo_metadata() {
        let metadata = r#"{"packages": [], "target_directory": "/t", "workspace_root": "/r"}"#;
        assert_eq!(target_directory(metadata).unwrap(), Path::new("/t"));
        assert!(target_directory("{}").is_err());
    }
}
