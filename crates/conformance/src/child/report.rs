//! What a run found, for people, for scripts and for what reads JUnit.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::control::Mode;

/// How one case went.
#[derive(Clone, Debug)]
pub struct CaseReport {
    /// The case.
    pub id: String,
    /// Its sentence.
    pub says: String,
    /// Which end the program was.
    pub mode: Mode,
    /// How it went.
    pub verdict: Verdict,
    /// Why it failed, or what was not there.
    pub why: Option<String>,
    /// What passed on the wire of a case that failed, where that was asked for; `>` goes to the end that listens.
    pub trace: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// How a case went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// What the case says was shown.
    Held,
    /// Something that it needs is not there, and that was refused as it should be.
    Refused,
    /// Something that it needs is not there, and no refusal can be shown: nothing was run.
    NotShown,
    /// It does not hold.
    Failed,
    /// It does not hold, and that was known.
    KnownFailure,
    /// It holds, and was known to fail.
    UnexpectedPass,
}

impl Verdict {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Refused => "refused",
            Self::NotShown => "not_shown",
            Self::Failed => "failed",
            Self::KnownFailure => "known_failure",
            Self::UnexpectedPass => "unexpected_pass",
        }
    }

    /// Is it a finding?
    pub const fn is_finding(self) -> bool {
        matches!(self, Self::Failed | Self::UnexpectedPass)
    }
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every case, in order.
    pub cases: Vec<CaseReport>,
}

#[derive(Serialize)]
struct CaseLine<'a> {
    case: &'a str,
    mode: &'a str,
    verdict: Verdict,
    says: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    seconds: f64,
}

#[derive(Serialize)]
struct EndLine {
    cases: usize,
    held: usize,
    refused: usize,
    not_shown: usize,
    failed: usize,
    known_failures: usize,
    unexpected_passes: usize,
}

impl CaseReport {
    /// For people: a line, and what is to be said about it below.
    pub fn to_text(&self) -> String {
        let mark = match self.verdict {
            Verdict::Held => "held",
            Verdict::Refused => "refused",
            Verdict::NotShown => "unshown",
            Verdict::Failed => "FAILED",
            Verdict::KnownFailure => "known",
            Verdict::UnexpectedPass => "PASSES",
        };
        let mut text = format!("  {mark:<8} {:<22} {}\n", self.id, self.says);
        if self.verdict == Verdict::UnexpectedPass {
            text.push_str("           it is listed as known to fail, and it holds: take it off the list\n");
        }
        for line in self.why.iter().flat_map(|why| why.lines()) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "           {line}");
        }
        for line in self.trace.iter().flat_map(|trace| trace.lines()) {
            let _ = writeln!(text, "           {line}");
        }
        text
    }

    /// For scripts: one line of JSON.
    pub fn to_json(&self) -> String {
        let line = CaseLine {
            case: &self.id,
            mode: self.mode.as_str(),
            verdict: self.verdict,
            says: &self.says,
            why: self.why.as_deref(),
            trace: self.trace.as_deref(),
            seconds: (self.took.as_secs_f64() * 1_000.0).round() / 1_000.0,
        };
        serde_json::to_string(&line).unwrap_or_default()
    }
}

impl Report {
    fn count(&self, verdict: Verdict) -> usize {
        self.cases.iter().filter(|case| case.verdict == verdict).count()
    }

    /// The cases that fail the run.
    pub fn findings(&self) -> usize {
        self.cases.iter().filter(|case| case.verdict.is_finding()).count()
    }

    /// For people: the counts.
    pub fn summary(&self) -> String {
        format!(
            "{} cases: {} held, {} refused, {} not shown, {} failed, {} known to fail, {} listed as failing that hold",
            self.cases.len(),
            self.count(Verdict::Held),
            self.count(Verdict::Refused),
            self.count(Verdict::NotShown),
            self.count(Verdict::Failed),
            self.count(Verdict::KnownFailure),
            self.count(Verdict::UnexpectedPass),
        )
    }

