//! What is known to fail: a list of cases, so that a run fails only where something changed.

use std::collections::BTreeSet;

/// Cases that are known to fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownFailing(BTreeSet<String>);

impl KnownFailing {
    /// Reads a list: one case a line, `#` begins a comment.
    ///
    /// # Errors
    /// One sentence that names the line with a case there is not.
    pub fn parse(text: &str) -> Result<Self, String> {
        let cases = super::case::all().map_err(|error| error.to_string())?;
        let mut known = BTreeSet::new();
        for (number, line) in text.lines().enumerate() {
            let id = line.split('#').next().unwrap_or_default().trim();
            if id.is_empty() {
                continue;
            }
            if !cases.iter().any(|case| case.id == id) {
                return Err(format!("line {}: there is no case {id:?}", number + 1));
            }
            known.insert(id.to_owned());
        }
        Ok(Self(known))
    }

    /// Is it known to fail?
    pub fn has(&self, id: &str) -> bool {
        self.0.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_comments_and_names_cases_that_there_are() {
        let known = KnownFailing::parse("# ours\n\ncall.many # since 1.2\n  body.numbers\n").unwrap();
        assert!(known.has("call.many") && known.has("body.numbers") && !known.has("call.answer"));
        assert_eq!(
            KnownFailing::parse("call.answer\ncal.many"),
            Err("line 2: there is no case \"cal.many\"".into())
        );
    }
}
