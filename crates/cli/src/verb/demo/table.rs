//! The demo's table, for people, and the same as lines of JSON.

use std::time::Duration;

use crate::histogram::Histogram;
use crate::output::Line;

/// One row: a way a message can go, and how it went.
#[derive(Debug)]
pub(super) struct Row {
    /// The wire, or the two that are bridged.
    pub(super) wire: &'static str,
    /// Who asks whom.
    pub(super) direction: &'static str,
    /// What is compared.
    pub(super) checked: &'static str,
    /// Calls made, events included.
    pub(super) calls: u64,
    /// Those that did not end as they must.
    pub(super) failures: u64,
    /// How long the others took.
    pub(super) latency: Histogram,
    /// The first thing that went wrong.
    pub(super) wrong: Option<String>,
}

/// The columns. The verdict stands first, because what is last is cut off in a narrow window.
const HEAD: [&str; 8] = ["", "wire", "direction", "calls", "failures", "p50", "p99", "checked"];
/// The columns of numbers, which stand to the right.
const NUMBERS: std::ops::Range<usize> = 3..7;
/// Width of the verdict, so that a row that fails does not move the others.
const VERDICT: usize = 6;

impl Row {
    /// A row of which nothing is known yet.
    pub(super) fn new(wire: &'static str, direction: &'static str, checked: &'static str) -> Self {
        Self { wire, direction, checked, calls: 0, failures: 0, latency: Histogram::new(), wrong: None }
    }

    /// Counts one call and how it ended.
    pub(super) fn record(&mut self, span: Duration, end: Result<(), String>) {
        self.calls += 1;
        match end {
            Ok(()) => self.latency.record(span),
            Err(wrong) => {
                self.failures += 1;
                self.wrong.get_or_insert(wrong);
            }
        }
    }

    /// Did every call end as it must?
    pub(super) fn holds(&self) -> bool {
        self.failures == 0
    }

    fn cells(&self) -> [String; HEAD.len()] {
        let quantile = |share| span(self.latency.quantile(share));
        [
            if self.holds() { "ok" } else { "FAILED" }.to_owned(),
            self.wire.to_owned(),
            self.direction.to_owned(),
            self.calls.to_string(),
            self.failures.to_string(),
            quantile(0.5),
            quantile(0.99),
            self.checked.to_owned(),
        ]
    }

    /// The row as a line of JSON.
    pub(super) fn line(&self) -> Line {
        let micros = |share| self.latency.quantile(share).as_secs_f64() * 1e6;
        let line = Line::new()
            .text("wire", self.wire)
            .text("direction", self.direction)
            .flag("ok", self.holds())
            .number("calls", self.calls)
            .number("failures", self.failures)
            .decimal("p50_us", micros(0.5))
            .decimal("p99_us", micros(0.99))
            .text("checked", self.checked);
        match &self.wrong {
            Some(wrong) => line.text("wrong", wrong),
            None => line,
        }
    }
}

/// The whole table as text. Colour is for terminals only.
pub(super) fn text<'a>(rows: impl Iterator<Item = &'a Row>, colour: bool) -> String {
    let shown = |(paint, line): (Paint, String)| if colour { paint.over(&line) } else { line };
    lines(rows).into_iter().map(|line| shown(line) + "\n").collect()
}

/// Room for text, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// A table on a terminal, drawn again and again in one place.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// How many lines of the last drawing stand above the cursor.
    drawn: usize,
}

impl Live {
    /// What draws the table over the one drawn last. No line is wider than the room and not more of them are drawn than fit, because
    /// from what has wrapped or scrolled away the cursor does not find back.
    pub(super) fn draw<'a>(&mut self, rows: impl Iterator<Item = &'a Row>, room: Room) -> String {
        let mut lines = lines(rows);
        // The cursor stands below the table.
        let fit = room.rows.saturating_sub(1).max(1);
        if lines.len() > fit {
            let hidden = lines.split_off(fit - 1);
            let failed = hidden.iter().filter(|(paint, _)| *paint == Paint::Failed).count();
            let more = format!(
                " {} more rows, {failed} of them FAILED; make the window taller",
                hidden.iter().filter(|(paint, _)| *paint != Paint::Plain).count()
            );
            lines.push((if failed == 0 { Paint::Plain } else { Paint::Failed }, more));
        }
        let mut text =
            if self.drawn == 0 { String::new() } else { format!("\u{1b}[{}A\u{1b}[J", self.drawn) };
        for (paint, line) in &lines {
            let line: String = line.chars().take(room.columns).collect();
            text.push_str(&paint.over(&line));
            text.push('\n');
        }
        self.drawn = lines.len();
        text
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paint {
    Plain,
    Holds,
    Failed,
}

impl Paint {
    /// The line with its first word in colour.
    fn over(self, line: &str) -> String {
        let colour = match self {
            Self::Plain => return line.to_owned(),
            Self::Holds => 32,
            Self::Failed => 31,
        };
        let (verdict, rest) = line.split_at(line.len().min(1 + VERDICT));
        format!("\u{1b}[{colour}m{verdict}\u{1b}[0m{rest}")
    }
}

/// The head and a line for every row, each column as wide as its widest cell.
fn lines<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<(Paint, String)> {
    let mut cells = vec![(Paint::Plain, HEAD.map(str::to_owned))];
    cells.extend(rows.map(|row| (if row.holds() { Paint::Holds } else { Paint::Failed }, row.cells())));
    let mut widths = [0; HEAD.len()];
    widths[0] = VERDICT;
    for (_, row) in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |(paint, row): (Paint, [String; HEAD.len()])| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if NUMBERS.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        (paint, format!(" {}", line.trim_end()))
    };
    cells.into_iter().map(line).collect()
}

