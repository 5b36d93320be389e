//! Tables in the manner of kubectl: upper-case heads, two spaces between columns, no lines. On a terminal the flexible
//! columns shrink to its width; elsewhere nothing is cut.

use std::fmt::Write;

use crate::export::hidden::is_hidden;

/// A colour of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CellColour {
    #[default]
    None,
    Good,
    Bad,
    Faint,
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct TableColumn {
    pub head: &'static str,
    /// Numbers stand at the right.
    pub right: bool,
    /// May be shortened to this width on a narrow terminal.
    pub least: Option<usize>,
    /// Room to keep for rows that are still to come.
    pub usual: usize,
}

/// One cell.
#[derive(Clone, Debug, Default)]
pub struct TableCell {
    pub text: String,
    pub tint: CellColour,
}

/// How to write.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableStyle {
    pub colour: bool,
    /// Columns of the terminal, if it is one.
    pub width: Option<usize>,
}

impl From<String> for TableCell {
    fn from(text: String) -> TableCell {
        TableCell { text, tint: CellColour::None }
    }
}

impl From<&str> for TableCell {
    fn from(text: &str) -> TableCell {
        text.to_owned().into()
    }
}

const BETWEEN: usize = 2;

/// Lays out rows and remembers the widths, so that rows that come later stand under the same heads.
#[derive(Debug)]
pub struct TextTable {
    columns: Vec<TableColumn>,
    widths: Vec<usize>,
    style: TableStyle,
}

impl TextTable {
    /// A table of these columns.
    #[must_use]
    pub fn new(columns: Vec<TableColumn>, style: TableStyle) -> TextTable {
        let widths = columns.iter().map(|column| column.head.len()).collect();
        TextTable { columns, widths, style }
    }

    /// Makes room for rows that are still to come.
    pub fn reserve(&mut self) {
        for (width, column) in self.widths.iter_mut().zip(&self.columns) {
            *width = (*width).max(column.usual);
        }
    }

    /// Heads and rows.
    pub fn render(&mut self, rows: &[Vec<TableCell>]) -> String {
        self.fit(rows);
        let heads: Vec<TableCell> =
            self.columns.iter().map(|column| TableCell { text: column.head.into(), tint: CellColour::Faint }).collect();
        let mut text = self.line(&heads);
        rows.iter().for_each(|row| text.push_str(&self.line(row)));
        text
    }

