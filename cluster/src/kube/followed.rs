//! The kinds of objects that are followed.

use std::fmt::Debug;
use std::sync::Arc;

use kube::Resource;
use serde::de::DeserializeOwned;

use super::desk::{Desk, Section};
use super::object::NodeObject;
use crate::meta;
use crate::node::{Converted, NodeFields};
use crate::service::ServiceObject;
use crate::slice::SliceObject;
use weir_model::{EndpointSlice, Node, Nodes, ObjectName, Objects, Service};

/// A kind of object that is listed and watched.
pub(super) trait Followed:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Where its objects are in a snapshot.
    type Contents: Contents;

    /// What RBAC calls it.
    const RESOURCE: &'static str;
    /// The label selector of what is for us.
    const SELECTOR: Option<&'static str>;

    /// The object's name, which the API server keeps unique.
    fn object_name(&self) -> ObjectName;

    /// The model's object, if it is for us, and what cannot be right in it.
    fn object(&self) -> (Option<<Self::Contents as Contents>::Object>, Vec<String>);

    /// What is published of this kind.
    fn section(desk: &mut Desk) -> &mut Section<Self::Contents>;
}

/// Objects of a snapshot.
pub(super) trait Contents: Clone + Debug + Default + Send {
    /// The model's object.
    type Object: Debug + PartialEq + Send + Sync;

    /// An object takes the place of another one of its name, or of none.
    fn turn(&mut self, old: Option<&Arc<Self::Object>>, new: Option<&Arc<Self::Object>>);

    /// These are the objects now.
    fn become_list(&mut self, list: Self);
}

impl Followed for NodeObject {
    type Contents = Arc<Nodes>;

    const RESOURCE: &'static str = "nodes";
    const SELECTOR: Option<&'static str> = None;

    fn object_name(&self) -> ObjectName {
        ObjectName::new("", self.metadata.name.as_deref().unwrap_or_default())
    }

    fn object(&self) -> (Option<Node>, Vec<String>) {
        let Converted { node, wrong } = NodeFields::from(self).convert();
        (Some(node), wrong.iter().map(ToString::to_string).collect())
    }

    fn section(desk: &mut Desk) -> &mut Section<Arc<Nodes>> {
        &mut desk.nodes
    }
}

impl Contents for Arc<Nodes> {
    type Object = Node;

    fn turn(&mut self, old: Option<&Arc<Node>>, new: Option<&Arc<Node>>) {
        let nodes = Arc::make_mut(self);
        if let Some(old) = old {
            // Deleted and created again under its name, it is another one.
            nodes.remove(&old.uid);
        }
        if let Some(new) = new {
            nodes.insert(new.uid.clone(), Arc::clone(new));
        }
    }

    fn become_list(&mut self, list: Self) {
        *self = list;
    }
}

impl Followed for ServiceObject {
    type Contents = Objects<Service>;

    const RESOURCE: &'static str = "services";
    const SELECTOR: Option<&'static str> = Some(meta::SELECTOR);

    fn object_name(&self) -> ObjectName {
        meta::object_name(&self.metadata)
    }

    fn object(&self) -> (Option<Service>, Vec<String>) {
        let (service, wrong) = self.convert();
        (service, wrong.iter().map(ToString::to_string).collect())
    }

    fn section(desk: &mut Desk) -> &mut Section<Objects<Service>> {
        &mut desk.services
    }
}

impl Followed for SliceObject {
    type Contents = Objects<EndpointSlice>;

    const RESOURCE: &'static str = "endpointslices";
    const SELECTOR: Option<&'static str> = Some(meta::SELECTOR);

    fn object_name(&self) -> ObjectName {
        meta::object_name(&self.metadata)
    }

    fn object(&self) -> (Option<EndpointSlice>, Vec<String>) {
        let (slice, wrong) = self.convert();
        (slice, wrong.iter().map(ToString::to_string).collect())
    }

    fn section(desk: &mut Desk) -> &mut Section<Objects<EndpointSlice>> {
        &mut desk.slices
    }
}

/// What has a name in a namespace, which its object knows.
trait Named {
    fn name(&self) -> &ObjectName;
}

impl Named for Service {
    fn name(&self) -> &ObjectName {
        &self.name
    }
}

impl Named for EndpointSlice {
    fn name(&self) -> &ObjectName {
        &self.name
    }
}

impl<T: Named + Debug + PartialEq + Send + Sync> Contents for Objects<T> {
    type Object = T;

    fn turn(&mut self, old: Option<&Arc<T>>, new: Option<&Arc<T>>) {
        match (old, new) {
            (_, Some(new)) => {
                self.insert(new.name().clone(), Arc::clone(new));
            }
            (Some(old), None) => {
                self.remove(old.name());
            }
            (None, None) => {}
        }
    }

    /// What is the same as before has not changed, though everything was listed again.
    fn become_list(&mut self, list: Self) {
        self.replace(list.iter().map(|(name, object)| (name.clone(), Arc::clone(object))));
    }
}
