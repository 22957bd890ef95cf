//! Which file uses which: the paths that a target's modules mention, resolved to the files that
//! define the items.
//!
//! Naming an item of another file is a use of that file; naming a module only is not. A path that
//! leads through `pub use` is a use of the file with the definition, and of the file with the
//! `pub use`, unless that is the root of the crate: a root lists what the crate consists of. What
//! cannot be seen without compiling (methods, macros that define items) is not seen.

use std::collections::BTreeMap;

use crate::source::{FileId, Mention, ModuleId, Source};

/// A use of an item in another file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) line: usize,
    /// The path as it is written.
    pub(crate) path: String,
}

/// From a file to a file, with the uses that make the arrow, in the order of their lines.
pub(crate) type Arrows = BTreeMap<(FileId, FileId), Vec<Use>>;

/// All arrows between the files of a target.
pub(crate) fn all(source: &Source) -> Arrows {
    let mut arrows = Arrows::new();
    for (id, module) in source.modules.iter().enumerate() {
        for Mention { path, line, is_glob } in &module.mentions {
            let mut resolver = Resolver { source, reexports: Vec::new() };
            let target = match resolver.resolve(id, path, Start::Path, MAX_CHAIN) {
                Some(Meaning::ItemOf(target)) => target,
                Some(Meaning::Module(target)) if *is_glob => target,
                _ => continue,
            };
            let reexports = resolver.reexports.into_iter().filter(|module| *module != 0);
            let written = if *is_glob { "::*" } else { "" };
            for target in reexports.chain([target]) {
                let file = source.modules[target].file;
                if file != module.file {
                    let path = format!("{}{written}", path.join("::"));
                    arrows.entry((module.file, file)).or_default().push(Use { line: *line, path });
                }
            }
        }
    }
    for uses in arrows.values_mut() {
        uses.sort_by_key(|one| one.line);
        uses.dedup();
    }
    arrows
}

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Module(ModuleId),
    /// An item that the module defines.
    ItemOf(ModuleId),
}

/// Whether `crate` and `self` can come next, which only a path's first element can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Path,
    Rest,
}

/// A longer chain of imports is an import of itself.
const MAX_CHAIN: usize = 16;

struct Resolver<'a> {
    source: &'a Source,
    /// The modules whose imports the path led through.
    reexports: Vec<ModuleId>,
}

