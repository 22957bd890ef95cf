//! How figures are printed.

use clap::ValueEnum;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs; times are in microseconds, sizes in bytes
    Json,
}

/// A table that is as it is for a document in Markdown.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header.to_vec());
    table
}

/// Numbers to the right, from a column on.
pub(crate) fn aligned(mut table: Table, from: usize) -> Table {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A target and whether it is met, where there is one.
pub(crate) fn of_interest(has_target: bool, limit: &str, met: bool) -> String {
    match (has_target, met) {
        (false, _) => String::new(),
        (true, true) => format!("{limit} met"),
        (true, false) => format!("{limit} MISSED"),
    }
}

/// Of microseconds.
pub(crate) fn milliseconds(microseconds: f64) -> String {
    format!("{:.2}", microseconds / 1e3)
}

/// Of bytes.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
