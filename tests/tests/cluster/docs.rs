//! The tests that the pages in `docs` name exist.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Appends all Rust code below a folder.
fn code(folder: &Path, into: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            code(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// Checks that each test that a page names is in one of these folders, and that it names some.
fn tests_exist(page: &str, folders: &[&str], at_least: usize) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut tests = String::new();
    for folder in folders {
        code(&root.join(folder), &mut tests)?;
    }
    let page = fs::read_to_string(root.join(page)).with_context(|| page.to_owned())?;
    let quoted = page.split('`').skip(1).step_by(2);
    let names: Vec<_> = quoted.filter_map(|name| name.rsplit("::").next()).collect();
    let is_word = |name: &&str| {
        name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let names = names.into_iter().filter(is_word).filter(|name| name.matches('_').count() > 2);
    let mut count = 0;
    for name in names {
        ensure!(tests.contains(&format!("fn {name}(")), "there is no test {name}");
        count += 1;
    }
    ensure!(count > at_least, "the page names only {count} tests");
    Ok(())
}

#[test]
fn every_test_named_in_the_services_page_exists() -> Result<()> {
    let folders = [
        "agent/src",
        "cluster",
        "datapath/tests",
        "ebpf-common/src",
        "model/src",
        "services/src",
        "tests/tests/cluster",
    ];
    tests_exist("docs/services.md", &folders, 40)
}

#[test]
fn every_test_named_in_the_security_page_exists() -> Result<()> {
    tests_exist("docs/security.md", &["datapath/tests/kernel", "tests/tests"], 17)
}

#[test]
fn every_test_named_in_the_plugins_page_exists() -> Result<()> {
    let folders = ["cni-plugin/src", "tests/tests/cluster", "tests/tests/system"];
    tests_exist("docs/cni.md", &folders, 20)
}
