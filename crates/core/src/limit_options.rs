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
enum Field {
    Size(fn(&mut Limits) -> &mut usize),
    Number(fn(&mut Limits) -> &mut usize),
    Time(fn(&mut Limits) -> &mut Duration),
}

const SETTINGS: [(OptionSpec, Field); 12] = [
    size("max_frame_bytes", "16MiB", "largest message received or sent", |limits| {
        &mut limits.max_frame_bytes
    }),
    number("max_in_flight", "256", "requests and events of one peer handled at once", |limits| {
        &mut limits.max_in_flight
    }),
    size("max_in_flight_bytes", "32MiB", "bytes of their bodies before no more is taken", |limits| {
        &mut limits.max_in_flight_bytes
    }),
    number("max_pending", "1024", "calls that one peer may owe an answer", |limits| &mut limits.max_pending),
    number("max_queue_messages", "1024", "messages waiting to be written on one connection", |limits| {
        &mut limits.max_queue_messages
    }),
    size("max_queue_bytes", "8MiB", "bytes waiting to be written on one connection", |limits| {
        &mut limits.max_queue_bytes
    }),
    number("max_connections", "16384", "connections that a server serves at once", |limits| {
        &mut limits.max_connections
    }),
    number("max_connections_per_address", "64", "the same from one address of another machine", |limits| {
        &mut limits.max_connections_per_address
    }),
    number("max_strangers", "256", "connections at once that have not logged in yet", |limits| {
        &mut limits.max_strangers
    }),
    time(
        "login_timeout",
        "10s",
        "from the connection to the login; a wire may have another default",
        |limits| &mut limits.login_timeout,
    ),
    time("frame_timeout", "30s", "from the first to the last byte of a message", |limits| {
        &mut limits.frame_timeout
    }),
    time("write_timeout", "10s", "how long a peer may read nothing", |limits| &mut limits.write_timeout),
];

const fn spec(
    name: &'static str,
    takes: OptionKind,
    default: &'static str,
    about: &'static str,
) -> OptionSpec {
    OptionSpec { name, takes, default, about }
}

const fn size(
    name: &'static str,
    default: &'static str,
    about: &'static str,
    field: fn(&mut Limits) -> &mut usize,
) -> (OptionSpec, Field) {
    (spec(name, OptionKind::Size, default, about), Field::Size(field))
}

const fn number(
    name: &'static str,
    default: &'static str,
    about: &'static str,
    field: fn(&mut Limits) -> &mut usize,
) -> (OptionSpec, Field) {
    (spec(name, OptionKind::Number, default, about), Field::Number(field))
}

const fn time(
    name: &'static str,
    default: &'static str,
    about: &'static str,
    field: fn(&mut Limits) -> &mut Duration,
) -> (OptionSpec, Field) {
    (spec(name, OptionKind::Duration, default, about), Field::Time(field))
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
                Field::Size(field) => {
                    if let Some(bytes) = options.size(name)? {
                        *field(&mut self) = bytes;
                    }
                }
                Field::Number(field) => {
                    if let Some(number) = options.number(name)? {
                        *field(&mut self) = usize::try_from(number).unwrap_or(usize::MAX);
                    }
                }
                Field::Time(field) => {
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
        let mut options = Options::new();
        pairs.iter().for_each(|(name, value)| options.set(*name, *value));
        options
    }

    #[test]
    fn each_default_is_that_of_the_limits_and_each_option_sets_its_own_limit() {
        for (spec, field) in &SETTINGS {
            let mut limits = Limits::default();
            let (value, expected) = match field {
                Field::Size(field) => {
                    assert_eq!(parse_size(spec.default), Some(*field(&mut limits)), "{}", spec.name);
                    *field(&mut limits) = 2_048;
                    ("2KiB", limits)
                }
                Field::Number(field) => {
                    assert_eq!(spec.default.parse(), Ok(*field(&mut limits)), "{}", spec.name);
                    *field(&mut limits) = 7;
                    ("7", limits)
                }
                Field::Time(field) => {
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
