//! The outcome of a check, for people and for programs.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use crate::finding::{Area, Finding, Problem, Severity};

/// Everything a check has found about one bridge file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The file.
    pub file: String,
    /// How many endpoints it has.
    pub endpoints: usize,
    /// Its routes, in file order, with what each of them loses. Routes that could not be understood are missing.
    pub routes: Vec<RouteReport>,
    /// What is wrong, in the order of the lines.
    pub findings: Vec<Finding>,
    /// Could the file not be read as TOML, or is it nested too deep? Then nothing else of it was looked at.
    pub unreadable: bool,
}

/// What one route carries and what it loses.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteReport {
    /// Its name, or what it matches.
    pub title: String,
    /// Where it begins in the file, from 1.
    pub line: u32,
    /// The endpoint and names it takes from.
    pub from: String,
    /// The endpoint and names it hands on to.
    pub to: String,
    /// The parts of an exchange, each with a verdict.
    pub aspects: Vec<Aspect>,
}

/// One part of an exchange on one route.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Aspect {
    /// Which part: `request`, `event`, `reply`, `errors`, `order`, `cancel` or `progress`.
    pub name: &'static str,
    /// How it crosses.
    pub verdict: Verdict,
    /// In words; may be empty.
    pub text: String,
    /// The problem it was reported as.
    pub problem: Option<Problem>,
}

/// How something crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is lost.
    Lossless,
    /// Something is lost or changed.
    Degraded,
    /// It does not cross.
    NotCarried,
}

impl Verdict {
    /// The words as they stand in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Lossless => "lossless",
            Verdict::Degraded => "degraded",
            Verdict::NotCarried => "not carried",
        }
    }
}

impl Report {
    /// The same report with every warning as an error.
    #[must_use]
    pub fn strict(mut self) -> Self {
        for finding in &mut self.findings {
            if finding.severity == Severity::Warning {
                finding.severity = Severity::Error;
            }
        }
        self
    }

    /// How many errors there are; with none the bridge can start.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// How many findings of this severity there are.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// The report for people, as plain text.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing into a string cannot fail.
        let _ = self.write_text(&mut out);
        out
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        if self.unreadable {
            writeln!(out, "{}: not read any further than its TOML\n", self.file)?;
        } else {
            let (endpoints, routes) =
                (counted(self.endpoints, "endpoint"), counted(self.routes.len(), "route"));
            let only = if self.errors() > 0 { " understood" } else { "" };
            writeln!(out, "{}: {endpoints}, {routes}{only}\n", self.file)?;
        }
        for area in Area::ALL {
            let shown =
                |finding: &&Finding| finding.problem.area() == area && finding.severity != Severity::Degraded;
            let worst = self.findings.iter().filter(shown).map(|finding| finding.severity).max();
            let word = match worst {
                Some(worst) => worst.as_str(),
                None if self.unreadable => "unknown",
                None => "ok",
            };
            writeln!(out, " {word:<8} {}", area.as_str())?;
            for finding in self.findings.iter().filter(shown) {
                let Finding { problem, line, text, fix, .. } = finding;
                let place = if *line == 0 { self.file.clone() } else { format!("{}:{line}", self.file) };
                writeln!(out, "          {place}: {text} [{problem}]\n              {fix}")?;
            }
        }
        for (place, route) in self.routes.iter().enumerate() {
            writeln!(out, "\n route {} {:?}: {} -> {}", place + 1, route.title, route.from, route.to)?;
            for aspect in &route.aspects {
                let id = aspect.problem.map(|problem| format!(" [{problem}]")).unwrap_or_default();
                let line =
                    format!("     {:<9} {:<12} {}{id}", aspect.name, aspect.verdict.as_str(), aspect.text);
                writeln!(out, "{}", line.trim_end())?;
            }
        }
        let degraded = self.count(Severity::Degraded);
        let errors = counted(self.errors(), "error");
        let warnings = counted(self.count(Severity::Warning), "warning");
        writeln!(out, "\n {errors}, {warnings}, {degraded} degraded")
    }

    /// Writes the report for programs: one JSON object a line, first the findings, then the routes, then the sum.
    ///
    /// # Errors
    /// Whatever `out` reports.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        for finding in &self.findings {
            let Finding { problem, severity, line, text, fix } = finding;
            let record = FindingRecord {
                record: "finding",
                id: problem.id(),
                severity: severity.as_str(),
                area: problem.area().as_str(),
                file: &self.file,
                line: *line,
                text,
                fix,
            };
            write_line(out, &record)?;
        }
        for route in &self.routes {
            let aspects = route.aspects.iter().map(|aspect| AspectRecord {
                name: aspect.name,
                verdict: aspect.verdict.as_str(),
                text: &aspect.text,
                id: aspect.problem.map(Problem::id),
            });
            let RouteReport { title, line, from, to, .. } = route;
            let aspects = aspects.collect();
            write_line(out, &RouteRecord { record: "route", route: title, line: *line, from, to, aspects })?;
        }
        let record = SumRecord {
            record: "sum",
            file: &self.file,
            errors: self.errors(),
            warnings: self.count(Severity::Warning),
            degraded: self.count(Severity::Degraded),
            unreadable: self.unreadable,
        };
        write_line(out, &record)
    }
}

/// So many of something, in words.
pub(crate) fn counted(count: usize, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

fn write_line(out: &mut impl Write, record: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, record)?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
struct FindingRecord<'a> {
    record: &'static str,
    id: &'static str,
    severity: &'static str,
    area: &'static str,
    file: &'a str,
    line: u32,
    text: &'a str,
    fix: &'a str,
}

#[derive(Serialize)]
struct RouteRecord<'a> {
    record: &'static str,
    route: &'a str,
    line: u32,
    from: &'a str,
    to: &'a str,
    aspects: Vec<AspectRecord<'a>>,
}

#[derive(Serialize)]
struct AspectRecord<'a> {
    name: &'static str,
    verdict: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'static str>,
}

#[derive(Serialize)]
struct SumRecord<'a> {
    record: &'static str,
    file: &'a str,
    errors: usize,
    warnings: usize,
    degraded: usize,
    unreadable: bool,
}