fn span(span: Duration) -> String {
    match span.as_micros() {
        0 => "-".to_owned(),
        micros @ 1..1_000 => format!("{micros} µs"),
        micros @ 1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        micros => format!("{:.1} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Room = Room { rows: 40, columns: 200 };

    /// Eight rows, of which the last but one fails.
    fn rows() -> Vec<Row> {
        let mut rows: Vec<Row> = (0..8).map(|_| Row::new("toy", "client asks", "all of it")).collect();
        for row in &mut rows {
            row.record(Duration::from_millis(3), Ok(()));
        }
        rows[6].record(Duration::ZERO, Err("lost".to_owned()));
        rows
    }

    /// A terminal, as far as the table needs one: what stands on it after text with the escapes above.
    fn screen(text: &str, room: Room, mut on: Vec<String>) -> Vec<String> {
        let mut text = text.to_owned();
        for colour in ["\u{1b}[31m", "\u{1b}[32m", "\u{1b}[0m"] {
            text = text.replace(colour, "");
        }
        if let Some(rest) = text.strip_prefix("\u{1b}[") {
            let (up, rest) = rest.split_once("A\u{1b}[J").unwrap();
            let up: usize = up.parse().unwrap();
            assert!(up < room.rows, "the cursor stops at the upper edge");
            on.truncate(on.len() - up);
            text = rest.to_owned();
        }
        for line in text.lines() {
            assert!(line.chars().count() <= room.columns && !line.contains('\u{1b}'), "{line:?} wraps");
            on.push(line.to_owned());
        }
        on
    }

    #[test]
    fn the_text_has_a_line_for_each_row_and_says_which_failed() {
        let text = text(rows().iter(), false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "         wire  direction    calls  failures     p50     p99  checked");
        assert_eq!(lines[1], " ok      toy   client asks      1         0  3.0 ms  3.0 ms  all of it");
        assert_eq!(lines[7], " FAILED  toy   client asks      2         1  3.0 ms  3.0 ms  all of it");
        assert_eq!(lines.len(), 9);
    }

    #[test]
    fn every_drawing_stands_where_the_last_one_stood() {
        for room in [
            WIDE,
            Room { rows: 10, columns: 80 },
            Room { rows: 5, columns: 20 },
            Room { rows: 2, columns: 1 },
        ] {
            let (mut live, mut rows) = (Live::default(), rows());
            let first = screen(&live.draw(rows.iter(), room), room, vec!["$ polywire demo".to_owned()]);
            rows[0].record(Duration::from_millis(3), Ok(()));
            let second = screen(&live.draw(rows.iter(), room), room, first.clone());
            assert_eq!((second[0].as_str(), second.len()), ("$ polywire demo", first.len()), "{room:?}");
            assert!(second.len() <= room.rows, "{room:?}: {second:?}");
        }
    }

    #[test]
    fn what_has_no_room_is_counted_and_a_failure_among_it_is_told() {
        let rows = rows();
        let drawn = |height| {
            let room = Room { rows: height, columns: 200 };
            screen(&Live::default().draw(rows.iter(), room), room, Vec::new())
        };
        assert_eq!(drawn(10), text(rows.iter(), false).lines().collect::<Vec<_>>());
        assert_eq!(drawn(9).last().unwrap(), " 2 more rows, 1 of them FAILED; make the window taller");
        assert_eq!(drawn(4).len(), 3);
    }

    #[test]
    fn a_window_that_grows_shows_all_of_it_again() {
        let (mut live, rows) = (Live::default(), rows());
        let small = Room { rows: 4, columns: 30 };
        let on = screen(&live.draw(rows.iter(), small), small, Vec::new());
        assert_eq!(
            screen(&live.draw(rows.iter(), WIDE), WIDE, on),
            text(rows.iter(), false).lines().collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_verdict_alone_is_in_colour() {
        let drawn = Live::default().draw(rows().iter(), WIDE);
        assert!(drawn.contains("\u{1b}[32m ok    \u{1b}[0m  toy"), "{drawn:?}");
        assert!(drawn.contains("\u{1b}[31m FAILED\u{1b}[0m  toy"), "{drawn:?}");
        assert_eq!(text(rows().iter(), true), drawn);
    }
}
