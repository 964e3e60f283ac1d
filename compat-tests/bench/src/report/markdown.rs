//! For people: the answers in short, where we lose, and a chapter for each question.

use std::fmt::Write;
use std::path::Path;

use super::story::{CHAPTERS, Chapter, HEADLINES, PEERS, RIVALS, is_better_higher, is_compared};
use super::{cell, pages, plot, short};
use crate::figure::Figure;
use crate::machine;
use crate::spread::Spread;

/// The whole report. `plots` is where the plots are, seen from it.
pub(super) fn text(figures: &[Figure], plots: Option<&Path>) -> String {
    let mut text = String::new();
    let mut line = |words: &str| {
        text.push_str(words);
        text.push('\n');
    };
    line("# Benchmarks\n");
    line(
        "What untether costs, beside its peers. Written by `ci/bench.sh full`, which anybody with two cores and Linux can \
         repeat; `compat-tests/bench/README.md` says how it measures, and what each name means.\n",
    );
    line(&format!(
        "All subjects are alive at once and are given short windows in a freshly shuffled order, round after round. A **ratio** \
         is the median of the ratios within each round, with its quartiles in brackets: whatever the machine did at that \
         time, it did to both. A difference smaller than the distance of the quartiles is none. In `requests` and \
         `connections` more is better, in everything else less. A star marks what we lose by more than the quartiles.\n\n\
         {}",
        machine::description()
    ));
    let wanted: Vec<String> = peers(figures);
    if !wanted.is_empty() {
        line(&format!("\nPeers: {}.", wanted.join(", ")));
    }
    let short = in_short(figures, true);
    if !short.is_empty() {
        line("\n## In short\n");
        line("Our figure; then its ratio to each of the others.\n");
        line(&short);
    }
    line("## Where we lose\n");
    line(
        "Against the bare loop: nearly everywhere, by a few per cent, as it has no tasks, no wakers and no timers. Against \
         everybody else:\n",
    );
    let losses = losses(figures);
    if losses.is_empty() {
        line("Nowhere in this run.");
    }
    losses.iter().for_each(|loss| line(&format!("- {loss}")));
    for chapter in CHAPTERS {
        let own: Vec<Figure> = chapter
            .measures
            .iter()
            .flat_map(|name| figures.iter().filter(|figure| figure.measure == **name))
            .cloned()
            .collect();
        if !own.is_empty() {
            line("");
            line(self::chapter(chapter, &own, plots).trim_end());
        }
    }
    text
}

fn chapter(chapter: &Chapter, figures: &[Figure], plots: Option<&Path>) -> String {
    let mut text = format!("## {}\n\n{}\n", chapter.title, chapter.text);
    for metric in chapter.chief {
        for measure in chapter.measures {
            text.push_str(&ratios(measure, metric, figures));
        }
    }
    if let Some(plots) = plots {
        for measure in chapter.measures {
            for metric in plot::shown(measure) {
                let drawn =
                    |figure: &Figure| figure.measure == *measure && figure.metric == *metric;
                if figures.iter().any(drawn) {
                    let file = plots.join(plot::file_name(measure, metric));
                    // Writing to a String does not fail.
                    let _ = write!(text, "\n![{measure}: {metric}]({})\n", file.display());
                }
            }
        }
    }
    let rounds = figures.iter().map(|figure| figure.rounds.len());
    let rounds = rounds.max().unwrap_or(0);
    let open = chapter.chief.is_empty();
    if !open {
        let _ = write!(
            text,
            "\n<details><summary>All figures: the median, and the ratio to the first row; up to {rounds} rounds</summary>\n"
        );
    }
    for page in pages(figures) {
        let _ = write!(text, "\n**{}, {}**\n\n", page.measure, page.case);
        let titles: Vec<String> = page
            .metrics
            .iter()
            .map(|(name, unit)| format!("{name}, {unit}"))
            .collect();
        let _ = writeln!(text, "| | {} |", titles.join(" | "));
        let _ = writeln!(text, "|---|{}", "---:|".repeat(titles.len()));
        for (subject, cells) in &page.rows {
            let cells: Vec<String> = cells.iter().map(|figure| cell(*figure)).collect();
            let _ = writeln!(text, "| {subject} | {} |", cells.join(" | "));
        }
    }
    if !open {
        text.push_str("\n</details>\n");
    }
    text
}

