//! The plugin with loaded and pinned eBPF programs. The tests read the kernel through the library of the
//! data path. Needs root and the built plugin.

mod programs;
