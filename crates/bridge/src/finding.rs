//! What is wrong with a bridge file: one finding each, with a stable id, a line and a way out.

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Works as written, but something of a message does not cross.
    Degraded,
    /// Works as written, but probably not as meant.
    Warning,
    /// The bridge does not start.
    Error,
}

impl Severity {
    /// The word as it stands in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Degraded => "degraded",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One part of the check; a report says of each whether it is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// TOML, keys and values.
    Syntax,
    /// Names that stand for something else in the file.
    References,
    /// Passwords and keys.
    Secrets,
    /// Who can reach the bridge.
    Exposure,
    /// Names of routes.
    Names,
    /// Routes that lead back to themselves.
    Loops,
    /// What the wires at both ends can carry.
    Wires,
}

impl Area {
    /// Every area, in the order of a report.
    pub const ALL: [Area; 7] = [
        Area::Syntax,
        Area::References,
        Area::Secrets,
        Area::Exposure,
        Area::Names,
        Area::Loops,
        Area::Wires,
    ];

    /// The word as it stands in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Area::Syntax => "syntax",
            Area::References => "references",
            Area::Secrets => "secrets",
            Area::Exposure => "exposure",
            Area::Names => "names",
            Area::Loops => "loops",
            Area::Wires => "wires",
        }
    }
}

macro_rules! problems {
    ($($(#[doc = $doc:literal])+ $name:ident => $id:literal, $severity:ident, $area:ident;)+) => {
        /// What can be wrong with a bridge file. The ids are stable, so that a build can allow or forbid each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Problem {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Problem {
            /// Every problem, in the order of declaration.
            pub const ALL: &'static [Problem] = &[$(Problem::$name),+];

            /// The stable id, such as `E-UNKNOWN-KEY`.
            pub const fn id(self) -> &'static str {
                match self { $(Problem::$name => $id,)+ }
            }

            /// How bad it is.
            pub const fn severity(self) -> Severity {
                match self { $(Problem::$name => Severity::$severity,)+ }
            }

            /// Which part of the check finds it.
            pub const fn area(self) -> Area {
                match self { $(Problem::$name => Area::$area,)+ }
            }
        }
    };
}

problems! {
    /// The file is no TOML.
    Syntax => "E-SYNTAX", Error, Syntax;
    /// A key that does not exist here.
    UnknownKey => "E-UNKNOWN-KEY", Error, Syntax;
    /// A key that is needed is not there.
    MissingKey => "E-MISSING-KEY", Error, Syntax;
    /// A value of another type than the key takes.
    Type => "E-TYPE", Error, Syntax;
    /// A value that the key cannot have.
    Value => "E-VALUE", Error, Syntax;
    /// A time or size without a unit, or with one that does not exist.
    Unit => "E-UNIT", Error, Syntax;
    /// More of something than is allowed.
    Limit => "E-LIMIT", Error, Syntax;
    /// Keys that do not go together.
    Conflict => "E-CONFLICT", Error, Syntax;
    /// The wire does not take its options as they are.
    Option => "E-OPTION", Error, Syntax;
    /// A wire that is not registered.
    Protocol => "E-PROTOCOL", Error, References;
    /// A route names an endpoint that does not exist.
    Reference => "E-REFERENCE", Error, References;
    /// Two routes have the same name.
    Duplicate => "E-DUPLICATE", Error, References;
    /// An endpoint that no route uses.
    Unused => "W-UNUSED", Warning, References;
    /// A secret written into the file.
    SecretLiteral => "E-SECRET-LITERAL", Error, Secrets;
    /// A secret that cannot be read.
    Secret => "E-SECRET", Error, Secrets;
    /// A secret in a file that others may read.
    SecretMode => "W-SECRET-MODE", Warning, Secrets;
    /// A server that can be reached from other machines.
    Exposure => "W-EXPOSURE", Warning, Exposure;
    /// A name that cannot be a route, or a pattern that cannot be one.
    Name => "E-NAME", Error, Names;
    /// A name that the wire uses itself.
    Reserved => "E-RESERVED", Error, Names;
    /// A name without the prefix of its endpoint.
    Prefix => "E-PREFIX", Error, Names;
    /// A route that an earlier one leaves nothing for.
    Shadowed => "E-SHADOWED", Error, Names;
    /// Routes that lead a message back to where it came from.
    Loop => "E-LOOP", Error, Loops;
    /// A direction in which a wire carries no such message.
    Direction => "E-DIRECTION", Error, Wires;
    /// Of two kinds of message only one can cross.
    OneKind => "D-KIND", Degraded, Wires;
    /// Events arrive as something else.
    Events => "D-EVENTS", Degraded, Wires;
    /// Only events of some names are heard.
    EventNames => "D-EVENT-NAMES", Degraded, Wires;
    /// Bytes do not cross as bytes.
    Binary => "D-BINARY", Degraded, Wires;
    /// Bytes cross without the name of their type.
    BinaryType => "D-BINARY-TYPE", Degraded, Wires;
    /// Only some bodies can be arguments.
    Arguments => "D-ARGUMENTS", Degraded, Wires;
    /// What has no body, or `null`, arrives as something else.
    Empty => "D-EMPTY", Degraded, Wires;
    /// Values change where a message comes in.
    Values => "D-VALUES", Degraded, Wires;
    /// Failures lose something.
    Errors => "D-ERRORS", Degraded, Wires;
    /// Fewer calls at once than the callers may make.
    Concurrency => "D-CONCURRENCY", Degraded, Wires;
    /// The other wire takes smaller bodies or shorter names.
    Size => "D-SIZE", Degraded, Wires;
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// One thing that is wrong, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub problem: Problem,
    /// How bad; differs from the problem's own only after [`Report::strict`](crate::Report::strict).
    pub severity: Severity,
    /// The line of the file, from 1; 0 for the file as a whole.
    pub line: u32,
    /// What is wrong, with the values.
    pub text: String,
    /// What to do.
    pub fix: String,
}

/// Findings as they are made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn add(
        &mut self,
        problem: Problem,
        line: u32,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let severity = problem.severity();
        self.0.push(Finding { problem, severity, line, text: text.into(), fix: fix.into() });
    }

    /// Everything found, in the order of the lines.
    pub(crate) fn into_sorted(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|finding| finding.line);
        self.0
    }
}

/// The known word that is spelled most like `word`, if one comes near.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let scored = known.into_iter().map(|known| (strsim::jaro_winkler(&word, &known.to_lowercase()), known));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

/// `did you mean ..?` where one of these comes near, or else what `otherwise` says.
pub(crate) fn near_or<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
    otherwise: impl FnOnce() -> String,
) -> String {
    nearest(word, known).map_or_else(otherwise, |near| format!("did you mean `{near}`?"))
}

/// `did you mean ..?` or the list of what there is.
pub(crate) fn suggest(word: &str, known: &[&str]) -> String {
    near_or(word, known.iter().copied(), || match known {
        [] => "remove it".to_owned(),
        _ => format!("known here: {}", known.join(", ")),
    })
}
