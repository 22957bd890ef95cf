//! No circle of files: of two files that belong together, one uses the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::arrows::{self, Use};
use crate::finding::Finding;
use crate::workspace::Package;
use crate::{circle, source};

const MEND: &str = "move what both need to a file of its own that uses neither, or give the item \
                    to the file that uses it most";
/// Of one file's uses of another, how many are shown.
const SHOWN: usize = 3;

/// The circles of files in a crate.
pub(crate) fn check(root: &Path, package: &Package) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for target in &package.roots {
        let source = source::read(target)?;
        let arrows = arrows::all(&source);
        for circle in circle::all(arrows.keys().copied()) {
            let shown =
                |file: &PathBuf| file.strip_prefix(root).unwrap_or(file).display().to_string();
            let within = arrows
                .iter()
                .filter(|((from, to), _)| circle.contains(from) && circle.contains(to));
            let places = within.flat_map(|((from, to), uses)| {
                places(&shown(&source.files[*from]), &shown(&source.files[*to]), uses)
            });
            let names: Vec<_> = circle.iter().map(|file| shown(&source.files[*file])).collect();
            findings.push(Finding {
                what: format!("circle of files in {}: {}", package.name, names.join(", ")),
                places: places.collect(),
                mend: MEND.to_owned(),
            });
        }
    }
    Ok(findings)
}

/// Lines for one arrow: each path once, at its first line.
fn places(from: &str, to: &str, uses: &[Use]) -> Vec<String> {
    let mut paths: BTreeMap<&str, usize> = BTreeMap::new();
    for Use { line, path } in uses {
        paths.entry(path).or_insert(*line);
    }
    let mut paths: Vec<_> = paths.into_iter().map(|(path, line)| (line, path)).collect();
    paths.sort_unstable();
    let more = paths.len().saturating_sub(SHOWN);
    let mut lines: Vec<_> = paths
        .into_iter()
        .take(SHOWN)
        .map(|(line, path)| format!("{from}:{line} uses {to} by `{path}`"))
        .collect();
    if more > 0 {
        lines.push(format!("{from} uses {to} by {more} more paths"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_circle_is_shown_with_its_files_and_lines() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::write(&file, text).unwrap();
            file
        };
        let root = write("lib.rs", "mod a;\nmod b;\nmod c;\n");
        write("a.rs", "use crate::b::B;\npub struct A(B);\n");
        write("b.rs", "\nuse crate::c::C;\npub struct B(C);\n");
        write("c.rs", "pub struct C(Box<crate::a::A>);\n");
        let package =
            Package { name: "weir-x".to_owned(), roots: vec![root], ..Package::default() };

        let findings = check(folder.path(), &package).unwrap();
        let [finding] = &*findings else { panic!("{findings:?}") };
        assert_eq!(finding.what, "circle of files in weir-x: a.rs, b.rs, c.rs");
        assert_eq!(
            finding.places,
            [
                "a.rs:1 uses b.rs by `crate::b::B`",
                "b.rs:2 uses c.rs by `crate::c::C`",
                "c.rs:1 uses a.rs by `crate::a::A`",
            ]
        );
    }

    #[test]
    fn files_that_use_others_in_one_direction_are_fine() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("lib.rs");
        fs::write(&root, "mod a;\nmod b;\n").unwrap();
        fs::write(folder.path().join("a.rs"), "use crate::b::B;\n").unwrap();
        fs::write(folder.path().join("b.rs"), "pub struct B;\n").unwrap();
        let package = Package { roots: vec![root], ..Package::default() };
        assert!(check(folder.path(), &package).unwrap().is_empty());
    }
}
