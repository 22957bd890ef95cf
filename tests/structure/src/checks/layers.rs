//! Modules of a crate use each other as [`table::LAYERS`](crate::table::LAYERS) says.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::arrows::{self, Use};
use crate::finding::Finding;
use crate::source::{self, FileId, Source};
use crate::table::Layers;

const TABLE: &str = "tests/structure/src/table.rs";

/// A module with the modules that it uses, and the places where it does.
type Uses<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Vec<String>>>;

/// The uses that the table does not allow, and modules that only one of the two knows. `library` is
/// the file of the library's root module.
pub(crate) fn check(root: &Path, layers: &Layers, library: &Path) -> Result<Vec<Finding>> {
    let source = source::read(library)?;
    let uses = uses(root, &source);
    let mut findings = Vec::new();
    for (module, used) in &uses {
        let Some((_, may_use)) = layers.modules.iter().find(|(name, _)| name == module) else {
            let names: Vec<_> = used.keys().map(|name| format!("\"{name}\"")).collect();
            findings.push(Finding {
                what: format!("module `{module}` of {} is not in its table", layers.package),
                places: Vec::new(),
                mend: format!(
                    "add it to LAYERS in {TABLE}; what it uses today is (\"{module}\", &[{}])",
                    names.join(", ")
                ),
            });
            continue;
        };
        for (used, places) in used.iter().filter(|(used, _)| !may_use.contains(used)) {
            findings.push(Finding {
                what: format!("module `{module}` of {} must not use `{used}`", layers.package),
                places: places.clone(),
                mend: format!(
                    "move what is needed to a module that both may use, or hand it over as an \
                     argument; if the direction itself is to change, change LAYERS in {TABLE}"
                ),
            });
        }
    }
    for (module, _) in layers.modules.iter().filter(|(name, _)| !uses.contains_key(name)) {
        findings.push(Finding {
            what: format!("{} has no module `{module}`, which is in its table", layers.package),
            places: Vec::new(),
            mend: format!("take it out of LAYERS in {TABLE}"),
        });
    }
    Ok(findings)
}

/// What each top-level module uses. What the root itself defines is free to use.
fn uses<'a>(root: &Path, source: &'a Source) -> Uses<'a> {
    let mut uses: Uses<'a> =
        source.modules[0].children.keys().map(|name| (name.as_str(), BTreeMap::new())).collect();
    for ((from, to), paths) in arrows::all(source) {
        let (Some(module), Some(used)) = (module_of(source, from), module_of(source, to)) else {
            continue;
        };
        if module != used {
            let file = &source.files[from];
            let file = file.strip_prefix(root).unwrap_or(file).display();
            let place = |Use { line, path }: Use| format!("{file}:{line} uses `{path}`");
            uses.entry(module)
                .or_default()
                .entry(used)
                .or_default()
                .extend(paths.into_iter().map(place));
        }
    }
    uses
}

/// The top-level module that a file belongs to.
fn module_of(source: &Source, file: FileId) -> Option<&str> {
    let module = source.modules.iter().find(|module| module.file == file)?;
    module.names.first().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn findings(modules: &'static [(&'static str, &'static [&'static str])]) -> Vec<Finding> {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("lib.rs");
        fs::write(&library, "mod health;\nmod services;\n").unwrap();
        fs::write(folder.path().join("health.rs"), "use crate::services::Status;\n").unwrap();
        fs::write(folder.path().join("services.rs"), "pub struct Status;\n").unwrap();
        let layers = Layers { package: "weir-agent", modules };
        check(folder.path(), &layers, &library).unwrap()
    }

    #[test]
    fn a_use_in_the_stated_direction_is_fine() {
        assert!(findings(&[("health", &["services"]), ("services", &[])]).is_empty());
    }

    #[test]
    fn a_use_against_the_stated_direction_is_refused() {
        let findings = findings(&[("health", &[]), ("services", &["health"])]);
        let [finding] = &*findings else { panic!("{findings:?}") };
        assert_eq!(finding.what, "module `health` of weir-agent must not use `services`");
        assert_eq!(finding.places, ["health.rs:1 uses `crate::services::Status`"]);
    }

    #[test]
    fn the_table_has_each_module_and_no_other() {
        let findings = findings(&[("services", &[]), ("overlay", &[])]);
        let [missing, absent] = &*findings else { panic!("{findings:?}") };
        assert_eq!(missing.what, "module `health` of weir-agent is not in its table");
        assert!(missing.mend.ends_with("(\"health\", &[\"services\"])"), "{}", missing.mend);
        assert_eq!(absent.what, "weir-agent has no module `overlay`, which is in its table");
    }
}
