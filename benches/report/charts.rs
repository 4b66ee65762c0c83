//! The charts in SVG. Their background is white, so that they can be read on any page.

use std::path::Path;

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Cost;
use crate::tables::{nanoseconds, thousands};

const FONT: &str = "sans-serif";
const COLORS: [RGBColor; 4] = [
    RGBColor(0, 90, 181),
    RGBColor(200, 80, 0),
    RGBColor(0, 130, 80),
    RGBColor(120, 60, 160),
];
const GREY: RGBColor = RGBColor(130, 130, 130);

/// A piece of work on growing batches.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// The size of the batch, nanoseconds per record, and the most memory as a multiple of the input.
    pub(crate) points: Vec<(usize, f64, f64)>,
}

/// A chart of the times of all ways to do a piece of work.
pub(crate) fn write_bars(file: &Path, costs: &[Cost]) -> Result<()> {
    const ROW: u32 = 56;
    let rows = u32::try_from(costs.len())?;
    let area = SVGBackend::new(file, (880, 130 + ROW * rows)).into_drawing_area();
    area.fill(&WHITE)?;
    let longest = costs
        .iter()
        .map(|cost| cost.times.fastest)
        .fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .caption("From a batch's bytes to its public events", (FONT, 22))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(280)
        .build_cartesian_2d(0.0..longest * 1.12, (0..costs.len() - 1).into_segmented())?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .y_labels(costs.len())
        .y_label_formatter(&|row| match row {
            SegmentValue::CenterOf(row) => name(costs, *row),
            SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
        })
        .x_desc("nanoseconds of CPU time per record, fastest of all rounds (less is better)")
        .x_label_formatter(&|time| nanoseconds(*time))
        .label_style((FONT, 15))
        .draw()?;
    for (row, cost) in costs.iter().enumerate().rev() {
        let row = costs.len() - 1 - row;
        let color = if row == costs.len() - 1 {
            COLORS[0]
        } else {
            GREY
        };
        let (begin, end) = (SegmentValue::Exact(row), SegmentValue::Exact(row + 1));
        let time = cost.times.fastest;
        let mut bar = Rectangle::new([(0.0, begin), (time, end)], color.filled());
        bar.set_margin(10, 10, 0, 0);
        chart.draw_series([bar])?;
        let style = (FONT, 15).into_text_style(&area);
        let style = style.pos(Pos::new(HPos::Left, VPos::Center));
        let right_of_bar = (time + longest / 100.0, SegmentValue::CenterOf(row));
        let label = Text::new(nanoseconds(time), right_of_bar, style);
        chart.draw_series([label])?;
    }
    area.present()?;
    Ok(())
}

/// The first way is on top.
fn name(costs: &[Cost], row: usize) -> String {
    let cost = costs
        .len()
        .checked_sub(row + 1)
        .and_then(|way| costs.get(way));
    cost.map(|cost| cost.way.replace('`', ""))
        .unwrap_or_default()
}

/// What a chart of growing batches shows of each batch.
struct Measure {
    title: &'static str,
    y_axis: &'static str,
    /// The size of the batch, and the value.
    point: fn(&(usize, f64, f64)) -> (usize, f64),
    label: fn(&f64) -> String,
}

const TIME: Measure = Measure {
    title: "Time per record",
    y_axis: "nanoseconds of CPU time per record, fastest",
    point: |&(size, time, _)| (size, time),
    label: |time| nanoseconds(*time),
};
const MEMORY: Measure = Measure {
    title: "Most memory at a time",
    y_axis: "multiple of the batch's bytes",
    point: |&(size, _, memory)| (size, memory),
    label: |multiple| format!("{multiple:.1}"),
};

/// A chart of the times, and one of the memory, on growing batches.
pub(crate) fn write_growth(file: &Path, x_axis: &str, lines: &[Line]) -> Result<()> {
    let area = SVGBackend::new(file, (1_100, 430)).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(550);
    write_lines(&left, x_axis, lines, &TIME)?;
    write_lines(&right, x_axis, lines, &MEMORY)?;
    area.present()?;
    Ok(())
}

fn write_lines(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    x_axis: &str,
    lines: &[Line],
    measure: &Measure,
) -> Result<()> {
    let all = || {
        lines
            .iter()
            .flat_map(|line| &line.points)
            .map(measure.point)
    };
    let smallest = all().map(|(size, _)| size).min().unwrap_or(1);
    let largest = all().map(|(size, _)| size).max().unwrap_or(1);
    let highest = all().map(|(_, value)| value).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(measure.title, (FONT, 20))
        .margin(16)
        .margin_right(36)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d((smallest..largest + 1).log_scale(), 0.0..highest * 1.4)?;
    chart
        .configure_mesh()
        .x_desc(x_axis)
        .y_desc(measure.y_axis)
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|size| thousands(*size))
        .y_label_formatter(&measure.label)
        .label_style((FONT, 14))
        .draw()?;
    for (line, color) in lines.iter().zip(COLORS) {
        let points = line.points.iter().map(measure.point);
        let dots = points
            .clone()
            .map(|point| Circle::new(point, 4, color.filled()));
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(dots)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(GREY)
        .label_font((FONT, 14))
        .draw()?;
    Ok(())
}
