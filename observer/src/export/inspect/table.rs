//! Tables in the manner of kubectl: upper-case heads, two spaces between columns, no lines. On a terminal the flexible
//! columns shrink to its width; elsewhere nothing is cut.

use std::fmt::Write;

/// A colour of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tint {
    #[default]
    None,
    Good,
    Bad,
    Faint,
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
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
pub struct Cell {
    pub text: String,
    pub tint: Tint,
}

/// How to write.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    pub colour: bool,
    /// Columns of the terminal, if it is one.
    pub width: Option<usize>,
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, tint: Tint::None }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        text.to_owned().into()
    }
}

const BETWEEN: usize = 2;

/// Lays out rows and remembers the widths, so that rows that come later stand under the same heads.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    widths: Vec<usize>,
    style: Style,
}

impl Table {
    /// A table of these columns.
    #[must_use]
    pub fn new(columns: Vec<Column>, style: Style) -> Table {
        let widths = columns.iter().map(|column| column.head.len()).collect();
        Table { columns, widths, style }
    }

    /// Makes room for rows that are still to come.
    pub fn reserve(&mut self) {
        for (width, column) in self.widths.iter_mut().zip(&self.columns) {
            *width = (*width).max(column.usual);
        }
    }

    /// Heads and rows.
    pub fn render(&mut self, rows: &[Vec<Cell>]) -> String {
        self.fit(rows);
        let heads: Vec<Cell> =
            self.columns.iter().map(|column| Cell { text: column.head.into(), tint: Tint::Faint }).collect();
        let mut text = self.line(&heads);
        rows.iter().for_each(|row| text.push_str(&self.line(row)));
        text
    }

    /// One more row under rows already rendered.
    #[must_use]
    pub fn line(&self, row: &[Cell]) -> String {
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

    fn fit(&mut self, rows: &[Vec<Cell>]) {
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

    fn paint(&self, tint: Tint) -> (&'static str, &'static str) {
        match tint {
            _ if !self.style.colour => ("", ""),
            Tint::None => ("", ""),
            Tint::Good => ("\x1b[32m", "\x1b[0m"),
            Tint::Bad => ("\x1b[31m", "\x1b[0m"),
            Tint::Faint => ("\x1b[2m", "\x1b[0m"),
        }
    }
}

/// Shortened to `width` where the column may be; control characters, which a client could send to our terminal in a
/// model's name, become `·`.
fn shorten(text: &str, width: usize, column: &Column, style: Style) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { '·' } else { c }).collect();
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
pub fn or_dash<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> Cell {
    value.map_or_else(|| "-".into(), |value| show(value).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        vec![
            Column { head: "ID", right: false, least: None, usual: 0 },
            Column { head: "MODEL", right: false, least: Some(6), usual: 0 },
            Column { head: "CHARS", right: true, least: None, usual: 0 },
        ]
    }

    fn row(id: &str, model: &str, chars: &str) -> Vec<Cell> {
        vec![id.into(), model.into(), chars.into()]
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let text = Table::new(columns(), Style::default())
            .render(&[row("a1", "gpt-4.1-mini", "5"), row("b", "x", "12345678")]);
        assert_eq!(text, "ID  MODEL            CHARS\na1  gpt-4.1-mini         5\nb   x             12345678\n");
    }

    #[test]
    fn rows_to_come_have_room() {
        let mut table =
            Table::new(vec![Column { head: "A", right: false, least: None, usual: 4 }; 2], Style::default());
        table.reserve();
        let text = table.render(&[vec!["x".into(), "y".into()]]) + &table.line(&["long".into(), "z".into()]);
        assert_eq!(text, "A     A\nx     y\nlong  z\n");
    }

    #[test]
    fn narrow_terminals_shorten_names_only() {
        let style = Style { colour: false, width: Some(20) };
        let text = Table::new(columns(), style).render(&[row("a1", "gpt-4.1-mini-2025", "12345678")]);
        assert_eq!(text.lines().last().unwrap(), "a1  gpt-4…  12345678");
        assert!(text.lines().all(|line| line.chars().count() <= 20), "{text}");
    }

    #[test]
    fn colour_only_when_asked_and_no_escape_from_clients() {
        let bad = vec![Cell { text: "\x1b[2Jx".into(), tint: Tint::Bad }];
        let column = vec![Column { head: "A", right: false, least: None, usual: 0 }];
        let plain = Table::new(column.clone(), Style::default()).render(std::slice::from_ref(&bad));
        assert!(!plain.contains('\x1b'), "{plain:?}");
        let colour = Table::new(column, Style { colour: true, width: None }).render(&[bad]);
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
