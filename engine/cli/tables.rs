//! Plain tables: aligned columns, one thin rule under the header. Knows nothing of what is in the cells, which may hold
//! styles; only the last column may be long and is wrapped.

use std::fmt::Write as _;

use console::measure_text_width;

use crate::terminal::{QUIET, STRONG, paint};

/// The blanks between columns.
const GAP: &str = "  ";
/// A wrapped last column gets at least this many columns, even if lines then run over.
const LAST_COLUMN_MIN: usize = 24;

/// Where nothing is wrapped, one long cell must not make the rule long too.
const RULE_MAX: usize = 140;

/// On which side a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Names and texts.
    Left,
    /// Numbers.
    Right,
}

/// A table in the making.
pub(crate) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns: title and side.
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        let columns = columns.iter().map(|(title, align)| ((*title).to_owned(), *align)).collect();
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row, a cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines of the table. With `columns`, the last column is wrapped so that lines fit into that many.
    pub(crate) fn render(&self, columns: Option<usize>) -> String {
        let mut widths: Vec<usize> = self.columns.iter().map(|(title, _)| measure_text_width(title)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(measure_text_width(cell));
            }
        }
        if let (Some(columns), Some((last, others))) = (columns, widths.split_last_mut()) {
            let taken: usize = others.iter().map(|width| width + GAP.len()).sum();
            *last = (*last).min(columns.saturating_sub(taken).max(LAST_COLUMN_MIN));
        }
        let mut text = String::new();
        // A style around nothing would keep the line's end from being trimmed.
        let title = |(title, _): &(String, Align)| if title.is_empty() { String::new() } else { paint(STRONG, title) };
        let titles: Vec<String> = self.columns.iter().map(title).collect();
        self.line(&mut text, &titles, &widths);
        let ruled = widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
        let _ = writeln!(text, "{}", paint(QUIET, "─".repeat(ruled.min(RULE_MAX))));
        for row in &self.rows {
            self.row_lines(&mut text, row, &widths);
        }
        text
    }

    /// Writes a row: one line, or as many as its last cell needs.
    fn row_lines(&self, text: &mut String, row: &[String], widths: &[usize]) {
        let (Some((last_cell, other_cells)), Some(last_width)) = (row.split_last(), widths.last()) else { return };
        if measure_text_width(last_cell) <= *last_width {
            return self.line(text, row, widths);
        }
        for (index, part) in textwrap::wrap(last_cell, *last_width).into_iter().enumerate() {
            let mut cells: Vec<String> =
                if index == 0 { other_cells.to_vec() } else { vec![String::new(); other_cells.len()] };
            cells.push(part.into_owned());
            self.line(text, &cells, widths);
        }
    }

    fn line(&self, text: &mut String, cells: &[String], widths: &[usize]) {
        let mut line = String::new();
        for (index, ((cell, width), (_, align))) in cells.iter().zip(widths).zip(&self.columns).enumerate() {
            let blanks = " ".repeat(width.saturating_sub(measure_text_width(cell)));
            line.push_str(if index == 0 { "" } else { GAP });
            match align {
                Align::Left => line.extend([cell.as_str(), &blanks]),
                Align::Right => line.extend([&blanks, cell.as_str()]),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::GOOD;

    fn plain(text: &str) -> String {
        console::strip_ansi_codes(text).into_owned()
    }

    #[test]
    fn columns_are_aligned_whatever_the_style() {
        let mut table = Table::new(&[("node", Align::Left), ("n", Align::Right), ("why", Align::Left)]);
        table.row(["a".into(), "1,000".into(), "x".into()]);
        table.row([paint(GOOD, "größer"), "2".into(), String::new()]);
        let expected = "node        n  why\n──────────────────\na       1,000  x\ngrößer      2\n";
        assert_eq!(plain(&table.render(None)), expected);
    }

    #[test]
    fn long_last_column_is_wrapped_only_on_a_terminal() {
        let mut table = Table::new(&[("node", Align::Left), ("why", Align::Left)]);
        table.row(["a".into(), "the option `temperature` changed from 0.6 to 0.7".into()]);
        assert_eq!(table.render(None).lines().count(), 3);
        let wrapped = plain(&table.render(Some(36)));
        assert!(wrapped.lines().all(|line| line.chars().count() <= 36), "{wrapped}");
        assert!(wrapped.lines().nth(3).is_some_and(|line| line.starts_with("      ")), "{wrapped}");
    }
}
