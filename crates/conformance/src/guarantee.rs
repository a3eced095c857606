//! Every guarantee: its name, its sentence, the directions it is run in, and its function.

use std::fmt;

use polywire_core::BoxFuture;

use crate::bench::Bench;
use crate::case;
use crate::finding::Direction;

/// What an adapter owes its users, as a sentence that can be shown.
#[derive(Clone, Copy)]
pub struct Guarantee {
    /// Its name, `topic::name`.
    pub name: &'static str,
    /// What is owed.
    pub sentence: &'static str,
    /// The directions it is run in.
    pub directions: &'static [Direction],
    pub(crate) show: Show,
}

pub(crate) type Show = for<'a> fn(&'a Bench<'a>) -> BoxFuture<'a, case::Outcome>;

impl fmt::Debug for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarantee").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every guarantee, by topic.
pub fn guarantees() -> &'static [Guarantee] {
    ALL
}

/// The list. What it is made into, the macro that is named decides: the table here, or the tests of [`suite!`](crate::suite).
#[doc(hidden)]
#[macro_export]
macro_rules! each_guarantee {
    ([$($then:tt)+] $($given:tt)*) => {
        $($then)+! { $($given)*
            call {
                both every_call_has_one_outcome:
                    "Every call ends exactly once: with the answer, with the failure that the handler gave, or with one from the fixed list.";
                both no_answer_reaches_another_call:
                    "However many calls are in flight and in whatever order they are answered, each gets its own answer.";
            }
            login {
                dialled nothing_is_heard_before_the_login:
                    "Nothing of a client whose login is refused reaches a handler, nobody is told that it came, and its calls end as not sent.";
            }
            body {
                both json_arrives_as_it_was_written:
                    "JSON arrives as it was written: integers above 2^53, the spelling of numbers, the order of keys, every escape.";
            }
            deadline {
                both a_call_ends_at_its_deadline:
                    "A call that nobody answers ends at its deadline and not before, and says that the peer may have acted.";
                both a_late_answer_reaches_nobody:
                    "An answer that comes after the deadline of its call reaches nobody, and the next call of that name gets its own.";
                dialled a_call_that_never_left_says_so:
                    "A call that waits for a connection until its deadline ends as not sent: the peer surely has not acted.";
            }
            cancel {
                both a_call_that_is_given_up_is_nobodys:
                    "A call whose future is dropped is given up: its answer reaches nobody, and the connection serves on.";
            }
            close {
                both calls_in_flight_end_when_the_connection_dies:
                    "When the connection dies every call in flight ends at once, and says that the peer may have acted.";
                both nothing_leaves_after_the_end:
                    "After the end every call and event is refused at once as not sent, and no handler hears of it.";
            }
            event {
                both events_arrive_once_and_in_order:
                    "Events of one connection reach the handler once each, in the order in which they were sent.";
            }
        }
    };
}

macro_rules! table {
    ($($topic:ident { $($ways:ident $name:ident: $sentence:literal;)+ })+) => {
        const ALL: &[Guarantee] = &[$($(
            Guarantee {
                name: concat!(stringify!($topic), "::", stringify!($name)),
                sentence: $sentence,
                directions: directions!($ways),
                show: |bench| Box::pin(case::$topic::$name(bench)),
            },
        )+)+];
    };
}

macro_rules! directions {
    (both) => {
        &[Direction::Forward, Direction::Swapped]
    };
    (dialled) => {
        &[Direction::Forward]
    };
}

each_guarantee!([table]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sentences_are_sentences() {
        for (place, guarantee) in ALL.iter().enumerate() {
            assert!(ALL[..place].iter().all(|other| other.name != guarantee.name), "{guarantee:?}");
            assert!(guarantee.sentence.ends_with('.') && !guarantee.sentence.contains('|'), "{guarantee:?}");
        }
    }
}
