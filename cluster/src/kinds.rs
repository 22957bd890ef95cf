//! The kinds of objects that the sources follow, listed once.
//!
//! A new kind is a file below `kinds` that decodes it, a line in the list, and a field of the
//! snapshot. Both sources work on [`Kind`]s and [`DecodedObject`]s and need no change.

pub mod node;
mod service;
mod slice;

use std::fmt;
use std::sync::Arc;

use crate::meta::DisplayName;
use crate::watched_resource::WatchedResource;
use weir_model::{Node, Nodes, ObjectName, Objects, Snapshot};

pub(crate) use node::NodeObject;
pub(crate) use service::ServiceObject;
pub(crate) use slice::SliceObject;

/// A kind of the list.
pub(crate) trait ListedKind: WatchedResource {
    const ID: Kind;

    fn object(model: Self::Model) -> Object;
}

/// Something to do with the type of a kind.
pub(crate) trait KindVisitor {
    type Output;

    fn visit<K: ListedKind>(self) -> Self::Output;
}

macro_rules! kinds {
    ($($kind:ident: $decoded:ty, in snapshot.$field:ident;)+) => {
        /// A kind of object. A snapshot is complete when all kinds are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Kind {
            $($kind,)+
        }

        /// An object of a snapshot.
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) enum Object {
            $($kind(Arc<<$decoded as WatchedResource>::Model>),)+
        }

        $(impl ListedKind for $decoded {
            const ID: Kind = Kind::$kind;

            fn object(model: Self::Model) -> Object {
                Object::$kind(Arc::new(model))
            }
        })+

        impl Kind {
            pub(crate) const ALL: &[Self] = &[$(Self::$kind,)+];

            /// What messages call the kind.
            pub(crate) const fn noun(self) -> &'static str {
                match self {
                    $(Self::$kind => <$decoded as WatchedResource>::NOUN,)+
                }
            }

            /// The kind that a manifest names.
            pub(crate) fn named(api_version: &str, kind: &str) -> Option<Self> {
                $(if api_version == <$decoded as k8s_openapi::Resource>::API_VERSION
                    && kind == <$decoded as k8s_openapi::Resource>::KIND
                {
                    return Some(Self::$kind);
                })+
                None
            }

            /// Calls the visitor with the type of the kind.
            pub(crate) fn visit<V: KindVisitor>(self, visitor: V) -> V::Output {
                match self {
                    $(Self::$kind => visitor.visit::<$decoded>(),)+
                }
            }
        }

        impl Object {
            /// Besides the name, an identity that two objects of the kind cannot share.
            pub(crate) fn identity(&self) -> Option<&str> {
                match self {
                    $(Self::$kind(model) => <$decoded as WatchedResource>::identity(model),)+
                }
            }

            /// Puts the object into a snapshot in which `old` has its name.
            pub(crate) fn upsert(self, snapshot: &mut Snapshot, name: &ObjectName, old: Option<&Self>) {
                match self {
                    $(Self::$kind(new) => {
                        let old = match old {
                            Some(Self::$kind(old)) => Some(&**old),
                            _ => None,
                        };
                        Collection::upsert(&mut snapshot.$field, name, old, new);
                    })+
                }
            }

            /// Takes the object out of a snapshot.
            pub(crate) fn remove(&self, snapshot: &mut Snapshot, name: &ObjectName) {
                match self {
                    $(Self::$kind(old) => Collection::remove(&mut snapshot.$field, name, &**old),)+
                }
            }
        }

        /// Logs how many objects of each kind a new snapshot has.
        pub(crate) fn log_change(snapshot: &Snapshot) {
            tracing::debug!($($field = snapshot.$field.len(),)+ "the cluster has changed");
        }
    };
}

kinds! {
    Node: NodeObject, in snapshot.nodes;
    Service: ServiceObject, in snapshot.services;
    EndpointSlice: SliceObject, in snapshot.slices;
}

/// Kind and name, which no two objects share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectKey {
    pub(crate) kind: Kind,
    pub(crate) name: ObjectName,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.noun(), DisplayName(&self.name))
    }
}

/// What a source has decoded: the input of the pipeline.
#[derive(Debug)]
pub(crate) struct DecodedObject {
    pub(crate) key: ObjectKey,
    /// `metadata.uid`.
    pub(crate) uid: Option<Box<str>>,
    /// None if Weir ignores it.
    pub(crate) object: Option<Object>,
    /// The invalid values, described for an operator.
    pub(crate) invalid: Vec<String>,
}

impl DecodedObject {
    pub(crate) fn of<K: ListedKind>(decoded: &K) -> Self {
        let (model, invalid) = decoded.convert();
        Self {
            key: ObjectKey { kind: K::ID, name: decoded.object_name() },
            uid: decoded.metadata().uid.as_deref().map(Box::from),
            object: model.map(K::object),
            invalid: invalid.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The objects of one kind in a snapshot.
trait Collection<T> {
    fn upsert(&mut self, name: &ObjectName, old: Option<&T>, new: Arc<T>);
    fn remove(&mut self, name: &ObjectName, old: &T);
}

impl<T: PartialEq> Collection<T> for Objects<T> {
    fn upsert(&mut self, name: &ObjectName, _: Option<&T>, new: Arc<T>) {
        self.insert(name.clone(), new);
    }

    fn remove(&mut self, name: &ObjectName, _: &T) {
        self.remove(name);
    }
}

impl Collection<Node> for Arc<Nodes> {
    fn upsert(&mut self, _: &ObjectName, old: Option<&Node>, new: Arc<Node>) {
        let nodes = Arc::make_mut(self);
        if let Some(old) = old {
            // A node that was deleted and created again under its name is another one.
            nodes.remove(&old.uid);
        }
        nodes.insert(new.uid.clone(), new);
    }

    fn remove(&mut self, _: &ObjectName, old: &Node) {
        Arc::make_mut(self).remove(&old.uid);
    }
}
