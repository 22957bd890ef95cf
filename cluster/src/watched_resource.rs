//! What the pipeline needs of a kind of Kubernetes object.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;

use crate::meta;
use crate::validation::InvalidValue;
use weir_model::ObjectName;

/// The decoded part of a Kubernetes object, of a kind that the sources follow. Both sources decode
/// this part and convert it in the same way.
pub(crate) trait WatchedResource:
    kube::Resource<DynamicType = ()>
    + k8s_openapi::Resource
    + k8s_openapi::Metadata<Ty = ObjectMeta>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The model's object.
    type Model: Debug + PartialEq + Send + Sync;

    /// What messages call the kind, in the singular.
    const NOUN: &'static str;

    /// The label selector of the watch.
    const SELECTOR: Option<&'static str>;

    /// The name, which is unique among the objects of the kind.
    fn object_name(&self) -> ObjectName {
        meta::object_name(self.metadata())
    }

    /// The object with the defaults that the API server sets. A manifest may lack them.
    #[must_use]
    fn with_server_defaults(self) -> Self {
        self
    }

    /// The model's object without the invalid values, and these; no object if Weir ignores it.
    fn convert(&self) -> (Option<Self::Model>, Vec<InvalidValue>);

    /// Besides the name, an identity that two objects cannot share, if the kind has one.
    fn identity(_: &Self::Model) -> Option<&str> {
        None
    }
}

/// Gives the decoded part `$decoded` the names that the API has for the full type `$full`.
macro_rules! decoded_part_of {
    ($full:ty, $decoded:ty) => {
        impl k8s_openapi::Resource for $decoded {
            const API_VERSION: &'static str = <$full as k8s_openapi::Resource>::API_VERSION;
            const GROUP: &'static str = <$full as k8s_openapi::Resource>::GROUP;
            const KIND: &'static str = <$full as k8s_openapi::Resource>::KIND;
            const VERSION: &'static str = <$full as k8s_openapi::Resource>::VERSION;
            const URL_PATH_SEGMENT: &'static str =
                <$full as k8s_openapi::Resource>::URL_PATH_SEGMENT;
            type Scope = <$full as k8s_openapi::Resource>::Scope;
        }

        impl k8s_openapi::Metadata for $decoded {
            type Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

            fn metadata(&self) -> &Self::Ty {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut Self::Ty {
                &mut self.metadata
            }
        }
    };
}
pub(crate) use decoded_part_of;
