//! The source of one target, read into a tree of modules.
//!
//! Tests are left out: items behind `#[cfg(test)]` are not part of the program, and a test may use
//! whatever it tests.

mod attributes;
mod module;
mod visit;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use syn::visit::Visit;

use self::visit::Visitor;

pub(crate) use self::module::{FileId, Mention, ModuleId, Source};

/// Reads the target whose root module is in the file `root`.
pub(crate) fn read(root: &Path) -> Result<Source> {
    let folder = root.parent().with_context(|| format!("{} is not in a folder", root.display()))?;
    let mut source = Source::default();
    let module = source.add(None, None, 0);
    read_file(&mut source, module, root, folder)?;
    Ok(source)
}

/// Reads the file of a module. `folder` is where the files of its child modules are.
fn read_file(source: &mut Source, module: ModuleId, file: &Path, folder: &Path) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let parsed = syn::parse_file(&text).with_context(|| format!("parse {}", file.display()))?;
    source.files.push(file.to_owned());
    source.modules[module].file = source.files.len() - 1;
    read_items(source, module, &parsed.items, folder)
}

fn read_items(
    source: &mut Source,
    module: ModuleId,
    items: &[syn::Item],
    folder: &Path,
) -> Result<()> {
    let mut children = Vec::new();
    let mut visitor = Visitor { module: &mut source.modules[module], children: &mut children };
    for item in items {
        visitor.visit_item(item);
    }
    for child in children {
        let name = child.ident.to_string();
        let id = source.add(Some(module), Some(&name), source.modules[module].file);
        let below = folder.join(&name);
        if let Some((_, items)) = &child.content {
            read_items(source, id, items, &below)?;
        } else {
            read_file(source, id, &find_file(&child, folder)?, &below)?;
        }
    }
    Ok(())
}

/// The file of `mod name;`, whose parent has the files of its children in `folder`.
fn find_file(module: &syn::ItemMod, folder: &Path) -> Result<PathBuf> {
    let name = module.ident.to_string();
    if let Some(path) = attributes::path(&module.attrs) {
        return Ok(folder.join(path));
    }
    let candidates = [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
    match candidates.iter().find(|file| file.is_file()) {
        Some(file) => Ok(file.clone()),
        None => bail!("module `{name}` has no file in {}", folder.display()),
    }
}
