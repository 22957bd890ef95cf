//! The plugin called by real clients: containerd with runc, and libcni's `cnitool`.

mod cnitool;
mod conflist;
mod containerd;
