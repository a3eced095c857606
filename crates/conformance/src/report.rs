//! Findings gathered: as text for people, as lines for programs, and as the table of a README.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::{fs, io};

use crate::finding::{Direction, Finding, Verdict};
use crate::guarantee::guarantees;

/// The variable that names the folder which tests leave their findings in.
pub(crate) const FOLDER: &str = "POLYWIRE_CONFORMANCE";

/// The findings of one or several adapters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// A report of these findings.
    pub fn new(findings: Vec<Finding>) -> Self {
        Self { findings }
    }

    /// Reads what tests have left in a folder. A folder that is not there holds nothing.
    ///
    /// # Errors
    /// When a file cannot be read, or holds something else.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut findings = Vec::new();
        for adapter in entries(folder)? {
            for file in entries(&adapter)? {
                findings.extend(Self::parse(&fs::read_to_string(&file)?)?.findings);
            }
        }
        Ok(Self { findings })
    }

    /// Reads what [`to_ndjson`](Self::to_ndjson) wrote.
    ///
    /// # Errors
    /// When a line is no finding.
    pub fn parse(lines: &str) -> io::Result<Self> {
        let findings =
            lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect::<io::Result<_>>()?;
        Ok(Self { findings })
    }

    /// The findings, in the order they were given.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The same findings without the reasons of those that failed, in the order of adapters, guarantees and directions.
    #[must_use]
    pub fn verdicts(&self) -> Self {
        let place = |finding: &Finding| guarantees().iter().position(|it| it.name == finding.guarantee);
        let mut findings: Vec<_> =
            self.findings.iter().map(|finding| Finding { why: None, ..finding.clone() }).collect();
        findings
            .sort_by(|a, b| (&a.adapter, place(a), a.direction).cmp(&(&b.adapter, place(b), b.direction)));
        Self { findings }
    }

    /// Has nothing failed? A report of nothing shows nothing, and is not good.
    pub fn is_good(&self) -> bool {
        !self.findings.is_empty() && self.findings.iter().all(|finding| finding.verdict != Verdict::Failed)
    }

    /// A line of JSON for each finding.
    pub fn to_ndjson(&self) -> String {
        self.findings.iter().fold(String::new(), |mut lines, finding| {
            // A finding is text and words, which all have a JSON form.
            lines.push_str(&serde_json::to_string(finding).unwrap_or_default());
            lines.push('\n');
            lines
        })
    }

    /// For people: how many were run, refused and failed for each adapter, and why those failed.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for adapter in self.adapters() {
            let count = |verdict| {
                self.findings.iter().filter(|it| it.adapter == adapter && it.verdict == verdict).count()
            };
            let [held, refused, failed] = [Verdict::Held, Verdict::Refused, Verdict::Failed].map(count);
            let run = held + refused + failed;
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{adapter:<10} {run:>3} run, {held:>3} held, {refused:>2} refused, {failed:>2} failed"
            );
        }
        for finding in &self.findings {
            if let Some(why) = &finding.why {
                let Finding { adapter, guarantee, direction, .. } = finding;
                let _ = writeln!(text, "failed: {adapter} {guarantee} {direction}: {why}");
            }
        }
        text
    }

    /// A Markdown table: a row for each guarantee, a column for each adapter. Where the directions came out differently, that of the
    /// side that dials stands first.
    pub fn to_markdown(&self) -> String {
        let adapters = self.adapters();
        let found: BTreeMap<_, _> = self
            .findings
            .iter()
            .map(|it| ((&*it.guarantee, &*it.adapter, it.direction), it.verdict))
            .collect();
        let mut table = "| what is owed |".to_owned();
        for adapter in &adapters {
            let _ = write!(table, " {adapter} |");
        }
        let _ = writeln!(table, "\n|---|{}", "---|".repeat(adapters.len()));
        for guarantee in guarantees() {
            let _ = write!(table, "| {} |", guarantee.sentence);
            for adapter in &adapters {
                let verdict = |way| found.get(&(guarantee.name, *adapter, way)).copied();
                let cell = match [Direction::Forward, Direction::Swapped].map(verdict) {
                    [Some(forward), Some(swapped)] if forward != swapped => format!("{forward}, {swapped}"),
                    [Some(verdict), _] | [None, Some(verdict)] => verdict.to_string(),
                    [None, None] => "not run".to_owned(),
                };
                let _ = write!(table, " {cell} |");
            }
            table.push('\n');
        }
        table
    }

    fn adapters(&self) -> BTreeSet<&str> {
        self.findings.iter().map(|finding| &*finding.adapter).collect()
    }
}

/// What is in a folder, by name.
fn entries(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(found) => {
            let mut paths = found.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
            paths.sort();
            Ok(paths)
        }
    }
}
