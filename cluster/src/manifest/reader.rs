//! From one document to its objects.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::Spanned;
use thiserror::Error;

use super::document::Document;
use crate::kinds::{DecodedObject, Kind, KindVisitor, ListedKind};

/// The outcome of reading an object.
#[derive(Debug)]
pub(super) enum Outcome {
    Read { line: u64, object: DecodedObject },
    Unreadable { line: u64, error: ObjectError },
}

/// Why an object could not be read.
#[derive(Debug, Error)]
pub(super) enum ObjectError {
    #[error("{0}")]
    Syntax(String),
    #[error("{field}: {error}")]
    Field { field: String, error: String },
    #[error("the object has no `{0}`")]
    Missing(&'static str),
    #[error("the file is not UTF-8 text")]
    NotText,
}

/// The fields that name the kind of an object.
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

/// What a document or an item holds.
enum Content {
    Object(Kind),
    List,
    /// A kind that Weir does not follow.
    Other,
}

impl Head {
    /// The head of a document as `kubectl` writes it, without decoding the rest, which would be
    /// decoded twice otherwise. None if it is not that plain. Only keys of the object itself can be at
    /// the beginning of a line.
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

impl Content {
    fn of(head: &Head) -> Result<Self, ObjectError> {
        let version = head.api_version.as_deref().ok_or(ObjectError::Missing("apiVersion"))?;
        let name = head.kind.as_deref().ok_or(ObjectError::Missing("kind"))?;
        if let Some(kind) = Kind::named(version, name) {
            return Ok(Self::Object(kind));
        }
        let is_list = (version, name) == ("v1", "List")
            || name.strip_suffix("List").is_some_and(|of| Kind::named(version, of).is_some());
        Ok(if is_list { Self::List } else { Self::Other })
    }
}

/// The line and the reason of a failure.
struct Failure {
    line: u64,
    error: ObjectError,
}

/// Reads the objects of a document.
pub(super) fn read_document(document: &Document<'_>) -> Vec<Outcome> {
    read(document)
        .unwrap_or_else(|Failure { line, error }| vec![Outcome::Unreadable { line, error }])
}

fn read(document: &Document<'_>) -> Result<Vec<Outcome>, Failure> {
    let head = match Head::plain(document.text) {
        Some(head) => head,
        None => match from_text::<Option<Head>>(document)? {
            Some(head) => head,
            None => return Ok(Vec::new()),
        },
    };
    let line = first_line(document);
    match Content::of(&head).map_err(|error| Failure { line, error })? {
        Content::Object(kind) => {
            let object = kind.visit(DecodeDocument { document, line })?;
            Ok(vec![Outcome::Read { line, object }])
        }
        Content::List => {
            // Only YAML knows the lines of the items.
            let items = from_yaml::<List>(document)?.items.into_iter();
            let read = items.filter_map(|item| {
                let line = document.lines_before + item.referenced.line();
                match read_item(item.value) {
                    Ok(object) => object.map(|object| Outcome::Read { line, object }),
                    Err(error) => Some(Outcome::Unreadable { line, error }),
                }
            });
            Ok(read.collect())
        }
        Content::Other => Ok(Vec::new()),
    }
}

fn read_item(value: Value) -> Result<Option<DecodedObject>, ObjectError> {
    match Content::of(&from_value(value.clone())?)? {
        Content::Object(kind) => kind.visit(DecodeItem { value }).map(Some),
        Content::List | Content::Other => Ok(None),
    }
}

/// Decodes a document as an object of the visited kind.
struct DecodeDocument<'a> {
    document: &'a Document<'a>,
    line: u64,
}

impl KindVisitor for DecodeDocument<'_> {
    type Output = Result<DecodedObject, Failure>;

    fn visit<K: ListedKind>(self) -> Self::Output {
        let Self { document, line } = self;
        decode(from_text::<K>(document)?).map_err(|error| Failure { line, error })
    }
}

/// Decodes an item of a list as an object of the visited kind.
struct DecodeItem {
    value: Value,
}

impl KindVisitor for DecodeItem {
    type Output = Result<DecodedObject, ObjectError>;

    fn visit<K: ListedKind>(self) -> Self::Output {
        decode(from_value::<K>(self.value)?)
    }
}

fn decode<K: ListedKind>(object: K) -> Result<DecodedObject, ObjectError> {
    match object.metadata().name.as_deref() {
        None | Some("") => Err(ObjectError::Missing("metadata.name")),
        Some(_) => Ok(DecodedObject::of(&object.with_server_defaults())),
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

/// Reads a document. JSON is YAML too, but is decoded much faster as JSON. Errors in it are found
/// as in YAML, with their line.
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

fn object_error(field: Option<String>, error: String) -> ObjectError {
    match field {
        Some(field) => ObjectError::Field { field, error },
        None => ObjectError::Syntax(error),
    }
}

/// The error on one line, without the location, which is reported separately.
fn plain_text(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.split(" at line ").next().unwrap_or(line).trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_head_is_found_without_decoding_the_rest() {
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
