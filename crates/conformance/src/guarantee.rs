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
            handler {
                both a_panic_costs_one_message:
                    "A handler that panics costs its caller an `internal`, and nobody else anything.";
                both a_handler_that_never_returns_is_ended:
                    "A handler that never returns is ended at `handler_timeout`, and its caller is told.";
                both a_name_that_nobody_serves_is_told:
                    "A call of a name that nobody serves ends as `not_found`.";
            }
            order {
                both messages_arrive_in_the_order_they_were_sent:
                    "Calls and events of one connection reach handlers in the order in which they were sent.";
            }
            event {
                both events_arrive_once_and_in_order:
                    "Events of one connection reach the handler once each, in the order in which they were sent.";
            }
            progress {
                both a_sign_of_progress_keeps_a_call_alive:
                    "A sign of progress keeps its call alive, and one that the wire cannot carry is counted.";
            }
            body {
                both json_arrives_as_it_was_written:
                    "JSON arrives as it was written: integers above 2^53, the spelling of numbers, the order of keys, every escape.";
                both empty_null_and_missing_are_told_apart:
                    "A missing body, `null` and an empty object are three things in requests, answers and events, or what is declared of them.";
                both bytes_arrive_whole:
                    "Bytes arrive as they are, from none to 8 MiB.";
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
                both a_call_that_is_given_up_ends_its_handler:
                    "A call that is given up ends its handler at the peer; where the wire has no word for that, only the end of the connection does.";
                both a_call_given_up_in_the_queue_never_leaves:
                    "A call that is given up while it waits in the queue never leaves.";
            }
            queue {
                both a_full_queue_says_so:
                    "The queue in front of a connection is bounded, and what finds it full is refused by the name of the bound.";
                both a_call_that_waits_for_room_keeps_its_deadline:
                    "A call that waits for room in the queue ends at its deadline as not sent.";
                both a_peer_that_does_not_read_is_left:
                    "A peer that reads nothing for `write_timeout` loses its connection.";
                swapped a_slow_member_is_told_what_it_missed:
                    "Events for a slow member of a hub are dropped within bounds, counted, and told to it as a gap.";
                both calls_owed_are_bounded:
                    "No peer owes more answers than `max_pending`; further calls wait their turn.";
            }
            limit {
                both a_body_above_the_limit_is_refused_by_name:
                    "A body above what the peer takes reaches no handler there, and the limit is named where it is refused.";
                both json_beyond_the_bounds_reaches_no_handler:
                    "JSON that is deeper, has more keys or longer numbers than the peer takes reaches no handler there: it is refused by the name of the bound, or counted and without an answer.";
                both a_name_may_be_as_long_as_declared_and_no_longer:
                    "A name may be as long as the wire declares, and a longer one is refused with that bound.";
                both a_message_that_is_begun_has_its_time:
                    "A message that was begun and is not whole within `frame_timeout` costs its connection.";
                dialled a_stranger_says_no_more_than_a_login_takes:
                    "Whoever says more than `max_login_bytes` before the login is sent away at once.";
                both handlers_at_once_are_bounded:
                    "No more handlers of one peer run at once than `max_in_flight`; further calls wait or are refused by name.";
            }
            nuisance {
                both messages_of_no_use_are_bounded:
                    "A peer that sends what cannot be used `max_bad_messages` times in a row loses its connection.";
                both messages_of_no_use_are_bounded_by_the_minute:
                    "A peer that sends what cannot be used `max_bad_per_minute` times within a minute loses its connection, whatever of use lies between.";
                both signs_of_life_are_bounded:
                    "A peer that shows more than `max_control_per_second` times within a second that it lives loses its connection.";
            }
            close {
                both calls_in_flight_end_when_the_connection_dies:
                    "When the connection dies every call in flight ends at once, and says that the peer may have acted.";
                both nothing_leaves_after_the_end:
                    "After the end every call and event is refused at once as not sent, and no handler hears of it.";
                both nothing_is_heard_after_the_end:
                    "What reaches an end that has closed, or is closing, reaches no handler, and its caller is not told that it was done.";
            }
            drain {
                both a_drain_lets_calls_in_flight_end:
                    "A drain takes nothing new and lets every call in flight end, up to 1 000 where the wire has so many.";
                both a_drain_ends_at_its_timeout:
                    "A drain ends at `drain_timeout`, and calls still in flight say that the peer may have acted.";
            }
            reconnect {
                dialled login_gap_and_what_waited_come_in_this_order:
                    "After a lost connection the client logs in again as who it was, is told of the gap, and only then what waited leaves, once and in order, and events go on.";
                both a_call_runs_at_most_once:
                    "A call runs at most once, whenever the connection is lost, and not at all when it ends as not sent.";
            }
            login {
                dialled nothing_is_heard_before_the_login:
                    "Nothing of a client whose login is refused reaches a handler, nobody is told that it came, and its calls end as not sent.";
                dialled what_is_said_early_waits_for_the_verdict:
                    "What a client says before its login is through is heard once it is and not before, and never when it is refused.";
                dialled a_refused_login_is_not_hammered:
                    "A login that is refused is tried `max_refusals` times and then no more.";
                dialled a_silent_stranger_is_sent_away:
                    "Whoever connects and does not log in is sent away at `login_timeout`.";
            }
            ledger {
                both the_books_balance_at_every_moment:
                    "Every frame that came is accounted for, and every call and request is running or has one end, at every moment.";
            }
            secret {
                both no_secret_is_seen:
                    "No secret and no body is to be seen in a log at any level, in an error or in anything that can be printed.";
            }
            hostile {
                dialled strangers_cost_their_own_connection_at_most:
                    "Whatever bytes a stranger sends, no handler hears of them and the client beside is served.";
                dialled an_opening_may_end_anywhere:
                    "A connection may end after any byte of its opening, and leaves nothing behind.";
                both bytes_amid_a_session_cost_that_connection_at_most:
                    "Whatever bytes come amid a session, no handler hears of them, and they cost that connection at most.";
                dialled a_client_outlives_a_server_that_is_none:
                    "Whatever bytes a client meets in place of its server, no handler hears of them, and it goes on with its server when that is back.";
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
    (swapped) => {
        &[Direction::Swapped]
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
