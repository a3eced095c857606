//! What was measured: one table for people, one JSON line a figure for scripts.

use std::collections::BTreeMap;

use crate::accounting::median;

/// One figure of one contender: the median of its runs.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// The scenario.
    pub(crate) scenario: String,
    /// Who.
    pub(crate) contender: &'static str,
    /// What, with its unit.
    pub(crate) what: String,
    /// The median.
    pub(crate) median: f64,
    /// The smallest and the largest run.
    pub(crate) spread: (f64, f64),
}

/// Adds the figure that these values of the runs make, and gives back their median.
pub(crate) fn add(
    figures: &mut Vec<Figure>,
    scenario: &str,
    contender: &'static str,
    what: &str,
    values: impl IntoIterator<Item = f64>,
) -> f64 {
    let mut values = values.into_iter().collect::<Vec<_>>();
    let median = median(&mut values);
    let spread = (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(0.0));
    figures.push(Figure { scenario: scenario.to_owned(), contender, what: what.to_owned(), median, spread });
    median
}

/// A bar that a figure is held against.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    scenario: String,
    text: String,
    reached: f64,
    asked: f64,
    at_most: bool,
}

impl Bar {
    /// `reached` must not be more than `asked`.
    pub(crate) fn at_most(scenario: &str, text: &str, reached: f64, asked: f64) -> Self {
        Self { scenario: scenario.to_owned(), text: text.to_owned(), reached, asked, at_most: true }
    }

    /// `reached` must not be less than `asked`.
    pub(crate) fn at_least(scenario: &str, text: &str, reached: f64, asked: f64) -> Self {
        Self { at_most: false, ..Self::at_most(scenario, text, reached, asked) }
    }

    fn met(&self) -> bool {
        if self.at_most { self.reached <= self.asked } else { self.reached >= self.asked }
    }

    fn line(&self) -> String {
        let word = if self.met() { "met   " } else { "MISSED" };
        let sign = if self.at_most { "<=" } else { ">=" };
        format!("  {word} {}: {} {sign} {}", self.text, number(self.reached), number(self.asked))
    }
}

/// Prints the figures, and below those of each scenario its bars.
pub(crate) fn print(figures: &[Figure], bars: &[Bar]) {
    let mut scenarios = figures.iter().map(|figure| &*figure.scenario).collect::<Vec<_>>();
    scenarios.dedup();
    for scenario in scenarios {
        eprintln!("\n{}", table(scenario, figures));
        for bar in bars.iter().filter(|bar| bar.scenario == scenario) {
            eprintln!("{}", bar.line());
        }
    }
    let met = bars.iter().filter(|bar| bar.met()).count();
    eprintln!("\n{met} of {} bars met", bars.len());
    for bar in bars.iter().filter(|bar| !bar.met()) {
        eprintln!("{}, {}", bar.line(), bar.scenario);
    }
    for figure in figures {
        let line = serde_json::json!({
            "scenario": figure.scenario, "contender": figure.contender, "what": figure.what,
            "median": figure.median, "least": figure.spread.0, "most": figure.spread.1,
        });
        println!("{line}");
    }
    for bar in bars {
        let line = serde_json::json!({
            "bar": bar.text, "scenario": bar.scenario, "reached": bar.reached, "asked": bar.asked,
            "at_most": bar.at_most, "met": bar.met(),
        });
        println!("{line}");
    }
}

/// A row for each contender and a column for each figure, the first row naming what they are.
fn table(scenario: &str, figures: &[Figure]) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut columns: Vec<&str> = Vec::new();
    let mut cells = BTreeMap::new();
    for figure in figures.iter().filter(|figure| figure.scenario == scenario) {
        if !names.contains(&figure.contender) {
            names.push(figure.contender);
        }
        if !columns.contains(&&*figure.what) {
            columns.push(&figure.what);
        }
        cells.insert((figure.contender, &*figure.what), cell(figure));
    }
    let first = names.iter().map(|name| name.len() + 2).max().unwrap_or_default().max(scenario.len());
    let mut lines = vec![format!("{scenario:<first$}")];
    lines.extend(names.iter().map(|name| format!("  {name:<width$}", width = first - 2)));
    for what in columns {
        let column: Vec<&str> =
            names.iter().map(|name| cells.get(&(*name, what)).map_or("", String::as_str)).collect();
        let width = column.iter().map(|cell| cell.chars().count()).chain([what.len()]).max();
        let width = width.unwrap_or_default();
        for (line, cell) in lines.iter_mut().zip([what].into_iter().chain(column)) {
            *line += &format!("   {cell:>width$}");
        }
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// The median, and how far the runs are from it.
fn cell(figure: &Figure) -> String {
    let (least, most) = figure.spread;
    let off = (figure.median - least).max(most - figure.median) / figure.median.abs().max(f64::MIN_POSITIVE);
    // One that was measured or computed once has no spread.
    let spread = if least < most { format!(" ±{:>2.0} %", off * 100.0) } else { " ".repeat(6) };
    format!("{}{spread}", number(figure.median))
}

/// Three decimals of what is small, none of what is large.
fn number(value: f64) -> String {
    let decimals = if value.abs() < 100.0 { 3 } else { 0 };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contender_is_a_row_and_a_figure_a_column() {
        let mut figures = Vec::new();
        assert_eq!(add(&mut figures, "s", "ours", "CPU us", [0.51, 0.45, 0.5]), 0.5);
        add(&mut figures, "s", "ours", "calls", [1_300.0, 1_200.0, 1_234.5]);
        add(&mut figures, "s", "theirs", "CPU us", [5.0]);
        let lines = [
            "s               CPU us        calls",
            "  ours     0.500 ±10 %   1234 ± 5 %",
            "  theirs   5.000",
        ];
        assert_eq!(table("s", &figures), lines.join("\n"));
    }

    #[test]
    fn a_bar_is_met_on_its_own_side() {
        assert_eq!(Bar::at_most("s", "t", 1.0, 1.0).line(), "  met    t: 1.000 <= 1.000");
        assert_eq!(Bar::at_least("s", "t", 0.9, 1.0).line(), "  MISSED t: 0.900 >= 1.000");
    }
}
