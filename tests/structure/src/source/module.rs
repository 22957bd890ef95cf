//! What is known of a target: its files, and its modules with what they define and mention.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A target: a library or a program.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// The files, each once.
    pub(crate) files: Vec<PathBuf>,
    /// The modules; the first is the root.
    pub(crate) modules: Vec<Module>,
}

/// The index of a file in [`Source::files`].
pub(crate) type FileId = usize;
/// The index of a module in [`Source::modules`].
pub(crate) type ModuleId = usize;

/// A module, in a file of its own or inside of another module's.
#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) parent: Option<ModuleId>,
    /// From the root, which is the empty list.
    pub(crate) names: Vec<String>,
    pub(crate) file: FileId,
    pub(crate) children: BTreeMap<String, ModuleId>,
    /// The names of the items that are defined here, modules left out.
    pub(crate) items: BTreeSet<String>,
    /// Names that `use` brings into the module, with their paths. A name can stand for two things,
    /// such as a module and a function.
    pub(crate) imports: BTreeMap<String, Vec<Vec<String>>>,
    /// The paths before `::*`.
    pub(crate) globs: Vec<Vec<String>>,
    pub(crate) mentions: Vec<Mention>,
}

/// A path in the source text, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mention {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    /// Whether it is the path before `::*`, which stands for the items of a module.
    pub(crate) is_glob: bool,
}

impl Source {
    /// Adds a module, which is in the given file until it is known to have one of its own.
    pub(super) fn add(
        &mut self,
        parent: Option<ModuleId>,
        name: Option<&str>,
        file: FileId,
    ) -> ModuleId {
        let id = self.modules.len();
        let mut names = parent.map(|parent| self.modules[parent].names.clone()).unwrap_or_default();
        names.extend(name.map(str::to_owned));
        self.modules.push(Module { parent, names, file, ..Module::default() });
        if let (Some(parent), Some(name)) = (parent, name) {
            self.modules[parent].children.insert(name.to_owned(), id);
        }
        id
    }
}
