//! The picture as text: pure.

use std::collections::BTreeMap;

use super::picture::{GroupLine, TopPicture};
use crate::export::inspect::finding::FINDINGS;
use crate::export::inspect::table::{
    CellColour, TableCell, TableColumn, TableStyle, TextTable, or_dash, short_seconds,
};

/// The terminal's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TerminalSize {
    pub columns: usize,
    pub rows: usize,
}

/// An answer older than this is said to be old: two rounds were missed.
const STALE_SECONDS: f64 = 3.0;

/// The part of the screen that findings may take, unless streams leave more.
const FINDINGS_SHARE: usize = 3;

/// The columns of findings shown here, of those of `inspect findings`.
const FINDING_HEADS: [&str; 6] = ["ID", "SEVERITY", "SERVICE", "MODEL", "LASTS", "VERDICT"];

/// A column of streams.
struct StreamColumn {
    column: TableColumn,
    /// On a narrow terminal those with the largest number go first; 0 stays.
    spare: u8,
    show: fn(&GroupLine) -> TableCell,
}

const fn text(head: &'static str, least: usize, spare: u8, show: fn(&GroupLine) -> TableCell) -> StreamColumn {
    StreamColumn { column: TableColumn { head, right: false, least: Some(least), usual: 0 }, spare, show }
}

const fn number(head: &'static str, spare: u8, show: fn(&GroupLine) -> TableCell) -> StreamColumn {
    StreamColumn { column: TableColumn { head, right: true, least: None, usual: 0 }, spare, show }
}

const COLUMNS: &[StreamColumn] = &[
    text("SERVICE", 12, 0, |line| named(&line.group.service)),
    text("PROVIDER", 8, 5, |line| named(&line.group.provider)),
    text("MODEL", 20, 0, |line| named(&line.group.model)),
    number("OPEN", 0, |line| count(line.open)),
    number("OLDEST", 2, |line| or_dash(line.oldest, short_seconds)),
    number("IDLE", 0, |line| or_dash(line.idle, short_seconds)),
    number("ENDED", 3, |line| count(line.ended)),
    number("VISIBLE50", 1, |line| or_dash(line.visible, short_seconds)),
    number("GAP95", 4, |line| or_dash(line.gap95, short_seconds)),
    number("MAXGAP", 0, |line| or_dash(line.longest_gap, short_seconds)),
    text("STALLS", 10, 0, |line| tally(&line.stalls)),
    text("NOT-COMPLETE", 12, 0, |line| tally(&line.failed)),
];

fn named(name: &str) -> TableCell {
    if name.is_empty() { "-".into() } else { name.into() }
}

fn count(n: usize) -> TableCell {
    n.to_string().into()
}

/// `provider 3, local 1`.
fn tally(counts: &BTreeMap<String, u64>) -> TableCell {
    if counts.is_empty() {
        return "0".into();
    }
    let words: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    TableCell { text: words.join(", "), tint: CellColour::Bad }
}

/// The picture at `now`. With a size: no more lines and columns than that. Every line ends with a line feed.
#[must_use]
pub(super) fn render(picture: &TopPicture, size: Option<TerminalSize>, colour: bool, now: f64) -> String {
    let style = TableStyle { colour, width: size.map(|size| size.columns) };
    let mut head = vec![summary(picture)];
    head.extend(trouble(picture, now, colour));
    head.push(String::new());
    let foot = size.map(|_| faint("q to quit", colour));
    let streams = streams(&picture.lines(now), style);
    let findings = findings(picture, style);
    let room = size.map(|size| size.rows.saturating_sub(head.len() + 1 + usize::from(foot.is_some())));
    let (streams, findings) = share(streams, findings, room);
    let body = head.into_iter().chain(streams).chain([String::new()]).chain(findings);
    let mut lines: Vec<String> = body.collect();
    if let Some(size) = size {
        lines.truncate(size.rows.saturating_sub(1));
        lines.extend(foot.filter(|_| size.rows > 0));
        lines.iter_mut().for_each(|line| *line = clip(line, size.columns));
    }
    lines.iter().fold(String::new(), |text, line| text + line + "\n")
}

/// How it is as a whole.
fn summary(picture: &TopPicture) -> String {
    let lost = picture.lost();
    let lost = match (lost.bytes, lost.unknown) {
        (bytes, 0) => bytes.to_string(),
        (bytes, unknown) => format!("{bytes} and more of {unknown} streams"),
    };
    let rate = picture.events_per_second.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
    let coverage: Vec<String> = picture.coverage.iter().map(|(seen, count)| format!("{count} {seen}")).collect();
    let coverage = if coverage.is_empty() { "0".to_owned() } else { coverage.join(", ") };
    format!(
        "open streams {}  connections {}  events/s {rate}  lost bytes {lost}  TLS processes {coverage}  (ended: last {})",
        picture.open(),
        picture.connections,
        window(picture.window)
    )
}

