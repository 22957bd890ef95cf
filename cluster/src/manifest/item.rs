//! From one document to its objects.

use k8s_openapi::api::core::v1;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::Spanned;

use super::document::Document;
use super::{Entry, Manifest, ObjectError, Problem};
use crate::meta;
use crate::node::{Converted, NodeFields};
use crate::service::ServiceObject;
use crate::slice::SliceObject;

/// What tells which kind of object a document holds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: Option<String>,
    kind: Option<String>,
}

/// `kind: List`, as `kubectl get -o yaml` writes it. Its items may be of any kind.
#[derive(Debug, Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<Spanned<Value>>,
}

/// A kind of object, as far as anything here uses it.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Node,
    Service,
    Slice,
    List,
    Unused,
}

impl Head {
    /// The head of a document as `kubectl` writes it, without a look at the rest, which would be
    /// read twice otherwise. None if it is not that plain. Nothing but keys of the object itself
    /// can stand at the beginning of a line.
    fn plain(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let mut lines =
                text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            let value = lines.next().filter(|_| lines.next().is_none())?.strip_prefix(' ')?.trim();
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/');
            (!value.is_empty() && value.chars().all(is_plain)).then(|| value.to_owned())
        };
        Some(Self { api_version: Some(value("apiVersion")?), kind: Some(value("kind")?) })
    }
}

impl Kind {
    fn of(head: &Head) -> Result<Self, ObjectError> {
        let version = head.api_version.as_deref().ok_or(ObjectError::Missing("apiVersion"))?;
        let kind = head.kind.as_deref().ok_or(ObjectError::Missing("kind"))?;
        Ok(match (version, kind) {
            ("v1", "Node") => Self::Node,
            ("v1", "Service") => Self::Service,
            ("discovery.k8s.io/v1", "EndpointSlice") => Self::Slice,
            ("v1", "List" | "NodeList" | "ServiceList")
            | ("discovery.k8s.io/v1", "EndpointSliceList") => Self::List,
            _ => Self::Unused,
        })
    }
}

/// Where and why reading failed.
struct Failure {
    line: u64,
    error: ObjectError,
}

pub(super) fn read_document(document: &Document<'_>, manifest: &mut Manifest) {
    if let Err(Failure { line, error }) = read(document, manifest) {
        manifest.refuse(line, &error);
    }
}

fn read(document: &Document<'_>, manifest: &mut Manifest) -> Result<(), Failure> {
    let head = match Head::plain(document.text) {
        Some(head) => head,
        None => match from_text::<Option<Head>>(document)? {
            Some(head) => head,
            None => return Ok(()),
        },
    };
    let line = first_line(document);
    let take = match Kind::of(&head).map_err(|error| Failure { line, error })? {
        Kind::Node => take_node(&from_text(document)?, line, manifest),
        Kind::Service => take_service(&from_text(document)?, line, manifest),
        Kind::Slice => take_slice(from_text(document)?, line, manifest),
        Kind::List => {
            // Which line each is on, only YAML can tell.
            for item in from_yaml::<List>(document)?.items {
                let line = document.lines_before + item.referenced.line();
                if let Err(error) = read_item(item.value, line, manifest) {
                    manifest.refuse(line, &error);
                }
            }
            Ok(())
        }
        Kind::Unused => Ok(()),
    };
    take.map_err(|error| Failure { line, error })
}

fn read_item(value: Value, line: u64, manifest: &mut Manifest) -> Result<(), ObjectError> {
    match Kind::of(&from_value(value.clone())?)? {
        Kind::Node => take_node(&from_value(value)?, line, manifest),
        Kind::Service => take_service(&from_value(value)?, line, manifest),
        Kind::Slice => take_slice(from_value(value)?, line, manifest),
        Kind::List | Kind::Unused => Ok(()),
    }
}

fn take_node(object: &v1::Node, line: u64, manifest: &mut Manifest) -> Result<(), ObjectError> {
    let fields = NodeFields::from(object);
    named(Some(fields.name))?;
    let Converted { node, wrong } = fields.convert();
    let doubtful = manifest.note(line, &wrong);
    manifest.nodes.push(Entry { name: node.name.clone(), object: node.into(), line, doubtful });
    Ok(())
}

