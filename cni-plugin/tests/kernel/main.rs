//! The plugin with eBPF programs that are really loaded and pinned: what it does to the kernel is
//! read back through the data path's own library. Needs root and the built plugin.

mod programs;
