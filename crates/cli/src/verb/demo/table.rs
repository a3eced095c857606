//! The demo's table, for people, and the same as lines of JSON.

use std::fmt::Write;
use std::time::Duration;

use crate::output::Line;

use super::probe::Probe;

/// The table as text. Colour is for terminals only.
pub(super) fn text(probes: &[Probe], colour: bool) -> String {
    let widest =
        |cell: fn(&Probe) -> &str| probes.iter().map(|probe| cell(probe).chars().count()).max().unwrap_or(0);
    let (wire, direction) = (widest(|probe| probe.wire), widest(|probe| probe.direction));
    let checked = widest(|probe| probe.checked);
    let mut text = format!(
        " {:<wire$}  {:<direction$}  {:>7}  {:>8}  {:>9}  {:>9}  checked\n",
        "wire", "direction", "calls", "failures", "p50", "p99"
    );
    for probe in probes {
        let (word, paint) = if probe.failures == 0 { ("ok", "32") } else { ("FAILED", "31") };
        let word = if colour { format!("\u{1b}[{paint}m{word}\u{1b}[0m") } else { word.to_owned() };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            " {:<wire$}  {:<direction$}  {:>7}  {:>8}  {:>9}  {:>9}  {:<checked$}  {word}",
            probe.wire,
            probe.direction,
            probe.calls,
            probe.failures,
            span(probe.latency.quantile(0.5)),
            span(probe.latency.quantile(0.99)),
            probe.checked,
        );
    }
    text
}

/// The table, for a terminal that shows the last one right above.
pub(super) fn redrawn(probes: &[Probe]) -> String {
    format!("\u{1b}[{}A{}", probes.len() + 1, text(probes, true))
}

/// One row as a line of JSON.
pub(super) fn line(probe: &Probe) -> Line {
    let micros = |share| probe.latency.quantile(share).as_secs_f64() * 1e6;
    let line = Line::new()
        .text("wire", probe.wire)
        .text("direction", probe.direction)
        .flag("ok", probe.failures == 0)
        .number("calls", probe.calls)
        .number("failures", probe.failures)
        .decimal("p50_us", micros(0.5))
        .decimal("p99_us", micros(0.99))
        .text("checked", probe.checked);
    match &probe.wrong {
        Some(wrong) => line.text("wrong", wrong),
        None => line,
    }
}

fn span(span: Duration) -> String {
    match span.as_micros() {
        0 => "-".to_owned(),
        micros @ 1..1_000 => format!("{micros} µs"),
        micros @ 1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        micros => format!("{:.1} s", micros as f64 / 1e6),
    }
}
