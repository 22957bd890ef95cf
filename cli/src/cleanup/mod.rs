//! `weir cleanup`.

mod weir;

pub(crate) use weir::{Options, run};
