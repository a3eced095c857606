//! The limits that a URL or a bridge file sets, on every wire and by the names that refusals call them.
//!
//! An adapter reads them with [`Endpoint::with_limits_of`] where it listens and dials, and with [`Limits::with_options`] where it
//! says what it can carry. Never describes what is peculiar to one wire.

use std::sync::Arc;
use std::time::Duration;

use crate::adapter::{Adapter, AdapterError, OptionKind, OptionSpec, Options};
use crate::connection::Endpoint;
use crate::limits::Limits;

/// Where the value of an option goes.
#[derive(Clone, Copy)]
enum Field {
    Size(fn(&mut Limits) -> &mut usize),
    Number(fn(&mut Limits) -> &mut usize),
    Time(fn(&mut Limits) -> &mut Duration),
}

use Field::{Number, Size, Time};

const SETTINGS: [(OptionSpec, Field); 12] = [
    setting(
        "max_frame_bytes",
        "16MiB",
        "largest message received or sent",
        Size(|to| &mut to.max_frame_bytes),
    ),
    setting(
        "max_in_flight",
        "256",
        "requests and events of one peer handled at once",
        Number(|to| &mut to.max_in_flight),
    ),
    setting(
        "max_in_flight_bytes",
        "32MiB",
        "memory that the bodies of those may keep before no more is taken",
        Size(|to| &mut to.max_in_flight_bytes),
    ),
    setting("max_pending", "1024", "calls that one peer may owe an answer", Number(|to| &mut to.max_pending)),
    setting(
        "max_queue_messages",
        "1024",
        "messages waiting to be written on one connection",
        Number(|to| &mut to.max_queue_messages),
    ),
    setting(
        "max_queue_bytes",
        "8MiB",
        "memory that messages waiting to be written keep, on one connection",
        Size(|to| &mut to.max_queue_bytes),
    ),
    setting(
        "max_connections",
        "16384",
        "connections that a server serves at once",
        Number(|to| &mut to.max_connections),
    ),
    setting(
        "max_connections_per_address",
        "64",
        "the same from one address of another machine",
        Number(|to| &mut to.max_connections_per_address),
    ),
    setting(
        "max_strangers",
        "256",
        "connections at once that have not logged in yet",
        Number(|to| &mut to.max_strangers),
    ),
    setting(
        "login_timeout",
        "10s",
        "from the connection to the login; a wire may have another default",
        Time(|to| &mut to.login_timeout),
    ),
    setting(
        "frame_timeout",
        "30s",
        "from the first to the last byte of a message",
        Time(|to| &mut to.frame_timeout),
    ),
    setting("write_timeout", "10s", "how long a peer may read nothing", Time(|to| &mut to.write_timeout)),
];

const fn setting(
    name: &'static str,
    default: &'static str,
    about: &'static str,
    field: Field,
) -> (OptionSpec, Field) {
    let takes = match field {
        Size(_) => OptionKind::Size,
        Number(_) => OptionKind::Number,
        Time(_) => OptionKind::Duration,
    };
    (OptionSpec { name, takes, default, about }, field)
}

/// The limits that are options on every wire, besides those that an adapter describes itself.
pub fn limit_options() -> impl Iterator<Item = &'static OptionSpec> {
    SETTINGS.iter().map(|(spec, _)| spec)
}

impl dyn Adapter {
    /// Every option there is at this adapter: its own, then the limits of every wire.
    pub fn all_options(&self) -> impl Iterator<Item = &'static OptionSpec> {
        self.options().iter().chain(limit_options())
    }
}

impl Limits {
    /// The same limits, but for those that `options` set.
    ///
    /// # Errors
    /// [`AdapterError::Option`] naming the first that has a value that it cannot have.
    pub fn with_options(mut self, options: &Options) -> Result<Self, AdapterError> {
        for (OptionSpec { name, .. }, field) in &SETTINGS {
            match field {
                Size(field) => {
                    if let Some(bytes) = options.size(name)? {
                        *field(&mut self) = bytes;
                    }
                }
                Number(field) => {
                    if let Some(number) = options.number(name)? {
                        *field(&mut self) = usize::try_from(number).unwrap_or(usize::MAX);
                    }
                }
                Time(field) => {
                    if let Some(time) = options.duration(name)? {
                        *field(&mut self) = time;
                    }
                }
            }
        }
        match self.validate() {
            Ok(()) => Ok(self),
            Err(wrong) => Err(options.out_of_range(wrong)),
        }
    }
}

impl Endpoint {
    /// The same endpoint with the limits that `options` set. An adapter does this first when it listens or dials.
    ///
    /// # Errors
    /// As [`Limits::with_options`].
    pub fn with_limits_of(mut self, options: &Options) -> Result<Self, AdapterError> {
        if limit_options().any(|spec| options.text(spec.name).is_some()) {
            self.limits = Arc::new(Limits::clone(&self.limits).with_options(options)?);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{parse_duration, parse_size};
    use crate::router::Router;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().copied().collect()
    }

    #[test]
    fn each_default_is_that_of_the_limits_and_each_option_sets_its_own_limit() {
        for (spec, field) in &SETTINGS {
            let mut limits = Limits::default();
            let (value, expected) = match field {
                Size(field) => {
                    assert_eq!(parse_size(spec.default), Some(*field(&mut limits)), "{}", spec.name);
                    *field(&mut limits) = 2_048;
                    ("2KiB", limits)
                }
                Number(field) => {
                    assert_eq!(spec.default.parse(), Ok(*field(&mut limits)), "{}", spec.name);
                    *field(&mut limits) = 7;
                    ("7", limits)
                }
                Time(field) => {
                    assert_eq!(parse_duration(spec.default), Some(*field(&mut limits)), "{}", spec.name);
                    *field(&mut limits) = Duration::from_millis(1_500);
                    ("1500ms", limits)
                }
            };
            assert_ne!(expected, Limits::default(), "{}", spec.name);
            let set = Limits::default().with_options(&options(&[(spec.name, value)])).unwrap();
            assert_eq!(set, expected, "{}", spec.name);
            // A refusal calls it by this name, so whoever reads one finds the option.
            let debug = format!("{set:?}");
            assert!(debug.contains(&format!(" {}: ", spec.name)), "{}", spec.name);
        }
    }

    #[test]
    fn a_limit_out_of_its_range_is_refused_as_it_was_written() {
        for (name, value, expected) in [
            ("max_frame_bytes", "2GiB", "option max_frame_bytes = \"2GiB\" is not 1 KiB to 1 GiB"),
            ("max_frame_bytes", "1000", "option max_frame_bytes = \"1000\" is not a size with a unit"),
            ("max_in_flight", "0", "option max_in_flight = \"0\" is not 1 to 65536"),
            ("login_timeout", "2min", "option login_timeout = \"2min\" is not more than 0, at most 60 s"),
        ] {
            let wrong = options(&[(name, value)]);
            let endpoint = Endpoint::new("toy", Router::new().build().unwrap());
            let text = endpoint.with_limits_of(&wrong).unwrap_err().to_string();
            assert!(text.starts_with(expected), "{text}");
        }
    }

    #[test]
    fn what_no_option_sets_stays_as_the_endpoint_has_it() {
        let mut endpoint = Endpoint::new("toy", Router::new().build().unwrap());
        endpoint.limits = Arc::new(Limits { max_pending: 3, ..Limits::default() });
        let set = endpoint.with_limits_of(&options(&[("max_in_flight", "5"), ("mode", "json")])).unwrap();
        assert_eq!(*set.limits, Limits { max_pending: 3, max_in_flight: 5, ..Limits::default() });
    }
}
