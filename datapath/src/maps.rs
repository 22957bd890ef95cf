//! The maps, each with its types.

mod access;
mod arrays;
mod family;
pub(crate) mod layout;
mod routes;
mod table;

pub use self::arrays::{ConfigMap, Counters, Slots};
pub use self::family::Family;
pub use self::routes::Routes;
pub use self::table::{Backends, Endpoints, Flows, Routers, Services, Table, fill};
