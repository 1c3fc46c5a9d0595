//! Figures as a picture: how fast everyone is, and what threads bring.

use std::path::Path;

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::contest::Contestant;
use crate::figures::Figures;
use crate::setting::Setting;
use crate::table::{exact, rounded};

const INK: RGBColor = RGBColor(36, 41, 47);
const PALE: RGBColor = RGBColor(208, 215, 222);
const LOAD: RGBColor = RGBColor(9, 105, 218);
const OTHERS: RGBColor = RGBColor(140, 149, 159);

/// Pixels above a chart for its title.
const TITLE: i32 = 42;
/// Pixels beside the curve for its labels.
const LABELS: i32 = 70;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the picture into an SVG file. It has a background of its own, as a page may be dark.
pub(crate) fn draw(setting: &Setting, figures: &[Figures], path: &Path) -> Result<()> {
    let picture = SVGBackend::new(path, (860, 330)).into_drawing_area();
    picture.fill(&WHITE)?;
    let (charts, foot) = picture.split_vertically(300);
    let (left, right) = charts.split_horizontally(430);
    bars(setting, figures, &left)?;
    curve(figures, &right)?;
    let Setting { cores, memcached, records, rounds, .. } = setting;
    let words = format!(
        "{cores} cores, shared with four servers ({memcached}); {} records; medians of {rounds} rounds",
        exact(*records)
    );
    foot.draw_text(&words, &text(14, HPos::Center), (430, 12))?;
    picture.present()?;
    Ok(())
}

/// A bar for the old way, for memc-load as it comes, and for the floor.
fn bars(setting: &Setting, figures: &[Figures], area: &Area<'_>) -> Result<()> {
    let shown =
        |row: &&Figures| !matches!(row.contestant, Contestant::Load(n) if n != setting.default_threads);
    let rows: Vec<&Figures> = figures.iter().filter(shown).collect();
    let longest = rows.iter().map(|row| row.records_per_second.median).fold(0.0, f64::max);
    area.draw_text("Records a second", &text(20, HPos::Left), (15, 22))?;
    let mut chart = ChartBuilder::on(area)
        .margin(15)
        .margin_top(TITLE)
        .build_cartesian_2d(0.0..longest * 1.25, rows.len() as f64..0.0)?;
    for (at, row) in (0..).map(f64::from).zip(rows) {
        let rate = row.records_per_second.median;
        let (name, color) = match row.contestant {
            Contestant::OldWay => ("the old way: Python, a new client for each record", OTHERS),
            Contestant::Load(_) => ("memc-load", LOAD),
            Contestant::Floor => ("the floor: inflating, and sending ready-made commands", OTHERS),
        };
        chart.draw_series([Rectangle::new([(0.0, at + 0.4), (rate, at + 0.8)], color.filled())])?;
        chart.draw_series([
            Text::new(name.to_owned(), (0.0, at + 0.22), text(16, HPos::Left)),
            Text::new(rounded(rate), (rate + longest * 0.015, at + 0.6), text(16, HPos::Left)),
        ])?;
    }
    Ok(())
}

/// memc-load's records a second over its threads, with lowest and highest, under the floor.
fn curve(figures: &[Figures], area: &Area<'_>) -> Result<()> {
    let mut loads = Vec::new();
    let mut floor = 0.0;
    for row in figures {
        match row.contestant {
            Contestant::Load(threads) => loads.push((threads, row.records_per_second)),
            Contestant::Floor => floor = row.records_per_second.median,
            Contestant::OldWay => {}
        }
    }
    let top = loads.iter().map(|(_, rate)| rate.highest).fold(floor, f64::max) * 1.12;
    let end = loads.iter().map(|&(threads, _)| threads + 1).max().unwrap_or(1);

    area.draw_text("Records a second over --threads", &text(20, HPos::Left), (15 + LABELS, 22))?;
    let mut chart = ChartBuilder::on(area)
        .margin(15)
        .margin_top(TITLE)
        .x_label_area_size(30)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .bold_line_style(PALE)
        .axis_style(OTHERS)
        .label_style(text(16, HPos::Left))
        .y_label_formatter(&|rate| if *rate == 0.0 { "0".to_owned() } else { rounded(*rate) })
        .y_labels(6)
        .draw()?;
    chart.draw_series(DashedLineSeries::new([(0, floor), (end, floor)], 6, 4, OTHERS.stroke_width(2)))?;
    chart.draw_series([Text::new("the floor", (0, floor + top * 0.045), text(16, HPos::Left))])?;
    chart.draw_series(loads.iter().map(|&(at, rate)| {
        PathElement::new([(at, rate.lowest), (at, rate.highest)], LOAD.mix(0.5).stroke_width(5))
    }))?;
    let medians = loads.iter().map(|&(at, rate)| (at, rate.median));
    chart.draw_series(LineSeries::new(medians.clone(), LOAD.stroke_width(2)))?;
    chart.draw_series(medians.map(|point| Circle::new(point, 4, LOAD.filled())))?;
    Ok(())
}

fn text(size: u32, side: HPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size)).color(&INK).pos(Pos::new(side, VPos::Center))
}