/// Each case of a measure, and how ours compare with their rivals there.
fn ratios(measure: &str, metric: &str, figures: &[Figure]) -> String {
    let figures: Vec<&Figure> = figures
        .iter()
        .filter(|figure| figure.measure == measure && figure.metric == metric)
        .collect();
    let cases = cases(&figures);
    let pairs: Vec<(&str, &str)> = pairs(measure)
        .filter(|pair| {
            cases
                .iter()
                .any(|case| compare(&figures, case, *pair).is_some())
        })
        .collect();
    let Some(unit) = figures.first().map(|figure| figure.unit.as_str()) else {
        return String::new();
    };
    if pairs.is_empty() {
        return String::new();
    }
    let better = if is_better_higher(metric) {
        "more"
    } else {
        "less"
    };
    let mut text = format!("\n**{measure}: {metric}, {unit}** ({better} is better)\n\n");
    let cell = |case: &str, pair: &(&str, &str)| {
        compare(&figures, case, *pair).map(|ratio| ratio_cell(ratio, metric, pair.1))
    };
    let places = || {
        let pairs = &pairs;
        let of_case = move |case| pairs.iter().map(move |pair| (case, pair));
        cases.iter().copied().flat_map(of_case)
    };
    let filled = places().filter(|(case, pair)| cell(case, pair).is_some());
    // A table with more holes than cells is a list.
    if filled.count() * 2 <= places().count() {
        text.push_str("| | | to | ratio |\n|---|---|---|---:|\n");
        for (case, pair) in places() {
            if let Some(ratio) = cell(case, pair) {
                let (ours, rival) = pair;
                let _ = writeln!(text, "| {case} | {ours} | {rival} | {ratio} |");
            }
        }
        return text;
    }
    text.push_str("| |");
    for (ours, rival) in &pairs {
        let _ = write!(text, " {ours}<br>to {rival} |");
    }
    let _ = write!(text, "\n|---|{}\n", "---:|".repeat(pairs.len()));
    for case in &cases {
        let _ = write!(text, "| {case} |");
        for pair in &pairs {
            let _ = write!(text, " {} |", cell(case, pair).unwrap_or_default());
        }
        text.push('\n');
    }
    text
}

/// Ours and their rivals, in a measure.
fn pairs(measure: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    RIVALS
        .iter()
        .filter(move |(ours, _)| is_compared(measure, ours))
        .flat_map(|(ours, rivals)| rivals.iter().map(|rival| (*ours, *rival)))
}

/// The ratio of one subject to another in one case, out of figures of one measure and metric.
fn compare(figures: &[&Figure], case: &str, (ours, rival): (&str, &str)) -> Option<Spread> {
    let of = |name: &str| {
        figures
            .iter()
            .find(|figure| figure.case == case && figure.subject == name)
    };
    of(ours)?.ratio_to(of(rival)?)
}

fn is_lost(ratio: Spread, metric: &str) -> bool {
    if is_better_higher(metric) {
        ratio.upper_quartile < 0.995
    } else {
        ratio.lower_quartile > 1.005
    }
}

/// Whether it says something that somebody is worse than this one: the bare loop is better by nature, and who is
/// compared with itself has more to do.
fn is_rival(name: &str) -> bool {
    name != "raw" && !name.starts_with("untether")
}

fn ratio_cell(ratio: Spread, metric: &str, rival: &str) -> String {
    let star = if is_rival(rival) && is_lost(ratio, metric) {
        " \\*"
    } else {
        ""
    };
    format!("{}{star}", ratio.as_ratio())
}

/// For each measure and metric: who is better than we are, and where.
fn losses(figures: &[Figure]) -> Vec<String> {
    let mut losses = Vec::new();
    for chapter in CHAPTERS {
        for measure in chapter.measures {
            for metric in chapter.chief {
                let own: Vec<&Figure> = figures
                    .iter()
                    .filter(|figure| figure.measure == *measure && figure.metric == *metric)
                    .collect();
                let ours = pairs(measure)
                    .filter(|(ours, rival)| ours.starts_with("untether") && is_rival(rival));
                let lost: Vec<String> = ours
                    .filter_map(|pair| lost_to(&own, metric, pair))
                    .collect();
                if !lost.is_empty() {
                    losses.push(format!("`{measure}`, {metric}: {}.", lost.join("; ")));
                }
            }
        }
    }
    losses
}

/// Where, among figures of one measure and metric, `rival` is better.
fn lost_to(figures: &[&Figure], metric: &str, pair: (&str, &str)) -> Option<String> {
    let lost: Vec<String> = cases(figures)
        .into_iter()
        .filter_map(|case| {
            let ratio = compare(figures, case, pair)?;
            is_lost(ratio, metric).then(|| format!("{:.2} at {case}", ratio.median))
        })
        .collect();
    let (ours, rival) = pair;
    (!lost.is_empty()).then(|| format!("{ours} to {rival} {}", lost.join(", ")))
}

