//! Bar charts of a query's result: as text for a terminal, and in SVG.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// The width of the longest bar in a terminal, in characters.
const BAR: f64 = 40.0;

const FONT: &str = "sans-serif";
const COLOR: RGBColor = RGBColor(0, 90, 181);

/// Bars of one unit, such as amounts of one currency.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    /// The name; empty if there is one series only.
    pub(crate) name: String,
    /// The bars from top to bottom.
    pub(crate) bars: Vec<Bar>,
}

/// A bar.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    /// The name of the bar.
    pub(crate) label: String,
    /// The length. A negative one is shown as 0.
    pub(crate) value: f64,
    /// The value as text.
    pub(crate) shown: String,
}

impl Series {
    fn longest(&self) -> f64 {
        self.bars.iter().map(|bar| bar.value).fold(0.0, f64::max)
    }
}

/// The bars as text, a line each. Each series has a scale of its own.
pub(crate) fn text(title: &str, series: &[Series]) -> String {
    let mut text = format!("{title}\n");
    let bars = series.iter().flat_map(|series| &series.bars);
    let width = bars.map(|bar| bar.label.chars().count()).max();
    let width = width.unwrap_or_default();
    for one in series {
        let longest = one.longest();
        if !one.name.is_empty() {
            writeln!(text, "{}", one.name).expect("a String accepts every write");
        }
        for Bar {
            label,
            value,
            shown,
        } in &one.bars
        {
            let bar = blocks(if longest > 0.0 { value / longest } else { 0.0 });
            writeln!(text, "  {label:<width$}  {bar} {shown}")
                .expect("a String accepts every write");
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// A bar of this part of the longest one, in eighths of a character.
fn blocks(part: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 320"
    )]
    let eighths = (part.clamp(0.0, 1.0) * BAR * 8.0).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// Writes the bars as an SVG file. Its background is white, so that it can be read on any page.
///
/// # Errors
/// If the file can't be written.
pub(crate) fn write_svg(file: &Path, title: &str, series: &[Series]) -> Result<()> {
    const ROW: u32 = 28;
    const FRAME: u32 = 90;
    let heights = series.iter().map(|one| {
        let bars = u32::try_from(one.bars.len()).unwrap_or(u32::MAX);
        bars.saturating_mul(ROW).saturating_add(FRAME)
    });
    let heights: Vec<u32> = heights.collect();
    let height = heights
        .iter()
        .fold(50, |sum: u32, height| sum.saturating_add(*height));
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (880, height)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut below = area.titled(title, (FONT, 20))?;
        for (one, height) in series.iter().zip(heights) {
            let (upper, lower) = below.split_vertically(height);
            draw(&upper, one)?;
            below = lower;
        }
        area.present()?;
    }
    std::fs::write(file, text).with_context(|| format!("could not write {}", file.display()))
}

fn draw<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    series: &Series,
) -> Result<()>
where
    B::ErrorType: 'static,
{
    let bars = &series.bars;
    let Some(last) = bars.len().checked_sub(1) else {
        return Ok(());
    };
    let longest = series.longest().max(f64::MIN_POSITIVE);
    let mut chart = ChartBuilder::on(area)
        .caption(&series.name, (FONT, 16))
        .margin(12)
        .y_label_area_size(240)
        .build_cartesian_2d(0.0..longest * 1.3, (0..last).into_segmented())?;
    chart
        .configure_mesh()
        .disable_mesh()
        .disable_x_axis()
        .y_labels(bars.len())
        .y_label_formatter(&|row| match row {
            SegmentValue::CenterOf(row) => bars
                .get(last.wrapping_sub(*row))
                .map(|bar| bar.label.clone())
                .unwrap_or_default(),
            SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
        })
        .label_style((FONT, 14))
        .draw()?;
    for (row, bar) in bars.iter().rev().enumerate() {
        let (begin, end) = (SegmentValue::Exact(row), SegmentValue::Exact(row + 1));
        let value = bar.value.max(0.0);
        let mut rectangle = Rectangle::new([(0.0, begin), (value, end)], COLOR.filled());
        rectangle.set_margin(4, 4, 0, 0);
        chart.draw_series([rectangle])?;
        let style = (FONT, 14).into_text_style(area);
        let style = style.pos(Pos::new(HPos::Left, VPos::Center));
        let right_of_bar = (value + longest / 100.0, SegmentValue::CenterOf(row));
        chart.draw_series([Text::new(bar.shown.clone(), right_of_bar, style)])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Vec<Series> {
        let bar = |label: &str, value: f64| Bar {
            label: label.to_owned(),
            value,
            shown: format!("{value}"),
        };
        vec![
            Series {
                name: "EUR".to_owned(),
                bars: vec![bar("Monday", 4.0), bar("Tue", 1.0), bar("Wed", -2.0)],
            },
            Series {
                name: "JPY".to_owned(),
                bars: vec![bar("Monday", 0.0)],
            },
        ]
    }

    #[test]
    fn each_series_has_its_own_scale() {
        let (long, quarter) = ("█".repeat(40), "█".repeat(10));
        assert_eq!(
            text("Taken", &series()),
            format!(
                "Taken\nEUR\n  Monday  {long} 4\n  Tue     {quarter} 1\n  Wed      -2\nJPY\n  Monday   0"
            )
        );
    }

    #[test]
    fn a_part_of_a_character_is_shown() {
        assert_eq!(blocks(1.0 / 320.0), "▏");
        assert_eq!(blocks(0.5 + 4.0 / 320.0), "█".repeat(20) + "▌");
        assert_eq!(blocks(f64::NAN), "");
        assert_eq!(blocks(7.0), "█".repeat(40));
    }

    #[test]
    fn the_svg_contains_every_bar() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("chart.svg");
        write_svg(&file, "Taken <today>", &series()).expect("written");
        let svg = std::fs::read_to_string(&file).expect("a text");
        for part in ["Taken &lt;today&gt;", "EUR", "JPY", "Monday", "Wed", "-2"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert_eq!(svg.matches("<rect").count(), 1 + 4, "{svg}");
        write_svg(&file, "Empty", &[]).expect("written");
        let error = write_svg(folder.path(), "Folder", &series()).expect_err("a folder");
        assert!(error.to_string().contains("could not write"), "{error}");
    }
}
