//! The callers that the plugin is written for: containerd with runc, and libcni's own `cnitool`.

mod cnitool;
mod conflist;
mod containerd;
