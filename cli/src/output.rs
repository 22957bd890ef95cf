//! Output: tables for people, JSON for programs.

use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables and text for people
    Text,
    /// JSON for programs, with stable keys
    Json,
}

/// Stands for an unknown value.
pub(crate) const UNKNOWN: &str = "-";

/// A table with a header and without lines, which other tools can cut.
pub(crate) fn table(
    head: &[&str],
    rows: impl IntoIterator<Item = impl IntoIterator<Item = String>>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head);
    for row in rows {
        table.add_row(row.into_iter().collect::<Vec<_>>());
    }
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    table.trim_fmt()
}

/// Prints a text and a newline.
///
/// A closed pipe is not an error: the reader may be `head`.
pub(crate) fn print_text(text: &str) -> Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("write to standard output"),
    }
}

/// Prints a value as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    print_text(&serde_json::to_string_pretty(value).context("write JSON")?)
}

/// A number with its noun, in the plural unless the number is 1.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_begins_at_the_left_and_has_no_lines() {
        let text = table(&["A", "LONG"], [["longer".to_owned(), "b".to_owned()]]);
        assert_eq!(text, "A       LONG\nlonger  b");
    }

    #[test]
    fn one_of_a_thing_is_no_plural() {
        assert_eq!(count(1, "flow"), "1 flow");
        assert_eq!(count(0, "flow"), "0 flows");
    }
}