    /// One more row under rows already rendered.
    #[must_use]
    pub fn line(&self, row: &[TableCell]) -> String {
        let mut line = String::new();
        let last = self.columns.len().saturating_sub(1);
        for (index, ((cell, column), width)) in row.iter().zip(&self.columns).zip(&self.widths).enumerate() {
            let text = shorten(&cell.text, *width, column, self.style);
            let pad = " ".repeat(width.saturating_sub(text.chars().count()));
            let (before, after) = if column.right { (pad.as_str(), "") } else { ("", pad.as_str()) };
            let (on, off) = self.paint(cell.tint);
            let after = if index == last { "" } else { after };
            let gap = if index == last { 0 } else { BETWEEN };
            // Writing to a String cannot fail.
            let _ = write!(line, "{before}{on}{text}{off}{after}{:gap$}", "");
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }

    fn fit(&mut self, rows: &[Vec<TableCell>]) {
        for row in rows {
            for (cell, width) in row.iter().zip(&mut self.widths) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let Some(room) = self.style.width else { return };
        let mut over =
            (self.widths.iter().sum::<usize>() + BETWEEN * self.widths.len().saturating_sub(1)).saturating_sub(room);
        for (width, column) in self.widths.iter_mut().zip(&self.columns).rev() {
            let Some(least) = column.least else { continue };
            let give = width.saturating_sub(least).min(over);
            *width -= give;
            over -= give;
        }
    }

    fn paint(&self, tint: CellColour) -> (&'static str, &'static str) {
        match tint {
            _ if !self.style.colour => ("", ""),
            CellColour::None => ("", ""),
            CellColour::Good => ("\x1b[32m", "\x1b[0m"),
            CellColour::Bad => ("\x1b[31m", "\x1b[0m"),
            CellColour::Faint => ("\x1b[2m", "\x1b[0m"),
        }
    }
}

/// Shortened to `width` where the column may be; control characters, which a client could send to our terminal in a
/// model's name, become `·`.
fn shorten(text: &str, width: usize, column: &TableColumn, style: TableStyle) -> String {
    let clean: String = text.chars().map(|c| if is_hidden(c) { '·' } else { c }).collect();
    if column.least.is_none() || style.width.is_none() || clean.chars().count() <= width {
        return clean;
    }
    clean.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A duration for people: `850µs 12ms 3.1s 4m10s 2h05m 3d04h`.
#[must_use]
pub fn short_seconds(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match seconds {
        s if s < 0.001 => format!("{:.0}µs", s * 1e6),
        s if s < 1.0 => format!("{:.0}ms", s * 1e3),
        s if s < 60.0 => format!("{s:.1}s"),
        s if s < 3600.0 => format!("{}m{:02}s", whole / 60, whole % 60),
        s if s < 86_400.0 => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// `-` for what is not known.
#[must_use]
pub fn or_dash<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> TableCell {
    value.map_or_else(|| "-".into(), |value| show(value).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<TableColumn> {
        vec![
            TableColumn { head: "ID", right: false, least: None, usual: 0 },
            TableColumn { head: "MODEL", right: false, least: Some(6), usual: 0 },
            TableColumn { head: "CHARS", right: true, least: None, usual: 0 },
        ]
    }

    fn row(id: &str, model: &str, chars: &str) -> Vec<TableCell> {
        vec![id.into(), model.into(), chars.into()]
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let text = TextTable::new(columns(), TableStyle::default())
            .render(&[row("a1", "gpt-4.1-mini", "5"), row("b", "x", "12345678")]);
        assert_eq!(text, "ID  MODEL            CHARS\na1  gpt-4.1-mini         5\nb   x             12345678\n");
    }

    #[test]
    fn rows_to_come_have_room() {
        let mut table = TextTable::new(
            vec![TableColumn { head: "A", right: false, least: None, usual: 4 }; 2],
            TableStyle::default(),
        );
        table.reserve();
        let text = table.render(&[vec!["x".into(), "y".into()]]) + &table.line(&["long".into(), "z".into()]);
        assert_eq!(text, "A     A\nx     y\nlong  z\n");
    }

    #[test]
    fn narrow_terminals_shorten_names_only() {
        let style = TableStyle { colour: false, width: Some(20) };
        let text = TextTable::new(columns(), style).render(&[row("a1", "gpt-4.1-mini-2025", "12345678")]);
        assert_eq!(text.lines().last().unwrap(), "a1  gpt-4…  12345678");
        assert!(text.lines().all(|line| line.chars().count() <= 20), "{text}");
    }

    #[test]
    fn colour_only_when_asked_and_no_escape_from_clients() {
        let bad = vec![TableCell { text: "\x1b[2Jx".into(), tint: CellColour::Bad }];
        let column = vec![TableColumn { head: "A", right: false, least: None, usual: 0 }];
        let plain = TextTable::new(column.clone(), TableStyle::default()).render(std::slice::from_ref(&bad));
        assert!(!plain.contains('\x1b'), "{plain:?}");
        let colour = TextTable::new(column, TableStyle { colour: true, width: None }).render(&[bad]);
        assert!(colour.contains("\x1b[31m·[2Jx\x1b[0m"), "{colour:?}");
    }

    #[test]
    fn durations_are_short() {
        for (seconds, text) in [
            (0.00085, "850µs"),
            (0.012, "12ms"),
            (3.13, "3.1s"),
            (250.0, "4m10s"),
            (7500.0, "2h05m"),
            (273_600.0, "3d04h"),
        ] {
            assert_eq!(short_seconds(seconds), text);
        }
    }
}
