//! Which names a route takes, and what it makes of them.

use std::fmt;

use polywire_core::Route;

/// A name, or a name with one `*` that stands for any text, also for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(crate) head: String,
    /// What follows the `*`; `None` without one.
    pub(crate) tail: Option<String>,
}

impl Pattern {
    /// Reads a pattern; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > Route::MAX_BYTES {
            return Err("is longer than the 255 bytes a name may have");
        }
        match text.split_once('*') {
            None => Ok(Self { head: text.to_owned(), tail: None }),
            Some((_, tail)) if tail.contains('*') => Err("has more than one `*`"),
            Some((head, tail)) => Ok(Self { head: head.to_owned(), tail: Some(tail.to_owned()) }),
        }
    }

    pub(crate) fn is_exact(&self) -> bool {
        self.tail.is_none()
    }

    /// What the `*` stands for in `name`, or nothing for an exact match; `None` when `name` does not match.
    pub(crate) fn matched<'n>(&self, name: &'n str) -> Option<&'n str> {
        match &self.tail {
            None => (self.head == name).then_some(""),
            // Nothing is not looked for: most patterns are a `*` alone, and some processors are slow to compare nothing.
            Some(tail) => {
                let rest = if self.head.is_empty() { name } else { name.strip_prefix(&*self.head)? };
                if tail.is_empty() { Some(rest) } else { rest.strip_suffix(&**tail) }
            }
        }
    }

    /// Does this match everything that `other` matches?
    pub(crate) fn covers(&self, other: &Pattern) -> bool {
        match (&self.tail, &other.tail) {
            (_, None) => self.matched(&other.head).is_some(),
            (None, Some(_)) => false,
            (Some(tail), Some(others)) => other.head.starts_with(&*self.head) && others.ends_with(&**tail),
        }
    }

    /// Is there a name that both match?
    pub(crate) fn overlaps(&self, other: &Pattern) -> bool {
        match (&self.tail, &other.tail) {
            (None, _) => other.matched(&self.head).is_some(),
            (_, None) => self.matched(&other.head).is_some(),
            (Some(one), Some(two)) => {
                (self.head.starts_with(&*other.head) || other.head.starts_with(&*self.head))
                    && (one.ends_with(&**two) || two.ends_with(&**one))
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tail {
            None => f.write_str(&self.head),
            Some(tail) => write!(f, "{}*{tail}", self.head),
        }
    }
}

/// What name a message goes on under.
#[derive(Clone, Debug)]
pub(crate) enum Naming {
    /// The one it came with.
    Same,
    /// This one.
    Fixed(Route),
    /// The part that the `*` stood for, between these two.
    Around { head: String, tail: String },
}

impl Naming {
    /// The name to go on under.
    ///
    /// # Errors
    /// How many bytes it would have, when that is more than a route may have.
    pub(crate) fn apply(&self, came: Route, pattern: &Pattern) -> Result<Route, usize> {
        match self {
            Naming::Same => Ok(came),
            Naming::Fixed(route) => Ok(route.clone()),
            Naming::Around { head, tail } => {
                let part = pattern.matched(&came).unwrap_or_default();
                let bytes = head.len().saturating_add(part.len()).saturating_add(tail.len());
                let route = if head.is_empty() && tail.is_empty() {
                    // The rest of the name stands in the bytes received: share them.
                    let start = pattern.head.len();
                    Route::from_bytes(came.to_bytes().slice(start..start.saturating_add(part.len())))
                } else {
                    let mut name = String::with_capacity(bytes);
                    name.extend([&**head, part, &**tail]);
                    Route::new(name)
                };
                route.map_err(|_| bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn matches_names_and_hands_on_the_part_of_the_star() {
        for (text, name, part) in [
            ("echo", "echo", Some("")),
            ("echo", "echo2", None),
            ("pose.*", "pose.left", Some("left")),
            ("pose.*", "pose.", Some("")),
            ("pose.*", "pose", None),
            ("*", "", Some("")),
            ("*.done", "a.b.done", Some("a.b")),
            ("aa*aa", "aaa", None),
            ("aa*aa", "aaaa", Some("")),
            ("é*", "éa", Some("a")),
        ] {
            assert_eq!(pattern(text).matched(name), part, "{text} on {name}");
        }
        assert!(Pattern::parse("a*b*").is_err() && Pattern::parse(&"x".repeat(256)).is_err());
    }

    #[test]
    fn knows_what_covers_and_what_overlaps() {
        for (one, two, covers, overlaps) in [
            ("*", "pose.*", true, true),
            ("pose.*", "*", false, true),
            ("pose.*", "pose.x", true, true),
            ("pose.x", "pose.*", false, true),
            ("a*", "b*", false, false),
            ("a*c", "a*d", false, false),
            ("a*", "*d", false, true),
            ("x", "x", true, true),
            ("x", "y", false, false),
        ] {
            assert_eq!(pattern(one).covers(&pattern(two)), covers, "{one} covers {two}");
            assert_eq!(pattern(one).overlaps(&pattern(two)), overlaps, "{one} overlaps {two}");
            assert_eq!(pattern(two).overlaps(&pattern(one)), overlaps, "{two} overlaps {one}");
        }
    }

    #[test]
    fn renames_without_exceeding_what_a_route_may_have() {
        let around = |head: &str, tail: &str| Naming::Around { head: head.into(), tail: tail.into() };
        let came = || Route::from_static("pose.left");
        let named = |naming: Naming| naming.apply(came(), &pattern("pose.*")).unwrap().to_string();
        assert_eq!(named(Naming::Same), "pose.left");
        assert_eq!(named(Naming::Fixed(Route::from_static("p"))), "p");
        assert_eq!(named(around("arm.", ".now")), "arm.left.now");
        assert_eq!(named(around("", "")), "left");
        assert_eq!(around(&"x".repeat(252), "").apply(came(), &pattern("pose.*")), Err(256));
    }
}