fn take_service(
    object: &ServiceObject,
    line: u64,
    manifest: &mut Manifest,
) -> Result<(), ObjectError> {
    named(object.metadata.name.as_deref())?;
    let name = meta::object_name(&object.metadata);
    let (service, wrong) = object.convert();
    let doubtful = manifest.note(line, &wrong);
    manifest.services.push(Entry { name, object: service.map(Into::into), line, doubtful });
    Ok(())
}

fn take_slice(object: SliceObject, line: u64, manifest: &mut Manifest) -> Result<(), ObjectError> {
    named(object.metadata.name.as_deref())?;
    let object = object.with_server_defaults();
    let name = meta::object_name(&object.metadata);
    let (slice, wrong) = object.convert();
    let doubtful = manifest.note(line, &wrong);
    manifest.slices.push(Entry { name, object: slice.map(Into::into), line, doubtful });
    Ok(())
}

fn named(name: Option<&str>) -> Result<(), ObjectError> {
    match name {
        None | Some("") => Err(ObjectError::Missing("metadata.name")),
        Some(_) => Ok(()),
    }
}

impl Manifest {
    /// Notes what is wrong with the object on a line. Returns whether anything is.
    fn note(&mut self, line: u64, wrong: &[impl ToString]) -> bool {
        let problems = wrong.iter().map(|wrong| Problem { line, what: wrong.to_string() });
        self.problems.extend(problems);
        !wrong.is_empty()
    }
}

/// The line that the document's contents start on.
fn first_line(document: &Document<'_>) -> u64 {
    let is_content = |line: &str| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with('#') && !line.starts_with("---")
    };
    let before = document.text.lines().take_while(|line| !is_content(line)).count();
    document.lines_before + 1 + before as u64
}

/// Reads a document. JSON is YAML too, but can be read much faster as what it is; what is wrong in
/// it is found as in YAML, with its line.
fn from_text<T: DeserializeOwned>(document: &Document<'_>) -> Result<T, Failure> {
    let text = document.text.trim_start();
    let text = text.strip_prefix("---").unwrap_or(text).trim_start();
    if text.starts_with('{')
        && let Ok(value) = serde_json::from_str(text)
    {
        return Ok(value);
    }
    from_yaml(document)
}

fn from_yaml<T: DeserializeOwned>(document: &Document<'_>) -> Result<T, Failure> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        // The limits that remain (depth, aliases, 64 MiB of text) keep a hostile file harmless;
        // a list of thousands of nodes is not hostile.
        budget: serde_saphyr::budget! { max_nodes: 8_000_000, max_events: 20_000_000 },
    };
    let mut field = None;
    serde_saphyr::with_deserializer_from_str_with_options(document.text, options, |yaml| {
        serde_path_to_error::deserialize(yaml).map_err(|error| {
            field = Some(error.path().to_string()).filter(|path| path != ".");
            error.into_inner()
        })
    })
    .map_err(|error| {
        let line = document.lines_before + error.location().map_or(1, |location| location.line());
        Failure { line, error: object_error(field, plain_text(&error)) }
    })
}

fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, ObjectError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let field = Some(error.path().to_string()).filter(|path| path != ".");
        object_error(field, error.into_inner().to_string())
    })
}

fn object_error(field: Option<String>, fault: String) -> ObjectError {
    match field {
        Some(field) => ObjectError::Field { field, fault },
        None => ObjectError::Syntax(fault),
    }
}

/// The error on one line, without the place, which is said apart.
fn plain_text(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.split(" at line ").next().unwrap_or(line).trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_head_is_found_without_reading_the_rest_and_another_one_is_not() {
        let head = Head::plain("---\napiVersion: v1\nkind: Node\nspec:\n  kind: Pod\n").unwrap();
        assert_eq!(head.api_version.as_deref(), Some("v1"));
        assert_eq!(head.kind.as_deref(), Some("Node"));
        let odd = [
            "{\"apiVersion\": \"v1\", \"kind\": \"Node\"}",
            "apiVersion: v1\nkind: \"Node\"\n",
            "apiVersion: v1\nkind: Node\nkind: Service\n",
            "apiVersion: v1\nkind: # none\n",
            "apiVersion: v1\nkind: &k Node\n",
            "kind: Node\n",
        ];
        for text in odd {
            assert!(Head::plain(text).is_none(), "{text}");
        }
    }
}