    /// For scripts: the counts as one line of JSON.
    pub fn to_json(&self) -> String {
        let line = EndLine {
            cases: self.cases.len(),
            held: self.count(Verdict::Held),
            refused: self.count(Verdict::Refused),
            not_shown: self.count(Verdict::NotShown),
            failed: self.count(Verdict::Failed),
            known_failures: self.count(Verdict::KnownFailure),
            unexpected_passes: self.count(Verdict::UnexpectedPass),
        };
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// As JUnit: a suite for each mode. What was refused held, and says so in its output; what was not shown or is known
    /// to fail is skipped.
    pub fn to_junit(&self) -> String {
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
        for mode in [Mode::Client, Mode::Server] {
            let cases: Vec<_> = self.cases.iter().filter(|case| case.mode == mode).collect();
            if cases.is_empty() {
                continue;
            }
            let failures = cases.iter().filter(|case| case.verdict.is_finding()).count();
            let skips = |verdict| matches!(verdict, Verdict::KnownFailure | Verdict::NotShown);
            let skipped = cases.iter().filter(|case| skips(case.verdict)).count();
            let took: Duration = cases.iter().map(|case| case.took).sum();
            let _ = writeln!(
                text,
                "  <testsuite name=\"polywire.{mode}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{:.3}\">",
                cases.len(),
                took.as_secs_f64()
            );
            for case in cases {
                junit_case(&mut text, case);
            }
            text.push_str("  </testsuite>\n");
        }
        text.push_str("</testsuites>\n");
        text
    }
}

fn junit_case(text: &mut String, case: &CaseReport) {
    let (id, time) = (attribute(&case.id), case.took.as_secs_f64());
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "    <testcase classname=\"polywire.{}\" name=\"{id}\" time=\"{time:.3}\">",
        case.mode
    );
    let why = case.why.as_deref().unwrap_or_default();
    let message = attribute(why.lines().next().unwrap_or_default());
    match case.verdict {
        Verdict::Failed => {
            let whole = format!("{}\n{why}\n{}", case.says, case.trace.as_deref().unwrap_or_default());
            let _ = writeln!(text, "      <failure message=\"{message}\">{}</failure>", attribute(&whole));
        }
        Verdict::UnexpectedPass => {
            let _ = writeln!(text, "      <failure message=\"listed as known to fail, and it holds\"/>");
        }
        Verdict::KnownFailure => {
            let _ = writeln!(text, "      <skipped message=\"known to fail: {message}\"/>");
        }
        Verdict::NotShown => {
            let _ = writeln!(text, "      <skipped message=\"not shown: {message}\"/>");
        }
        Verdict::Refused => {
            let _ = writeln!(text, "      <system-out>refused: {}</system-out>", attribute(why));
        }
        Verdict::Held => {}
    }
    text.push_str("    </testcase>\n");
}

/// Text for XML: escaped, without what XML cannot hold.
fn attribute(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let case = |id: &str, verdict, why: Option<&str>| CaseReport {
            id: id.to_owned(),
            says: "It holds.".to_owned(),
            mode: Mode::Server,
            verdict,
            why: why.map(str::to_owned),
            trace: None,
            took: Duration::from_millis(1_234),
        };
        Report {
            cases: vec![
                case("a", Verdict::Held, None),
                case("b", Verdict::Failed, Some("expected <a> & \"b\"\u{0}")),
                case("c", Verdict::Refused, Some("this wire has no bytes")),
                case("d", Verdict::KnownFailure, Some("not yet")),
                case("e", Verdict::UnexpectedPass, None),
                case("f", Verdict::NotShown, Some("this wire has no login")),
            ],
        }
    }

    #[test]
    fn the_three_reports_say_the_same() {
        let report = report();
        assert_eq!(report.findings(), 2);
        let end: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(
            (&end["cases"], &end["failed"], &end["unexpected_passes"], &end["refused"], &end["not_shown"]),
            (&6.into(), &1.into(), &1.into(), &1.into(), &1.into())
        );
        let line: serde_json::Value = serde_json::from_str(&report.cases[1].to_json()).unwrap();
        assert_eq!(
            (&line["case"], &line["verdict"], &line["mode"]),
            (&"b".into(), &"failed".into(), &"server".into())
        );
        assert_eq!(line["seconds"], 1.234);
        assert!(report.cases[1].to_text().starts_with("  FAILED   b "), "{}", report.cases[1].to_text());
        assert!(report.cases[4].to_text().contains("take it off the list"));
        assert!(report.summary().contains("1 refused, 1 not shown, 1 failed"), "{}", report.summary());
        let junit = report.to_junit();
        assert!(junit.contains("<skipped message=\"not shown: this wire has no login\"/>"), "{junit}");
        assert!(junit.contains("tests=\"6\" failures=\"2\" errors=\"0\" skipped=\"2\""), "{junit}");
        assert!(junit.contains("message=\"expected &lt;a&gt; &amp; &quot;b&quot;\u{fffd}\""), "{junit}");
        assert!(!junit.contains("client"), "{junit}");
    }
}
