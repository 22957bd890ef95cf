//! Formatting of figures.

use clap::ValueEnum;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

/// The format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs; times are in microseconds, sizes in bytes
    Json,
}

/// An empty table in the format of Markdown.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header.to_vec());
    table
}

/// Aligns all columns from `from` on to the right.
pub(crate) fn align_numbers(mut table: Table, from: usize) -> Table {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A target and whether it was met, or nothing where there is no target.
pub(crate) fn target_verdict(has_target: bool, limit: &str, met: bool) -> String {
    match (has_target, met) {
        (false, _) => String::new(),
        (true, true) => format!("{limit} met"),
        (true, false) => format!("{limit} MISSED"),
    }
}

/// Microseconds as milliseconds.
pub(crate) fn milliseconds(microseconds: f64) -> String {
    format!("{:.2}", microseconds / 1e3)
}

/// Bytes as MiB.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
