//! What is known to fail: a list of cases, so that a run fails only where something changed.

use std::collections::BTreeSet;

use super::case::Case;
use super::control::Mode;

/// The modes of a case that stands alone on its line.
const BOTH: [&str; 2] = [Mode::Client.as_str(), Mode::Server.as_str()];

/// A line of such a list that names no case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: there is no case {id:?}")]
pub struct NoSuchCase {
    /// The line, from 1 on.
    pub line: usize,
    /// What it names.
    pub id: String,
}

/// Cases that are known to fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownFailing(BTreeSet<(&'static str, String)>);

impl KnownFailing {
    /// Reads a list of some of these: one case a line, `client:ID` or `server:ID` for one mode and `ID` for both; `#` begins a comment.
    ///
    /// # Errors
    /// When a line names none of them.
    pub fn parse(text: &str, cases: &[Case]) -> Result<Self, NoSuchCase> {
        let mut known = BTreeSet::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let one = |mode: Mode| {
                Some((vec![mode.as_str()], line.strip_prefix(mode.as_str())?.strip_prefix(':')?))
            };
            let (modes, id) =
                one(Mode::Client).or_else(|| one(Mode::Server)).unwrap_or_else(|| (BOTH.to_vec(), line));
            if !cases.iter().any(|case| case.id == id) {
                return Err(NoSuchCase { line: number + 1, id: id.to_owned() });
            }
            known.extend(modes.into_iter().map(|mode| (mode, id.to_owned())));
        }
        Ok(Self(known))
    }

    /// Is it known to fail in this mode?
    pub fn has(&self, mode: Mode, id: &str) -> bool {
        self.0.contains(&(mode.as_str(), id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_comments_and_names_cases_that_there_are() {
        let cases = super::super::cases().unwrap();
        let list = "# ours\n\ncall.many # since 1.2\n  server:body.numbers\n";
        let known = KnownFailing::parse(list, &cases).unwrap();
        for (mode, numbers) in [(Mode::Client, false), (Mode::Server, true)] {
            assert!(known.has(mode, "call.many") && !known.has(mode, "call.answer"), "{mode}");
            assert_eq!(known.has(mode, "body.numbers"), numbers, "{mode}");
        }
        let error = KnownFailing::parse("call.answer\ncal.many", &cases).unwrap_err();
        assert_eq!(error.to_string(), "line 2: there is no case \"cal.many\"");
    }
}
