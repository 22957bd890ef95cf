//! A plot of the rate of connections over the number of Services.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::contender::{Contender, Place};
use super::exchange::Kind;
use super::rounds::Row;

const SIZE: (u32, u32) = (960, 400);
/// The space for axes and their labels, in pixels.
const LEFT: u32 = 56;
const BELOW: u32 = 40;

/// A contender's points: Services, and thousands of connections a second.
type Line = (Contender, Vec<(f64, f64)>);

/// Draws a chart for each place into `file`, which is replaced atomically.
pub(crate) fn draw(file: &Path, rows: &[Row]) -> Result<()> {
    let mut charts = Vec::new();
    for place in Place::ALL {
        let lines = lines(rows, place);
        if !lines.is_empty() {
            charts.push((place, lines));
        }
    }
    ensure!(!charts.is_empty(), "no connections were measured: there is nothing to draw");
    let svg = svg(&charts)?;
    let new = file.with_extension("svg.new");
    fs::write(&new, svg).with_context(|| format!("write {}", new.display()))?;
    fs::rename(&new, file).with_context(|| format!("write {}", file.display()))
}

fn lines(rows: &[Row], place: Place) -> Vec<Line> {
    let mut lines: BTreeMap<Contender, Vec<(f64, f64)>> = BTreeMap::new();
    for row in rows {
        if row.place == place && row.kind == Kind::Connect && row.contender.serves() {
            let point = (f64::from(row.services), row.rate / 1e3);
            lines.entry(row.contender).or_default().push(point);
        }
    }
    lines.into_iter().collect()
}

fn svg(charts: &[(Place, Vec<Line>)]) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(draw_error)?;
        for ((place, lines), area) in charts.iter().zip(area.split_evenly((1, charts.len()))) {
            chart(&area, *place, lines)?;
        }
        area.present().map_err(draw_error)?;
    }
    Ok(svg)
}

fn chart(area: &DrawingArea<SVGBackend<'_>, Shift>, place: Place, lines: &[Line]) -> Result<()> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let most = points().fold(0.0, |most: f64, (_, rate)| most.max(*rate));
    let services = extent(points().map(|(services, _)| *services));
    let mut chart = ChartBuilder::on(area)
        .caption(place.to_string(), ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(BELOW)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(services.log_scale(), 0.0..most * 1.35)
        .map_err(draw_error)?;
    chart
        .configure_mesh()
        .x_desc("Services")
        .y_desc("1000 connections per second")
        .x_label_formatter(&|services| format!("{services:.0}"))
        .light_line_style(WHITE)
        .draw()
        .map_err(draw_error)?;
    for (contender, points) in lines {
        let color = color(*contender);
        let line = LineSeries::new(points.iter().copied(), color.stroke_width(2)).point_size(3);
        chart
            .draw_series(line)
            .map_err(draw_error)?
            .label(contender.to_string())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .draw()
        .map_err(draw_error)
}

/// The range from the smallest to the largest value. It is never empty.
fn extent(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (least, most) = values
        .fold((f64::INFINITY, 1.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    least..most.max(least * 10.0)
}

fn color(contender: Contender) -> RGBColor {
    match contender {
        Contender::Bare | Contender::Direct => BLACK,
        Contender::Iptables => RGBColor(213, 94, 0),
        Contender::Nftables => RGBColor(230, 159, 0),
        Contender::Slow => RGBColor(86, 180, 233),
        Contender::Fast => RGBColor(0, 114, 178),
    }
}

/// An owned error: the library's errors borrow the drawing area.
fn draw_error(error: impl Display) -> anyhow::Error {
    anyhow!("draw: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_a_line_for_each_contender_and_the_place_as_caption() {
        let line = |contender| (contender, vec![(1.0, 9.0), (1000.0, 8.0), (50_000.0, 8.5)]);
        let lines = vec![line(Contender::Iptables), line(Contender::Fast)];
        let svg = svg(&[(Place::SameNode, lines.clone()), (Place::AcrossNodes, lines)]).unwrap();
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
        for text in ["same node", "across nodes", "weir, fast path", "kube-proxy, iptables"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn a_single_number_of_services_has_a_range() {
        assert_eq!(extent([1.0].into_iter()), 1.0..10.0);
        assert_eq!(extent([1.0, 50_000.0].into_iter()), 1.0..50_000.0);
    }
}
