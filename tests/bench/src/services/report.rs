//! The figures as tables and as JSON.

use anyhow::{Context, Result};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::exchange::Kind;
use super::lane::Contender;
use super::rounds::Row;
use crate::machine::Machine;

/// Everything that one run tells.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) traffic: Vec<Row>,
    pub(crate) given_up: Vec<GivenUp>,
}

/// A contender whose rules were not complete in time.
#[derive(Debug, Serialize)]
pub(crate) struct GivenUp {
    pub(crate) contender: Contender,
    pub(crate) services: u32,
    pub(crate) seconds: u64,
}

impl Report {
    /// For programs.
    pub(crate) fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).context("write the report as JSON")
    }

    /// For people, and as it is for a document in Markdown.
    pub(crate) fn table(&self) -> String {
        let Machine { kernel, processor, processors } = &self.machine;
        let mut text = format!("Linux {kernel}, {processors} processors ({processor})");
        for kind in [Kind::Connect, Kind::Request, Kind::Stream] {
            let rows: Vec<_> = self.traffic.iter().filter(|row| row.kind == kind).collect();
            if !rows.is_empty() {
                text += &format!("\n\n{}", traffic(kind, &rows));
            }
        }
        for GivenUp { contender, services, seconds } in &self.given_up {
            text += &format!("\n\n{contender}, {services} Services: not synced in {seconds} s");
        }
        text
    }
}

fn traffic(kind: Kind, rows: &[&Row]) -> Table {
    let (name, scale) = match kind {
        Kind::Connect => ("connect, request, close", 1e3),
        Kind::Request => ("requests one at a time", 1e3),
        Kind::Stream => ("one TCP stream", 1e9),
    };
    let rate = if kind == Kind::Stream { "Gbit/s" } else { "1000/s" };
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        name,
        "services",
        "through",
        rate,
        "median µs",
        "p99 µs",
        "to bare",
        "to iptables",
        "to fewest",
        "rounds",
    ]);
    for row in rows {
        let services =
            if row.contender.serves() { row.services.to_string() } else { String::new() };
        let figure = |value: f64| {
            if kind == Kind::Stream { String::new() } else { format!("{value:.1}") }
        };
        let ratio = |value: Option<f64>| value.map_or_else(String::new, |it| format!("{it:.3}"));
        let (least, most) = row.spread;
        table.add_row(vec![
            row.place.to_string(),
            services,
            row.contender.to_string(),
            format!("{:.2}", row.rate / scale),
            figure(row.median),
            figure(row.p99),
            if row.contender == Contender::Bare { String::new() } else { ratio(row.to_bare) },
            ratio(row.to_iptables),
            ratio(row.to_fewest),
            format!("{:+.0} … {:+.0} %", (least - 1.0) * 100.0, (most - 1.0) * 100.0),
        ]);
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
