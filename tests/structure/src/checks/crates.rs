//! Crates depend on each other as [`table::CRATES`](crate::table::CRATES) says, which lists all.

use crate::finding::Finding;
use crate::table::Crate;
use crate::workspace::Package;

const TABLE: &str = "tests/structure/src/table.rs";

/// The dependencies that the table does not allow, and crates that only one of the two knows.
pub(crate) fn check(table: &[Crate], packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let manifest = package.manifest.display();
        let Some(stated) = table.iter().find(|one| one.name == package.name) else {
            findings.push(Finding {
                what: format!("{} is not in the table of crates", package.name),
                places: vec![manifest.to_string()],
                mend: format!("add it to CRATES in {TABLE}, with the crates that it may use"),
            });
            continue;
        };
        for used in package.uses.iter().filter(|used| !stated.may_use.contains(&used.as_str())) {
            findings.push(Finding {
                what: format!("{} must not use {used}", package.name),
                places: vec![format!("{manifest}: [dependencies] {used}")],
                mend: format!(
                    "move what is needed to a crate that both may use; if the direction itself is \
                     to change, change CRATES in {TABLE} and ARCHITECTURE.md"
                ),
            });
        }
    }
    for stated in table {
        if !packages.iter().any(|package| package.name == stated.name) {
            findings.push(Finding {
                what: format!("{} is in the table of crates, but does not exist", stated.name),
                places: Vec::new(),
                mend: format!("take it out of CRATES in {TABLE}"),
            });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Crate] = &[
        Crate { name: "weir-model", may_use: &[], pure: true },
        Crate { name: "weir-agent", may_use: &["weir-model"], pure: false },
    ];

    fn package(name: &str, uses: &[&str]) -> Package {
        let uses = uses.iter().map(|&used| used.to_owned()).collect();
        Package { name: name.to_owned(), uses, ..Package::default() }
    }

    fn findings(packages: &[Package]) -> Vec<String> {
        check(TABLE, packages).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_dependency_in_the_stated_direction_is_fine() {
        let packages = [package("weir-model", &[]), package("weir-agent", &["weir-model"])];
        assert!(findings(&packages).is_empty());
    }

    #[test]
    fn a_dependency_against_the_stated_direction_is_refused() {
        let packages = [package("weir-model", &["weir-agent"]), package("weir-agent", &[])];
        assert_eq!(findings(&packages), ["weir-model must not use weir-agent"]);
    }

    #[test]
    fn the_table_and_the_workspace_have_the_same_crates() {
        let packages = [package("weir-model", &[]), package("weir-policy", &[])];
        assert_eq!(
            findings(&packages),
            [
                "weir-policy is not in the table of crates",
                "weir-agent is in the table of crates, but does not exist",
            ]
        );
    }
}
