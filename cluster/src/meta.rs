//! The decoded part of objects' metadata, and the labels of objects that Weir ignores.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Deserializer};

use weir_model::{ObjectName, UNDERLAY_ANNOTATION, ZONE_LABEL};

/// The label on a slice that names its Service.
pub(crate) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// The label on objects that another proxy serves.
const OTHER_PROXY_LABEL: &str = "service.kubernetes.io/service-proxy-name";
/// The label on objects that need no proxy.
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// Selects the objects that [`is_ignored`] does not ignore.
pub(crate) const SELECTOR: &str =
    "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    labels: Option<WireLabels>,
    annotations: Option<WireAnnotations>,
}

// serde wants literals; a test compares them with the constants.
#[derive(Deserialize)]
struct WireLabels {
    #[serde(rename = "kubernetes.io/service-name")]
    service_name: Option<String>,
    #[serde(rename = "service.kubernetes.io/service-proxy-name")]
    other_proxy: Option<String>,
    #[serde(rename = "service.kubernetes.io/headless")]
    headless: Option<String>,
    #[serde(rename = "topology.kubernetes.io/zone")]
    zone: Option<String>,
}

#[derive(Deserialize)]
struct WireAnnotations {
    #[serde(rename = "weir.dev/underlay-ip")]
    underlay: Option<String>,
}

/// Decodes the metadata that Weir reads and skips the rest.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<ObjectMeta, D::Error> {
    let WireMeta {
        name,
        namespace,
        uid,
        resource_version,
        creation_timestamp,
        labels,
        annotations,
    } = WireMeta::deserialize(input)?;
    let labels = labels.map(|WireLabels { service_name, other_proxy, headless, zone }| {
        let labels = [
            (SERVICE_NAME_LABEL, service_name),
            (OTHER_PROXY_LABEL, other_proxy),
            (HEADLESS_LABEL, headless),
            (ZONE_LABEL, zone),
        ];
        let present = labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        present.collect::<BTreeMap<_, _>>()
    });
    let underlay = annotations.and_then(|annotations| annotations.underlay);
    Ok(ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        creation_timestamp,
        labels,
        annotations: underlay.map(|ip| [(UNDERLAY_ANNOTATION.to_owned(), ip)].into()),
        ..ObjectMeta::default()
    })
}

/// Whether another proxy serves an object, or none does.
pub(crate) fn is_ignored(metadata: &ObjectMeta) -> bool {
    [OTHER_PROXY_LABEL, HEADLESS_LABEL].iter().any(|key| label(metadata, key).is_some())
}

/// The value of a label.
pub(crate) fn label<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// The name of a namespaced object. Without a namespace, which a manifest may lack, it is in
/// `default`, as for `kubectl`.
pub(crate) fn object_name(metadata: &ObjectMeta) -> ObjectName {
    let namespace = metadata.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let name = metadata.name.as_deref().unwrap_or_default();
    ObjectName::new(namespace.unwrap_or("default"), name)
}

/// Shows an object's name; without the namespace if it is not in one.
pub(crate) struct DisplayName<'a>(pub(crate) &'a ObjectName);

impl fmt::Display for DisplayName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.namespace.is_empty() { self.0.name.fmt(f) } else { self.0.fmt(f) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_annotations_that_weir_reads_are_decoded() {
        let json = serde_json::json!({
            "name": "a",
            "labels": {
                SERVICE_NAME_LABEL: "s",
                OTHER_PROXY_LABEL: "p",
                HEADLESS_LABEL: "",
                ZONE_LABEL: "z",
                "app": "x",
            },
            "annotations": {UNDERLAY_ANNOTATION: "192.0.2.1", "other": "x"},
            "managedFields": [{"manager": "m"}],
        });
        let metadata = deserialize(json).unwrap();
        assert_eq!(metadata.labels.as_ref().unwrap().len(), 4);
        assert_eq!(metadata.annotations.as_ref().unwrap().len(), 1);
        assert!(metadata.managed_fields.is_none());
        assert_eq!(label(&metadata, SERVICE_NAME_LABEL), Some("s"));
        assert_eq!(object_name(&metadata).to_string(), "default/a");
    }

    #[test]
    fn objects_that_the_selector_leaves_out_are_ignored() {
        let selector = format!("!{OTHER_PROXY_LABEL},!{HEADLESS_LABEL}");
        assert_eq!(SELECTOR, selector);
        for key in [OTHER_PROXY_LABEL, HEADLESS_LABEL] {
            let json = serde_json::json!({"name": "a", "labels": {key: ""}});
            assert!(is_ignored(&deserialize(json).unwrap()), "{key}");
        }
        let json = serde_json::json!({"name": "a", "labels": {SERVICE_NAME_LABEL: ""}});
        assert!(!is_ignored(&deserialize(json).unwrap()));
    }
}