impl Resolver<'_> {
    /// Resolves a path in a module. Paths of other crates resolve to nothing.
    fn resolve(
        &mut self,
        from: ModuleId,
        path: &[String],
        start: Start,
        chain: usize,
    ) -> Option<Meaning> {
        let (first, rest) = path.split_first()?;
        let module = match first.as_str() {
            "crate" if start == Start::Path => 0,
            "self" if start == Start::Path => from,
            "super" => self.source.modules[from].parent?,
            name => return self.resolve_name(from, name, rest, chain),
        };
        self.resolve_rest(module, rest, chain)
    }

    fn resolve_rest(&mut self, module: ModuleId, rest: &[String], chain: usize) -> Option<Meaning> {
        if rest.is_empty() {
            return Some(Meaning::Module(module));
        }
        self.resolve(module, rest, Start::Rest, chain)
    }

    /// Resolves `name::rest` in a module. A name can be a module and an item at once, so each of
    /// its meanings is tried.
    fn resolve_name(
        &mut self,
        from: ModuleId,
        name: &str,
        rest: &[String],
        chain: usize,
    ) -> Option<Meaning> {
        let module = &self.source.modules[from];
        let child = module.children.get(name).copied();
        if let Some(child) = child.filter(|_| !rest.is_empty())
            && let Some(meaning) = self.resolve_rest(child, rest, chain)
        {
            return Some(meaning);
        }
        if module.items.contains(name) {
            return Some(Meaning::ItemOf(from));
        }
        let chain = chain.checked_sub(1)?;
        for import in module.imports.get(name).into_iter().flatten() {
            // `use name::…` starts at a child module or another crate, and not at this import.
            if child.is_none() && import.first().is_some_and(|first| first == name) {
                continue;
            }
            let meaning = match self.resolve(from, import, Start::Path, chain) {
                Some(Meaning::Module(module)) => self.resolve_rest(module, rest, chain),
                // What comes behind an item is a variant or an associated item.
                other => other,
            };
            if meaning.is_some() {
                self.reexports.push(from);
                return meaning;
            }
        }
        if let Some(child) = child.filter(|_| rest.is_empty()) {
            return Some(Meaning::Module(child));
        }
        let whole = [&[name.to_owned()], rest].concat();
        for glob in &module.globs {
            if let Some(Meaning::Module(module)) = self.resolve(from, glob, Start::Path, chain)
                && module != from
                && let Some(meaning) = self.resolve_rest(module, &whole, chain)
            {
                self.reexports.push(from);
                return Some(meaning);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::source;

    /// The arrows of a crate with these files, as `from -> to: lines`.
    fn arrows(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let source = source::read(&folder.path().join(files[0].0)).unwrap();
        let name = |file: FileId| {
            let file = source.files[file].strip_prefix(folder.path()).unwrap();
            file.to_str().unwrap().to_owned()
        };
        let line = |((from, to), uses): (&(FileId, FileId), &Vec<Use>)| {
            let lines: Vec<_> = uses.iter().map(|one| one.line.to_string()).collect();
            format!("{} -> {}: {}", name(*from), name(*to), lines.join(" "))
        };
        all(&source).iter().map(line).collect()
    }

    #[test]
    fn naming_an_item_is_an_arrow_to_the_file_that_defines_it() {
        let files = [
            ("lib.rs", "mod a;\nmod b;"),
            ("a.rs", "use crate::b::B;\npub fn a() -> B { B::new() }"),
            ("b.rs", "pub struct B;"),
        ];
        assert_eq!(arrows(&files), ["a.rs -> b.rs: 1 2"]);
    }

    #[test]
    fn declaring_or_importing_a_module_is_not_an_arrow() {
        let files = [("lib.rs", "mod a;\nmod b;"), ("a.rs", "use crate::b;"), ("b.rs", "")];
        assert!(arrows(&files).is_empty());
    }

    #[test]
    fn a_path_behind_an_imported_module_is_an_arrow() {
        let files = [
            ("lib.rs", "mod a;\nmod b;"),
            ("a.rs", "use crate::b;\n\nfn a() { b::inner::f(); }"),
            ("b/mod.rs", "pub mod inner;"),
            ("b/inner.rs", "pub fn f() {}"),
        ];
        assert_eq!(arrows(&files), ["a.rs -> b/inner.rs: 3"]);
    }

    #[test]
    fn a_child_and_a_parent_that_use_each_other_have_an_arrow_each() {
        let files = [
            ("lib.rs", "mod a;"),
            ("a.rs", "mod child;\nfn a() { child::f(); }\npub struct A;"),
            ("a/child.rs", "use super::A;\npub fn f() {}"),
        ];
        assert_eq!(arrows(&files), ["a.rs -> a/child.rs: 2", "a/child.rs -> a.rs: 1"]);
    }

    #[test]
    fn a_path_by_way_of_a_re_export_is_an_arrow_to_both_files() {
        let files = [
            ("lib.rs", "mod a;\nmod b;"),
            ("a.rs", "use crate::b::Deep;"),
            ("b.rs", "mod deep;\npub use self::deep::Deep;"),
            ("b/deep.rs", "pub struct Deep;"),
        ];
        assert_eq!(
            arrows(&files),
            ["a.rs -> b.rs: 1", "a.rs -> b/deep.rs: 1", "b.rs -> b/deep.rs: 2"]
        );
    }

    #[test]
    fn the_root_may_re_export_what_its_modules_use() {
        let files = [
            ("lib.rs", "mod a;\nmod error;\npub use error::Error;"),
            ("a.rs", "use crate::Error;"),
            ("error.rs", "pub struct Error;"),
        ];
        assert_eq!(arrows(&files), ["lib.rs -> error.rs: 3", "a.rs -> error.rs: 1"]);
    }

    #[test]
    fn paths_in_macros_and_attributes_count_and_those_of_tests_do_not() {
        let files = [
            ("lib.rs", "mod a;\nmod b;"),
            (
                "a.rs",
                "fn a() { println!(\"{}\", crate::b::f(1)); }\n\
                 #[derive(Serialize)]\nstruct A { #[serde(with = \"crate::b::f\")] x: u8 }\n\
                 #[cfg(test)]\nmod tests { use crate::b::f; }\n\
                 #[cfg(test)]\nfn test() { crate::b::f(2); }",
            ),
            ("b.rs", "pub fn f(_: u8) {}"),
        ];
        assert_eq!(arrows(&files), ["a.rs -> b.rs: 1 3"]);
    }

    #[test]
    fn a_glob_is_an_arrow_and_leads_to_definitions() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\nmod c;"),
            ("a.rs", "use crate::b::*;"),
            ("b.rs", "pub use crate::c::*;"),
            ("c.rs", "pub struct C;"),
            // Not a module of the crate.
            ("d.rs", "use crate::a::*;"),
        ];
        assert_eq!(arrows(&files), ["a.rs -> b.rs: 1", "b.rs -> c.rs: 1"]);
    }
}
