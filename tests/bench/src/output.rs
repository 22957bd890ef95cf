//! How figures are printed.

use clap::ValueEnum;

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs; times are in microseconds, sizes in bytes
    Json,
}
