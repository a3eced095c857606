//! What was measured: one JSON line a figure for scripts, one table for people.

/// One figure of one contender: the median of its runs.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// The scenario.
    pub(crate) scenario: String,
    /// Who.
    pub(crate) contender: &'static str,
    /// What, with its unit.
    pub(crate) what: &'static str,
    /// The median.
    pub(crate) median: f64,
    /// The smallest and the largest run.
    pub(crate) spread: (f64, f64),
}

/// A bar that a figure is held against.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// The scenario.
    pub(crate) scenario: String,
    /// The sentence.
    pub(crate) text: String,
    /// What was reached.
    pub(crate) reached: f64,
    /// What was asked for.
    pub(crate) asked: f64,
    /// Is smaller better?
    pub(crate) at_most: bool,
}

impl Bar {
    /// Was it reached?
    pub(crate) fn met(&self) -> bool {
        if self.at_most { self.reached <= self.asked } else { self.reached >= self.asked }
    }
}

/// Prints the figures and bars.
pub(crate) fn print(figures: &[Figure], bars: &[Bar]) {
    let mut last = "";
    for figure in figures {
        if figure.scenario != last {
            eprintln!("\n{}", figure.scenario);
            last = &figure.scenario;
        }
        let (least, most) = figure.spread;
        eprintln!(
            "  {:<22} {:<28} {:>12.3}   ({least:.3} to {most:.3})",
            figure.contender, figure.what, figure.median
        );
        let line = serde_json::json!({
            "scenario": figure.scenario, "contender": figure.contender, "what": figure.what,
            "median": figure.median, "least": least, "most": most,
        });
        println!("{line}");
    }
    eprintln!("\nbars");
    for bar in bars {
        let (word, sign) =
            (if bar.met() { "met   " } else { "MISSED" }, if bar.at_most { "<=" } else { ">=" });
        eprintln!("  {word} {:<34} {}: {:.3} {sign} {:.3}", bar.scenario, bar.text, bar.reached, bar.asked);
        let line = serde_json::json!({
            "bar": bar.text, "scenario": bar.scenario, "reached": bar.reached, "asked": bar.asked, "at_most": bar.at_most, "met": bar.met(),
        });
        println!("{line}");
    }
}
