//! Plots: for each measure and metric, the ratios of every subject to the base, case by case, with their quartiles.

use std::io;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::story::is_better_higher;
use crate::figure::Figure;

/// Which metrics of a measure are worth a picture.
pub(super) fn shown(measure: &str) -> &'static [&'static str] {
    match measure {
        "echo" | "pool" => &["requests", "CPU"],
        "foreign" | "work" => &["requests"],
        "spin" | "connections" => &["CPU"],
        "instructions" => &["user instructions"],
        "syscalls" => &["system calls"],
        "timers" => &["create + poll + drop"],
        "executors" => &["cost"],
        "connection bytes" | "task bytes" | "timer bytes" => &["heap"],
        _ => &[],
    }
}

pub(super) fn file_name(measure: &str, metric: &str) -> String {
    let name = format!("{measure} {metric}").to_lowercase();
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    format!("{}.svg", words.join("-"))
}

/// Draws what is worth it.
pub(super) fn draw(folder: &Path, figures: &[Figure]) -> io::Result<()> {
    let measures = distinct(figures.iter().map(|figure| figure.measure.as_str()));
    for measure in measures {
        for metric in shown(measure) {
            let own: Vec<&Figure> = figures
                .iter()
                .filter(|figure| figure.measure == measure && figure.metric == *metric)
                .filter(|figure| figure.ratio.is_some())
                .collect();
            if !own.is_empty() {
                chart(&folder.join(file_name(measure, metric)), &own)
                    .map_err(|error| io::Error::other(error.to_string()))?;
            }
        }
    }
    Ok(())
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut distinct = Vec::new();
    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    distinct
}

/// Horizontal bars, a group per case. A bar ends at the median, the line across its end spans the quartiles, and the
/// number is the median. What is longer than the axis ends in a gap.
fn chart(path: &Path, figures: &[&Figure]) -> Result<(), Box<dyn std::error::Error>> {
    let cases = distinct(figures.iter().map(|figure| figure.case.as_str()));
    // A row for the name of a case, one for each bar, and half of one between cases.
    let bars: Vec<Vec<&Figure>> = cases
        .iter()
        .map(|case| {
            let of_case = figures.iter().filter(|figure| figure.case == *case);
            of_case.copied().collect()
        })
        .collect();
    let rows: f64 = bars.iter().map(|bars| bars.len() as f64 + 1.5).sum();
    let height = TOP + BOTTOM + (rows * ROW) as i32;
    let medians = figures
        .iter()
        .filter_map(|figure| Some(figure.ratio?.median));
    let end = medians.fold(1.2, f64::max).min(AXIS_MAX) * 1.12;
    let x = |ratio: f64| LEFT + (ratio.min(end) / end * f64::from(WIDTH - LEFT - RIGHT)) as i32;

    let root = SVGBackend::new(path, (WIDTH as u32, height as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let text = |words: &str, size: i32, colour: RGBColor, anchor: HPos, at: (i32, i32)| {
        let style = ("sans-serif", size).into_font().color(&colour);
        root.draw(&Text::new(
            words.to_owned(),
            at,
            style.pos(Pos::new(anchor, VPos::Center)),
        ))
    };
    let first = figures[0];
    let better = if is_better_higher(&first.metric) {
        "longer"
    } else {
        "shorter"
    };
    text(
        &format!("{}: {}", first.measure, first.metric),
        18,
        INK,
        HPos::Left,
        (MARGIN, 20),
    )?;
    text(
        &format!("ratio to {}; {better} is better", first.subject),
        12,
        FAINT,
        HPos::Left,
        (MARGIN, 42),
    )?;

    let step = if end > 2.0 { 0.5 } else { 0.25 };
    let (above, below) = (TOP - 4, height - BOTTOM);
    let mut tick = 0.0;
    while tick < end {
        let (colour, width) = if tick == 1.0 { (INK, 1) } else { (GRID, 1) };
        let line = vec![(x(tick), above), (x(tick), below)];
        root.draw(&PathElement::new(line, colour.stroke_width(width)))?;
        text(
            &format!("{tick}"),
            11,
            FAINT,
            HPos::Center,
            (x(tick), below + 12),
        )?;
        tick += step;
    }

    let mut y = f64::from(TOP);
    for (case, bars) in cases.iter().zip(&bars) {
        text(case, 13, INK, HPos::Left, (MARGIN, (y + ROW / 2.0) as i32))?;
        y += ROW;
        for figure in bars {
            let ratio = figure.ratio.expect("only such are drawn");
            let (over, under) = ((y + 2.0) as i32, (y + ROW - 2.0) as i32);
            let middle = (over + under) / 2;
            text(&figure.subject, 12, INK, HPos::Right, (LEFT - 8, middle))?;
            let bar = Rectangle::new(
                [(x(0.0), over), (x(ratio.median), under)],
                colour(&figure.subject).filled(),
            );
            root.draw(&bar)?;
            let quartiles = [ratio.lower_quartile, ratio.upper_quartile];
            let [from, to] = quartiles.map(|ratio| (x(ratio), middle));
            if from != to {
                root.draw(&PathElement::new(vec![from, to], INK.stroke_width(1)))?;
            }
            let after = x(ratio.upper_quartile.max(ratio.median)) + 6;
            // On the line at 1 it could not be read.
            root.draw(&Rectangle::new(
                [(after - 2, over + 1), (after + 26, under - 1)],
                WHITE.filled(),
            ))?;
            text(
                &format!("{:.2}", ratio.median),
                11,
                INK,
                HPos::Left,
                (after, middle),
            )?;
            if ratio.median > end {
                let gap = x(end) - 14;
                root.draw(&Rectangle::new(
                    [(gap, over), (gap + 5, under)],
                    WHITE.filled(),
                ))?;
            }
            y += ROW;
        }
        y += ROW / 2.0;
    }
    root.present()?;
    Ok(())
}

fn colour(subject: &str) -> RGBColor {
    let starts = |name| subject.starts_with(name);
    if starts("untether") {
        RGBColor(46, 117, 182)
    } else if starts("tokio") {
        RGBColor(230, 159, 88)
    } else if starts("smol") || starts("async") {
        RGBColor(143, 178, 132)
    } else {
        RGBColor(196, 196, 200)
    }
}

// In pixels.
const WIDTH: i32 = 900;
const MARGIN: i32 = 12;
/// Where bars begin: beside the longest name.
const LEFT: i32 = 330;
/// For the number after the longest bar.
const RIGHT: i32 = 50;
const TOP: i32 = 62;
const BOTTOM: i32 = 28;
const ROW: f64 = 18.0;

/// In ratios: a longer bar is cut.
const AXIS_MAX: f64 = 2.5;

const INK: RGBColor = RGBColor(40, 40, 44);
const FAINT: RGBColor = RGBColor(110, 110, 116);
const GRID: RGBColor = RGBColor(228, 228, 232);