/// `15m`, without the seconds that are none.
fn window(seconds: f64) -> String {
    let text = short_seconds(seconds);
    text.strip_suffix("m00s").map_or_else(|| text.clone(), |minutes| format!("{minutes}m"))
}

/// That the daemon does not answer.
fn trouble(picture: &TopPicture, now: f64, colour: bool) -> Option<String> {
    let old = now - picture.at;
    if picture.error.is_none() && old < STALE_SECONDS {
        return None;
    }
    let why = picture.error.as_deref().unwrap_or("the daemon does not answer");
    let text = format!("as it was {} ago: {why}", short_seconds(old.max(0.0)));
    Some(if colour { format!("\x1b[31m{text}\x1b[0m") } else { text })
}

fn streams(lines: &[GroupLine], style: TableStyle) -> Vec<String> {
    if lines.is_empty() {
        return vec!["no streams".to_owned()];
    }
    let cells: Vec<Vec<TableCell>> =
        lines.iter().map(|line| COLUMNS.iter().map(|of| (of.show)(line)).collect()).collect();
    let chosen = chosen(&cells, style.width);
    let kept =
        |row: Vec<TableCell>| row.into_iter().zip(&chosen).filter(|(_, keep)| **keep).map(|(cell, _)| cell).collect();
    let rows: Vec<Vec<TableCell>> = cells.into_iter().map(kept).collect();
    let columns = COLUMNS.iter().zip(&chosen).filter(|(_, keep)| **keep).map(|(of, _)| of.column).collect();
    TextTable::new(columns, style).render(&rows).lines().map(str::to_owned).collect()
}

/// Which columns there is room for.
fn chosen(rows: &[Vec<TableCell>], width: Option<usize>) -> Vec<bool> {
    let needs: Vec<usize> = COLUMNS.iter().enumerate().map(|(index, of)| need(index, of, rows)).collect();
    let most = COLUMNS.iter().map(|of| of.spare).max().unwrap_or(0);
    let fits = |spare: u8| {
        let kept = COLUMNS.iter().zip(&needs).filter(|(of, _)| of.spare <= spare);
        width.is_none_or(|width| kept.map(|(_, need)| need + 2).sum::<usize>() <= width + 2)
    };
    let spare = (0..=most).rev().find(|spare| fits(*spare)).unwrap_or(0);
    COLUMNS.iter().map(|of| of.spare <= spare).collect()
}

/// The least width of a column.
fn need(index: usize, of: &StreamColumn, rows: &[Vec<TableCell>]) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.text.chars().count());
    let widest = cells.chain([of.column.head.len()]).max().unwrap_or(0);
    of.column.least.map_or(widest, |least| widest.min(least.max(of.column.head.len())))
}

fn findings(picture: &TopPicture, style: TableStyle) -> Vec<String> {
    if picture.findings.is_empty() {
        return vec!["no open findings".to_owned()];
    }
    let chosen: Vec<_> = FINDINGS.iter().filter(|of| FINDING_HEADS.contains(&of.column.head)).collect();
    let columns = chosen.iter().map(|of| of.column).collect();
    let show = |finding| chosen.iter().map(|of| (of.show)(finding)).collect();
    let rows: Vec<Vec<TableCell>> = picture.findings.iter().map(show).collect();
    TextTable::new(columns, style).render(&rows).lines().map(str::to_owned).collect()
}

/// Cuts both to `room` lines: findings keep their share, and what streams leave.
fn share(streams: Vec<String>, findings: Vec<String>, room: Option<usize>) -> (Vec<String>, Vec<String>) {
    let Some(room) = room else { return (streams, findings) };
    let least = (room / FINDINGS_SHARE).min(findings.len());
    let streams = cut(streams, room.saturating_sub(least));
    let left = room.saturating_sub(streams.len());
    (streams, cut(findings, left))
}

/// The first lines; the last one tells how many are missing.
fn cut(mut lines: Vec<String>, room: usize) -> Vec<String> {
    let missing = (lines.len() + 1).saturating_sub(room);
    if lines.len() > room {
        lines.truncate(room.saturating_sub(1));
        lines.extend((room > 0).then(|| format!("… and {missing} more")));
    }
    lines
}

