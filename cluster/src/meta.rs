//! The metadata of Services and EndpointSlices: what is decoded of it, and whose objects are left
//! alone.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Deserializer};

use weir_model::ObjectName;

/// The label on a slice that names its Service.
pub(crate) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// The label on what another proxy serves.
const OTHER_PROXY_LABEL: &str = "service.kubernetes.io/service-proxy-name";
/// The label on what needs no proxy.
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// The selector of what is for us. The directory source filters alike.
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
}

/// Decodes the metadata that counts and skips the rest.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<ObjectMeta, D::Error> {
    let WireMeta { name, namespace, uid, resource_version, creation_timestamp, labels } =
        WireMeta::deserialize(input)?;
    let labels = labels.map(|WireLabels { service_name, other_proxy, headless }| {
        let labels = [
            (SERVICE_NAME_LABEL, service_name),
            (OTHER_PROXY_LABEL, other_proxy),
            (HEADLESS_LABEL, headless),
        ];
        let present = labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        present.collect::<BTreeMap<_, _>>()
    });
    Ok(ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        creation_timestamp,
        labels,
        ..ObjectMeta::default()
    })
}

/// Whether an object is another proxy's, or nobody's.
pub(crate) fn is_left_alone(metadata: &ObjectMeta) -> bool {
    [OTHER_PROXY_LABEL, HEADLESS_LABEL].iter().any(|key| label(metadata, key).is_some())
}

/// A label's value.
pub(crate) fn label<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// Namespace and name. What is written by hand without a namespace is in `default`, where `kubectl`
/// would put it.
pub(crate) fn object_name(metadata: &ObjectMeta) -> ObjectName {
    let namespace = metadata.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let name = metadata.name.as_deref().unwrap_or_default();
    ObjectName::new(namespace.unwrap_or("default"), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_labels_those_that_count_are_decoded() {
        let json = serde_json::json!({
            "name": "a",
            "labels": {
                SERVICE_NAME_LABEL: "s",
                OTHER_PROXY_LABEL: "p",
                HEADLESS_LABEL: "",
                "app": "x",
            },
            "managedFields": [{"manager": "m"}],
        });
        let metadata = deserialize(json).unwrap();
        assert_eq!(metadata.labels.as_ref().unwrap().len(), 3);
        assert_eq!(label(&metadata, SERVICE_NAME_LABEL), Some("s"));
        assert_eq!(object_name(&metadata).to_string(), "default/a");
    }

    #[test]
    fn what_the_selector_leaves_out_is_left_alone() {
        let selector = format!("!{OTHER_PROXY_LABEL},!{HEADLESS_LABEL}");
        assert_eq!(SELECTOR, selector);
        for key in [OTHER_PROXY_LABEL, HEADLESS_LABEL] {
            let json = serde_json::json!({"name": "a", "labels": {key: ""}});
            assert!(is_left_alone(&deserialize(json).unwrap()), "{key}");
        }
        let json = serde_json::json!({"name": "a", "labels": {SERVICE_NAME_LABEL: ""}});
        assert!(!is_left_alone(&deserialize(json).unwrap()));
    }
}
