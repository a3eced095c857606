//! What is known to fail: a list of cases, so that a run fails only where something changed.

use std::collections::BTreeSet;

use super::control::Mode;

/// The modes of a case that stands alone on its line.
const BOTH: [&str; 2] = [Mode::Client.as_str(), Mode::Server.as_str()];

/// Cases that are known to fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownFailing(BTreeSet<(&'static str, String)>);

impl KnownFailing {
    /// Reads a list: one case a line, `client:ID` or `server:ID` for one mode and `ID` for both; `#` begins a comment.
    ///
    /// # Errors
    /// One sentence that names the line with a case there is not.
    pub fn parse(text: &str) -> Result<Self, String> {
        let cases = super::case::all().map_err(|error| error.to_string())?;
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
                return Err(format!("line {}: there is no case {id:?}", number + 1));
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
        let known = KnownFailing::parse("# ours\n\ncall.many # since 1.2\n  server:body.numbers\n").unwrap();
        for (mode, numbers) in [(Mode::Client, false), (Mode::Server, true)] {
            assert!(known.has(mode, "call.many") && !known.has(mode, "call.answer"), "{mode}");
            assert_eq!(known.has(mode, "body.numbers"), numbers, "{mode}");
        }
        assert_eq!(
            KnownFailing::parse("call.answer\ncal.many"),
            Err("line 2: there is no case \"cal.many\"".into())
        );
    }
}
