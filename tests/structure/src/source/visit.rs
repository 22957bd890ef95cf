//! Fills a module from its syntax.

use proc_macro2::{Ident, Spacing, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Item, ItemMod, ItemUse, UseTree};

use super::attributes;
use super::module::{Mention, Module};

/// Walks through the items of one module; its child modules are handed back.
pub(super) struct Visitor<'a> {
    pub(super) module: &'a mut Module,
    pub(super) children: &'a mut Vec<ItemMod>,
}

impl Visitor<'_> {
    fn mention(&mut self, path: Vec<String>, line: usize) {
        // A single name is of this module or imported, and the import is a mention already.
        if path.len() > 1 {
            self.module.mentions.push(Mention { path, line, is_glob: false });
        }
    }

    fn import(&mut self, tree: &UseTree, before: &[String]) {
        let with = |ident: &Ident| {
            let mut path = before.to_vec();
            path.push(name_of(ident));
            path
        };
        match tree {
            UseTree::Path(tree) => self.import(&tree.tree, &with(&tree.ident)),
            UseTree::Name(tree) => self.import_name(&with(&tree.ident), None, line_of(&tree.ident)),
            UseTree::Rename(tree) => {
                let name = name_of(&tree.rename);
                self.import_name(&with(&tree.ident), Some(name), line_of(&tree.ident));
            }
            UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                self.module.globs.push(before.to_vec());
                self.module.mentions.push(Mention { path: before.to_vec(), line, is_glob: true });
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, before);
                }
            }
        }
    }

    /// `use path` or `use path as name`; `use a::{self}` is `use a`.
    fn import_name(&mut self, path: &[String], name: Option<String>, line: usize) {
        let path = match path {
            [before @ .., last] if last == "self" && !before.is_empty() => before,
            whole => whole,
        };
        let Some(last) = path.last() else { return };
        let name = name.unwrap_or_else(|| last.clone());
        self.module.imports.entry(name).or_default().push(path.to_vec());
        self.mention(path.to_vec(), line);
    }

    /// The syntax of a macro's arguments is not known here: every `a::b` in them counts as a path.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 || path.is_empty() {
                        self.mention(std::mem::take(&mut path), line);
                        line = line_of(&ident);
                    }
                    path.push(name_of(&ident));
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons = if punct.spacing() == Spacing::Joint { 1 } else { colons + 1 };
                }
                other => {
                    self.mention(std::mem::take(&mut path), line);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.mention(path, line);
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes::is_test(attributes::of_item(item)) {
            return;
        }
        if let Item::Mod(module) = item {
            self.children.push(module.clone());
            return;
        }
        self.module.items.extend(name(item));
        visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_none() {
            self.import(&item.tree, &[]);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !attributes::is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none()
            && let Some(first) = path.segments.first()
        {
            let names = path.segments.iter().map(|segment| name_of(&segment.ident)).collect();
            self.mention(names, line_of(&first.ident));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.visit_path(&list.path);
        // Macros such as serde's take paths as strings.
        self.strings(list.tokens.clone());
        self.tokens(list.tokens.clone());
    }

    /// `pub(in path)` says who may use the item, and uses nothing itself.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}
}

impl Visitor<'_> {
    fn strings(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.strings(group.stream()),
                TokenTree::Literal(literal) => {
                    let line = literal.span().start().line;
                    let text = literal.to_string();
                    let path = text.trim_matches('"').parse::<TokenStream>();
                    let path = path.ok().and_then(|path| syn::parse2::<syn::Path>(path).ok());
                    if let Some(path) = path.filter(|_| text.starts_with('"')) {
                        let names = path.segments.iter().map(|one| name_of(&one.ident)).collect();
                        self.mention(names, line);
                    }
                }
                _ => {}
            }
        }
    }
}

/// The name of an item, if it has one.
fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name_of(ident))
}

fn name_of(ident: &Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").map_or_else(|| name.clone(), str::to_owned)
}

fn line_of(ident: &Ident) -> usize {
    ident.span().start().line
}
