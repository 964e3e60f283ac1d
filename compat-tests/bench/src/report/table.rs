//! For a terminal: a table per case; each cell is the median, and the median ratio to the first row with its quartiles.

use std::io::{self, Write};

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use super::{Page, cell, pages};
use crate::figure::Figure;
use crate::measures::MEASURES;
use crate::servers::SERVERS;

pub(crate) fn print(figures: &[Figure], out: &mut impl Write) -> io::Result<()> {
    if figures.is_empty() {
        return writeln!(out, "nothing was asked for; --list shows what there is");
    }
    for page in pages(figures) {
        writeln!(out, "\n{}, {}", page.measure, page.case)?;
        writeln!(out, "{}", table(&page).trim_fmt())?;
    }
    Ok(())
}

fn table(page: &Page<'_>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    let titles = page
        .metrics
        .iter()
        .map(|(name, unit)| format!("{name}, {unit}"));
    table.set_header(std::iter::once(String::new()).chain(titles));
    for (subject, cells) in &page.rows {
        let mut row = vec![Cell::new(format!("  {subject}"))];
        row.extend(
            cells
                .iter()
                .map(|figure| Cell::new(cell(*figure)).set_alignment(CellAlignment::Right)),
        );
        table.add_row(row);
    }
    table
}

/// What there is to ask, and whom.
pub(crate) fn list(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "measures:")?;
    for measure in MEASURES {
        writeln!(out, "  {}: {}", measure.names.join(", "), measure.about)?;
    }
    writeln!(out, "servers:")?;
    for server in SERVERS {
        writeln!(out, "  {:<30} {}", server.name, server.about)?;
    }
    Ok(())
}
