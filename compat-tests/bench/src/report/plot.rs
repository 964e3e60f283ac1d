//! Plots: for each measure and metric, the ratios of every subject to the base, case by case, with their quartiles.

use std::io;
use std::path::Path;

use plotters::prelude::*;

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

/// Horizontal bars, a group per case. A bar ends at the median; the line at its end spans the quartiles.
fn chart(path: &Path, figures: &[&Figure]) -> Result<(), Box<dyn std::error::Error>> {
    const BAR: u32 = 18;
    let cases = distinct(figures.iter().map(|figure| figure.case.as_str()));
    let subjects = distinct(figures.iter().map(|figure| figure.subject.as_str()));
    let rows = cases.len() * (subjects.len() + 1);
    let height = 90 + rows as u32 * BAR;
    let most = figures
        .iter()
        .filter_map(|figure| Some(figure.ratio?.upper_quartile))
        .fold(1.0f64, f64::max)
        .min(6.0);

    let root = SVGBackend::new(path, (900, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!(
        "{}: {}, ratio to the base",
        figures[0].measure, figures[0].metric
    );
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .margin_left(260)
        .x_label_area_size(30)
        .build_cartesian_2d(0.0..most * 1.08, 0.0..rows as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_labels(12)
        .x_label_formatter(&|x| format!("{x:.1}"))
        .draw()?;

    let label = |text: &str, row: f64, size: i32| {
        let y =
            10 + 28 + ((1.0 - row / rows as f64) * f64::from(height - 10 - 10 - 28 - 30)) as i32;
        let style = ("sans-serif", size).into_font().into_text_style(&root);
        root.draw_text(text, &style, (8, y - size / 2))
    };
    for (group, case) in cases.iter().enumerate() {
        let top = (rows - group * (subjects.len() + 1)) as f64;
        label(case, top - 0.5, 14)?;
        for (place, subject) in subjects.iter().enumerate() {
            let Some(ratio) = figures
                .iter()
                .find(|figure| figure.case == *case && figure.subject == *subject)
                .and_then(|figure| figure.ratio)
            else {
                continue;
            };
            let row = top - 1.0 - place as f64;
            let colour = if subject.starts_with("untether") {
                RGBColor(31, 119, 180)
            } else {
                RGBColor(170, 170, 170)
            };
            label(subject, row - 0.5, 12)?;
            chart.draw_series([Rectangle::new(
                [(0.0, row - 0.85), (ratio.median.min(most), row - 0.15)],
                colour.filled(),
            )])?;
            let quartiles = [ratio.lower_quartile, ratio.upper_quartile];
            chart.draw_series([PathElement::new(
                quartiles.map(|x| (x.min(most), row - 0.5)),
                BLACK.stroke_width(2),
            )])?;
            chart.draw_series([Text::new(
                format!("{:.2}", ratio.median),
                (0.02 * most, row - 0.3),
                ("sans-serif", 11).into_font().color(&BLACK),
            )])?;
        }
    }
    chart.draw_series([PathElement::new(
        [(1.0, 0.0), (1.0, rows as f64)],
        RED.stroke_width(1),
    )])?;
    root.present()?;
    Ok(())
}
