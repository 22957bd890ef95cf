//! What the programs of tasks share with xtask: progress, commands, and the released programs.
//!
//! The image builder (`tests/images`) and the runner of other kernels (`tests/kernels`) are programs
//! of their own that xtask builds and starts, so that it starts itself when they do not build. To a
//! person they are one task, which looks and fails like any other.

pub mod command;
pub mod console;
pub mod digest;
pub mod lock;
pub mod released;