fn cases<'a>(figures: &[&'a Figure]) -> Vec<&'a str> {
    let mut cases: Vec<&str> = figures.iter().map(|figure| figure.case.as_str()).collect();
    cases.dedup();
    cases
}

/// The headlines as a table. Empty if none of them was measured.
pub(super) fn in_short(figures: &[Figure], quartiles: bool) -> String {
    let mut rows = String::new();
    for headline in HEADLINES {
        let own: Vec<&Figure> = figures
            .iter()
            .filter(|figure| {
                (
                    figure.measure.as_str(),
                    figure.case.as_str(),
                    figure.metric.as_str(),
                ) == (headline.measure, headline.case, headline.metric)
            })
            .collect();
        let ours = own.iter().find(|figure| figure.subject == headline.ours);
        let Some(ours) = ours else { continue };
        let _ = write!(
            rows,
            "| {} | {} |",
            headline.question,
            with_unit(ours.value.median, &ours.unit)
        );
        for peer in headline.peers {
            let ratio = compare(&own, headline.case, (headline.ours, peer));
            let ratio = match ratio {
                Some(ratio) if quartiles => ratio_cell(ratio, headline.metric, peer),
                Some(ratio) => format!("{:.2}", ratio.median),
                None => String::new(),
            };
            let _ = write!(rows, " {ratio} |");
        }
        rows.push('\n');
    }
    if rows.is_empty() {
        return rows;
    }
    let peers = PEERS.map(|peer| format!("to {peer}")).join(" | ");
    format!("| | untether | {peers} |\n|---|---:|---:|---:|---:|\n{rows}")
}

/// As one would say it; what it is for is said beside it.
fn with_unit(value: f64, unit: &str) -> String {
    let unit = unit.split('/').next().unwrap_or(unit);
    match unit {
        "1" if value >= 1e4 => format!("{:.0},{:03.0}/s", (value / 1e3).floor(), value % 1e3),
        "1" => short(value),
        unit => format!("{} {unit}", short(value)),
    }
}

/// The peers that figures are of, with their versions.
fn peers(figures: &[Figure]) -> Vec<String> {
    const CRATES: &[(&str, &str)] = &[
        ("tokio", "tokio"),
        ("smol", "async-io"),
        ("smol", "async-executor"),
        ("futures", "futures-executor"),
        ("monoio", "monoio"),
    ];
    CRATES
        .iter()
        .filter(|(subject, _)| {
            figures
                .iter()
                .any(|figure| figure.subject.contains(subject))
        })
        .filter_map(|(_, name)| Some(format!("{name} {}", locked(name)?)))
        .collect()
}

/// The version of a crate that this was built with.
fn locked(name: &str) -> Option<&'static str> {
    let lock = include_str!("../../../../Cargo.lock");
    let mut lines = lock.lines();
    lines.find(|line| *line == format!("name = \"{name}\""))?;
    lines
        .next()?
        .strip_prefix("version = \"")?
        .strip_suffix('"')
}

/// `text` with the headlines between its markers instead of what is there.
pub(super) fn with_headlines(text: &str, figures: &[Figure]) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    let table = in_short(figures, false);
    Some(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

const BEGIN: &str = "<!-- figures: written by ci/bench.sh -->";
const END: &str = "<!-- end of figures -->";

#[cfg(test)]
mod tests {
    use super::{locked, text, with_headlines};
    use crate::figure::Figure;

    fn figure(subject: &str, value: f64) -> Figure {
        let place = ("instructions", "C=64 64 B");
        Figure::of_one(
            place,
            subject,
            ("user instructions", "1/request"),
            value,
            None,
        )
    }

    #[test]
    fn a_rival_that_is_better_is_named() {
        let figures = [
            figure("raw", 1.0),
            figure("untether-local", 3.0),
            figure("tokio-current-thread", 2.0),
            figure("smol-local", 4.0),
        ];
        let text = text(&figures, None);
        let lost = "- `instructions`, user instructions: untether-local to tokio-current-thread 1.50 at C=64 64 B.\n";
        assert!(text.contains(lost), "{text}");
        assert!(text.contains("1.500 \\*"), "{text}");
        assert_eq!(text.matches("- `").count(), 1, "{text}");
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let figures = [figure("untether-local", 3.0)];
        let page = format!("a\n{}\nold\n{}\nb\n", super::BEGIN, super::END);
        let once = with_headlines(&page, &figures).unwrap();
        assert!(once.starts_with("a\n") && once.ends_with("\nb\n") && !once.contains("old"));
        assert_eq!(with_headlines(&once, &figures).unwrap(), once);
        assert_eq!(with_headlines("no markers", &figures), None);
    }

    #[test]
    fn versions_are_found() {
        assert!(locked("tokio").is_some_and(|version| version.starts_with("1.")));
    }
}
