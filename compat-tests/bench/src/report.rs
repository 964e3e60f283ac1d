//! What is made of the figures: tables for a terminal, for a README, for a program, and plots.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::args::Args;
use crate::figure::Figure;

mod json;
mod markdown;
mod plot;
mod story;
pub(crate) mod table;

/// The figures of earlier runs. Where two have the same, the later counts.
pub(crate) fn read(paths: &[PathBuf]) -> io::Result<Vec<Figure>> {
    let mut figures: Vec<Figure> = Vec::new();
    for path in paths {
        let more = json::read(path)
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        figures.retain(|old| {
            !more
                .iter()
                .any(|new| (&new.measure, &new.case) == (&old.measure, &old.case))
        });
        figures.extend(more);
    }
    Ok(figures)
}

/// Writes the files that were asked for.
pub(crate) fn write(args: &Args, figures: &[Figure]) -> io::Result<()> {
    if let Some(path) = &args.json {
        fs::write(path, json::text(args, figures)?)?;
    }
    if let Some(folder) = &args.svg {
        fs::create_dir_all(folder)?;
        plot::draw(folder, figures)?;
    }
    if let Some(path) = &args.markdown {
        let folder = path.parent().unwrap_or(Path::new(""));
        let plots = args.svg.as_deref();
        let plots = plots.map(|plots| plots.strip_prefix(folder).unwrap_or(plots));
        fs::write(path, markdown::text(figures, plots))?;
    }
    if let Some(path) = &args.headlines {
        let page = fs::read_to_string(path)?;
        let page = markdown::with_headlines(&page, figures)
            .ok_or_else(|| io::Error::other(format!("{} has no markers", path.display())))?;
        fs::write(path, page)?;
    }
    Ok(())
}

/// The figures of one case, as rows of subjects and columns of metrics.
struct Page<'a> {
    measure: &'a str,
    case: &'a str,
    metrics: Vec<(&'a str, &'a str)>,
    rows: Vec<(&'a str, Vec<Option<&'a Figure>>)>,
}

fn pages(figures: &[Figure]) -> Vec<Page<'_>> {
    let mut pages: Vec<Page<'_>> = Vec::new();
    for figure in figures {
        let place = pages
            .iter()
            .position(|page| page.measure == figure.measure && page.case == figure.case);
        let page = match place {
            Some(place) => &mut pages[place],
            None => {
                pages.push(Page {
                    measure: &figure.measure,
                    case: &figure.case,
                    metrics: Vec::new(),
                    rows: Vec::new(),
                });
                pages.last_mut().expect("just pushed")
            }
        };
        let metric = (figure.metric.as_str(), figure.unit.as_str());
        if !page.metrics.contains(&metric) {
            page.metrics.push(metric);
        }
        if !page
            .rows
            .iter()
            .any(|(subject, _)| *subject == figure.subject)
        {
            page.rows.push((&figure.subject, Vec::new()));
        }
    }
    for page in &mut pages {
        for (subject, cells) in &mut page.rows {
            *cells = page
                .metrics
                .iter()
                .map(|(metric, _)| {
                    figures.iter().find(|figure| {
                        figure.measure == page.measure
                            && figure.case == page.case
                            && figure.subject == *subject
                            && figure.metric == *metric
                    })
                })
                .collect();
        }
    }
    pages
}

/// A number with three significant digits or so.
fn short(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".to_owned(),
        1000.0.. => format!("{value:.0}"),
        100.0.. => format!("{value:.1}"),
        10.0.. => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}

/// A value, and its ratio with quartiles.
fn cell(figure: Option<&Figure>) -> String {
    let Some(figure) = figure else {
        return String::new();
    };
    let value = short(figure.value.median);
    match figure.ratio {
        Some(ratio) => format!("{value}  {}", ratio.as_ratio()),
        None => value,
    }
}
