//! The cases, as data: `cases.toml` read into types.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::control::Feature;
use super::step::Step;

/// The file with the cases.
const FILE: &str = include_str!("../../cases.toml");

/// One case: a sentence, what it needs, and the steps that show it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name in reports and in lists of what is known to fail.
    pub id: String,
    /// What is shown.
    pub says: String,
    /// What the wire and the program must have for it.
    #[serde(default)]
    pub(super) needs: Vec<Need>,
    /// The secret with which the other end is approached.
    #[serde(default)]
    pub(super) secret: WhichSecret,
    /// What is done and expected.
    pub(super) steps: Vec<Step>,
    /// What is done instead where the wire has not what is needed, by that: what shows the refusal. Where nothing stands here, nothing is
    /// run.
    #[serde(default)]
    pub(super) without: BTreeMap<Need, Vec<Step>>,
}

/// What a case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Need {
    ClientEvents,
    Push,
    ServerCalls,
    Binary,
    GiveUp,
    /// The wire tells that nobody serves a name.
    TellsUnserved,
    /// Bodies that are no objects.
    BareValues,
    /// The program reports bodies as text.
    Text,
    /// Bodies of a megabyte.
    Megabyte,
    /// A largest message that the listening end declares.
    Limit,
    /// A login with a secret.
    Secret,
}

impl Need {
    /// The feature a program has to declare for it.
    pub(super) const fn feature(self) -> Option<Feature> {
        Some(match self {
            Self::ClientEvents => Feature::ClientEvents,
            Self::Push => Feature::Push,
            Self::ServerCalls => Feature::ServerCalls,
            Self::Binary => Feature::Binary,
            Self::GiveUp => Feature::GiveUp,
            _ => return None,
        })
    }
}

/// The secret of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WhichSecret {
    /// Both ends have the same, and the stage begins connected.
    #[default]
    Same,
    /// Each has its own, and the stage begins apart.
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

/// Every case, in the order of the file.
///
/// # Errors
/// None: a test reads the same file.
pub(super) fn all() -> Result<Vec<Case>, toml::de::Error> {
    toml::from_str::<File>(FILE).map(|file| file.case)
}

#[cfg(test)]
mod tests {
    use super::super::step::{Call, texts};
    use super::*;
    use polywire_core::{Code, JsonLimits, JsonText};
    use std::collections::BTreeSet;

    fn steps(case: &Case) -> impl Iterator<Item = &Step> {
        case.steps.iter().chain(case.without.values().flatten())
    }

    #[test]
    fn every_case_can_be_read_has_a_name_of_its_own_and_says_a_sentence() {
        let cases = all().unwrap();
        assert!(cases.len() > 30, "{}", cases.len());
        let ids: BTreeSet<_> = cases.iter().map(|case| &case.id).collect();
        assert_eq!(ids.len(), cases.len());
        for case in &cases {
            assert!(case.says.ends_with('.') && !case.steps.is_empty(), "{}", case.id);
            assert!(case.id.chars().all(|c| c.is_ascii_lowercase() || "._".contains(c)), "{}", case.id);
            for (need, steps) in &case.without {
                assert!(case.needs.contains(need) && !steps.is_empty(), "{}: {need:?}", case.id);
            }
        }
    }

    #[test]
    fn every_body_is_json_and_every_code_is_known() {
        for case in all().unwrap() {
            for step in steps(&case) {
                let bodies = match step {
                    Step::Call(call) => texts(call.body.as_ref(), call.each.as_ref(), call.times),
                    Step::Notify(told) => texts(told.body.as_ref(), told.each.as_ref(), told.times),
                    Step::Heard(heard) => texts(heard.body.as_ref(), heard.each.as_ref(), heard.times),
                    _ => Vec::new(),
                };
                for body in bodies {
                    JsonText::new(body.clone(), &JsonLimits::default())
                        .unwrap_or_else(|error| panic!("{}: {body}: {error}", case.id));
                }
                if let Step::Call(Call { code: Some(code), .. }) = step {
                    assert!(Code::from_name(code).is_some(), "{}: {code}", case.id);
                }
                if let Step::Hostile(hostile) = step {
                    assert!(hostile.to_bytes().is_some(), "{}", case.id);
                }
            }
        }
    }

    #[test]
    fn a_misspelt_member_of_a_step_is_refused() {
        let text =
            "[[case]]\nid = \"a\"\nsays = \"A.\"\nsteps = [{ do = \"call\", route = \"echo\", tims = 2 }]";
        assert!(toml::from_str::<File>(text).unwrap_err().to_string().contains("tims"));
    }
}
