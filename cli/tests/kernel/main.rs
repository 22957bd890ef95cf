//! The tool against maps in a real kernel.

mod large;