fn faint(text: &str, colour: bool) -> String {
    if colour { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
}

/// The first `width` characters; colours (`ESC [ … m`, the only escapes there are) take no room and are kept.
fn clip(line: &str, width: usize) -> String {
    let (mut clipped, mut used, mut escape) = (String::with_capacity(line.len()), 0, false);
    for c in line.chars() {
        let visible = !escape && c != '\x1b';
        escape = if escape { c != 'm' } else { c == '\x1b' };
        used += usize::from(visible);
        if !visible || used <= width {
            clipped.push(c);
        }
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::super::picture::AnswerRound;
    use super::super::picture::tests::{T, finding, stream};
    use super::*;

    fn picture(models: usize, findings: usize) -> TopPicture {
        let mut picture = TopPicture::new(900.0);
        let mut streams: Vec<_> =
            (0..models).map(|n| stream(&n.to_string(), &format!("model-{n:03}"), 5, None)).collect();
        streams.push(stream("ended", "model-000", 5, Some((-3, "truncated"))));
        let findings = (0..findings).map(|n| finding(&format!("f{n:02}"), "warning", false)).collect();
        let process = |visibility: &str| {
            let (comm, service) = ("python".to_owned(), "shop".to_owned());
            let visibility = visibility.to_owned();
            crate::export::inspect::view::ProcessView {
                pid: 1,
                uid: None,
                comm,
                service,
                k8s: Default::default(),
                container_id: None,
                visibility,
                reason: String::new(),
                library: None,
                hellos: None,
                unmatched: None,
            }
        };
        let processes = ["plaintext", "none", "plaintext"].map(process).into();
        picture.merge(AnswerRound { at: T, streams, connections: 7, processes, findings });
        picture
    }

    #[test]
    fn the_whole_picture_where_there_is_room() {
        let text = render(&picture(1, 1), None, false, T);
        let expected = "\
open streams 1  connections 7  events/s -  lost bytes 0  TLS processes 1 none, 2 plaintext  (ended: last 15m)

SERVICE  PROVIDER  MODEL      OPEN  OLDEST  IDLE  ENDED  VISIBLE50  GAP95  MAXGAP  STALLS                 NOT-COMPLETE
shop     openai    model-000     1   10.0s  2.0s      1      300ms   50ms    1.5s  provider 2, unknown 2  truncated 1

ID   SEVERITY  SERVICE  MODEL  LASTS  VERDICT
f00  warning   shop     gpt-x     1m  too many attempts
";
        assert_eq!(text, expected);
    }

    #[test]
    fn nothing_is_said_too() {
        let mut nothing = TopPicture::new(90.0);
        nothing.merge(AnswerRound { at: T, ..AnswerRound::default() });
        let text = render(&nothing, None, false, T);
        assert!(text.contains("open streams 0  connections 0") && text.contains("(ended: last 1m30s)"), "{text}");
        assert!(text.contains("\nno streams\n\nno open findings\n"), "{text}");
    }

    #[test]
    fn it_fits_any_terminal() {
        let picture = picture(60, 20);
        for (columns, rows) in [(0, 0), (1, 1), (20, 4), (40, 7), (80, 24), (100, 30), (200, 50), (300, 400)] {
            for colour in [false, true] {
                let text = render(&picture, Some(TerminalSize { columns, rows }), colour, T);
                assert!(text.lines().count() <= rows, "{columns}x{rows}:\n{text}");
                let plain = text.replace("\x1b[31m", "").replace("\x1b[2m", "").replace("\x1b[0m", "");
                assert!(plain.lines().all(|line| line.chars().count() <= columns), "{columns}x{rows}:\n{text}");
                assert!(!plain.contains('\x1b') && (colour || plain == text), "{text:?}");
            }
        }
    }

    #[test]
    fn a_usual_terminal_shows_what_matters_and_says_what_it_leaves_out() {
        let text = render(&picture(60, 20), Some(TerminalSize { columns: 80, rows: 24 }), false, T);
        let heads = text.lines().nth(2).unwrap();
        for head in ["SERVICE", "MODEL", "OPEN", "IDLE", "MAXGAP", "STALLS", "NOT-COMPLETE"] {
            assert!(heads.contains(head), "{head} is missing:\n{text}");
        }
        assert!(!heads.contains("PROVIDER"), "{text}");
        assert!(text.contains("model-010") && text.contains("f00"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("… and ")).count(), 2, "{text}");
        assert_eq!(text.lines().last(), Some("q to quit"));
        let streams = text.lines().filter(|line| line.contains("model-")).count();
        assert!(text.contains(&format!("… and {} more", 60 - streams)), "{text}");
    }

    #[test]
    fn ages_grow_and_silence_of_the_daemon_is_said() {
        let mut picture = picture(1, 0);
        let later = render(&picture, None, false, T + 2.0);
        assert!(later.contains("12.0s  4.0s") && !later.contains("ago"), "{later}");
        assert!(render(&picture, None, false, T + 5.0).contains("as it was 5.0s ago: the daemon does not answer"));
        picture.failed("no daemon is listening".into());
        assert!(render(&picture, None, false, T + 1.0).contains("as it was 1.0s ago: no daemon is listening"));
    }

    #[test]
    fn clients_cannot_write_to_the_terminal() {
        let mut bad = TopPicture::new(900.0);
        let streams = vec![stream("a", "\x1b[2Jevil\n", 1, None)];
        bad.merge(AnswerRound { at: T, streams, ..AnswerRound::default() });
        let text = render(&bad, Some(TerminalSize { columns: 120, rows: 24 }), false, T);
        assert!(!text.contains('\x1b') && text.contains("·[2Jevil·"), "{text:?}");
    }
}
