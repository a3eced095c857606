//! The adapter as a value: what the bridge, the command line and a stranger's adapter meet on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::capability::{Capabilities, Particulars};
use crate::client::Client;
use crate::connection::Endpoint;
use crate::credentials::BoxFuture;
use crate::limit_options::limit_options;
use crate::limits::{LimitError, Limits};
use crate::secret::Secret;
use crate::server::Server;

/// One wire, both roles: what a program, the bridge, the command and the conformance suite find it by.
///
/// Limits, surroundings, the judge of logins and the pace of reconnecting come with each [`Endpoint`]; what is peculiar to the wire
/// comes as [`Options`]. Dynamic dispatch happens here and at handlers and callers only.
pub trait Adapter: fmt::Debug + Send + Sync + 'static {
    /// The name, which is also the scheme of its URLs, such as `sockhop`.
    fn name(&self) -> &'static str;

    /// One sentence for people.
    fn about(&self) -> &'static str;

    /// The options that are its own, for both roles, besides the limits that are options on every wire
    /// ([`limit_options`](crate::limit_options)); [`Options::check_known`] refuses others. A flag `guests` lets in who has no name:
    /// `polywire serve` sets it where its URL names no user.
    fn options(&self) -> &'static [OptionSpec];

    /// What the wire can carry with these options. What is said here is relied upon and tested; whatever else is asked of the wire,
    /// its session refuses by name.
    ///
    /// # Errors
    /// [`AdapterError::Option`] when an option has a value that it cannot have.
    fn capabilities(&self, options: &Options) -> Result<Capabilities, AdapterError>;

    /// What the wire does besides with these options.
    ///
    /// # Errors
    /// [`AdapterError::Option`] when an option has a value that it cannot have.
    fn particulars(&self, options: &Options) -> Result<Particulars, AdapterError> {
        let _ = options;
        Ok(Particulars::default())
    }

    /// The limits that suit the wire, where nobody asks for others: how long a login or an answer may take is a custom of each.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Names that are never routes on this wire, because the protocol uses them itself.
    fn reserved_routes(&self) -> &'static [&'static str] {
        &[]
    }

    /// Can it listen? An adapter that only dials says no.
    fn listens(&self) -> bool {
        true
    }

    /// Listens at `target` and serves `endpoint`'s handler, within the limits that the options set
    /// ([`Endpoint::with_limits_of`]).
    ///
    /// # Errors
    /// [`AdapterError`] when an option is wrong or the address cannot be had.
    fn listen(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Server, AdapterError>>;

    /// Dials `target` and keeps the connection up, within the limits that the options set ([`Endpoint::with_limits_of`]); gives
    /// back at once, [`Client::ready`] waits.
    ///
    /// # Errors
    /// [`AdapterError`] when an option is wrong.
    fn dial(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Client, AdapterError>>;
}

/// One option of an adapter, described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// The name, as in a URL's query or a bridge file.
    pub name: &'static str,
    /// What values it takes.
    pub takes: OptionKind,
    /// The value it has when nobody sets it, for people.
    pub default: &'static str,
    /// One sentence for people.
    pub about: &'static str,
}

/// What values an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionKind {
    /// Any text.
    Text,
    /// `1`, `0`, `true`, `false`, `on` or `off`.
    Flag,
    /// A whole number.
    Number,
    /// A size with a unit, such as `16MiB`.
    Size,
    /// A time with a unit, such as `250ms`.
    Duration,
    /// A secret, given as `env:NAME` or `file:PATH`.
    Secret,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// Where to listen or what to dial.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// `host:port`, or the path of a Unix socket.
    pub address: String,
    /// Is the address a path?
    pub unix: bool,
    /// The name to log in with.
    pub user: Option<String>,
    /// What follows the address, such as `/namespace`; empty when nothing does.
    pub path: String,
    /// Everything else.
    pub options: Options,
}

/// Options by name.
#[derive(Clone, Debug, Default)]
pub struct Options {
    texts: BTreeMap<String, String>,
    secrets: BTreeMap<String, Known>,
}

/// Reads a secret where it stands; the error is a sentence without any part of the secret.
type Read = dyn Fn() -> Result<Secret, String> + Send + Sync;

/// A secret as it was read, and how it is read again where it may change.
#[derive(Clone)]
struct Known {
    secret: Secret,
    read: Option<Arc<Read>>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.secret.fmt(f)
    }
}

impl<N: Into<String>, V: Into<String>> Extend<(N, V)> for Options {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, texts: I) {
        self.texts.extend(texts.into_iter().map(|(name, value)| (name.into(), value.into())));
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Options {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(texts: I) -> Self {
        let mut options = Self::new();
        options.extend(texts);
        options
    }
}

impl Options {
    /// No options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an option.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.texts.insert(name.into(), value.into());
    }

    /// Sets a secret option.
    pub fn set_secret(&mut self, name: impl Into<String>, value: Secret) {
        self.secrets.insert(name.into(), Known { secret: value, read: None });
    }

    /// Sets a secret option that may change where it stands, such as a token in a file: it is `value` now, and `read` has it read
    /// again before every login ([`LoginOptions`](crate::LoginOptions)). `read` may block; its error is a sentence that
    /// shows no part of the secret.
    pub fn set_secret_from(
        &mut self,
        name: impl Into<String>,
        value: Secret,
        read: impl Fn() -> Result<Secret, String> + Send + Sync + 'static,
    ) {
        self.secrets.insert(name.into(), Known { secret: value, read: Some(Arc::new(read)) });
    }

    /// May this secret have changed since it was read?
    pub(crate) fn may_change(&self, name: &str) -> bool {
        self.secrets.get(name).is_some_and(|known| known.read.is_some())
    }

    /// The same options with this secret read again, if it may have changed.
    ///
    /// # Errors
    /// A sentence that names the option whose secret cannot be read.
    pub(crate) fn read_again(&self, name: &str) -> Result<Self, String> {
        let mut again = self.clone();
        if let Some(known) = again.secrets.get_mut(name)
            && let Some(read) = &known.read
        {
            known.secret = read().map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(again)
    }

    /// The text of an option.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// A secret option.
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.get(name).map(|known| &known.secret)
    }

    /// The names that are set, secrets included.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().chain(self.secrets.keys()).map(String::as_str)
    }

    /// Checks that `specs`, or those of [`limit_options`](crate::limit_options), describe every option that is set, for the wire of
    /// this name.
    ///
    /// # Errors
    /// [`AdapterError::Settings`] naming the first that they do not describe, and those of `specs`.
    pub fn check_known(&self, wire: &str, specs: &[OptionSpec]) -> Result<(), AdapterError> {
        let own = |name: &str| specs.iter().any(|spec| spec.name == name);
        let common = |name: &str| limit_options().any(|spec| spec.name == name);
        let Some(name) = self.names().find(|name| !own(name) && !common(name)) else { return Ok(()) };
        let known: Vec<_> = specs.iter().map(|spec| spec.name).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(AdapterError::Settings(format!(
            "{wire} has no option {name:?}; besides the limits of every wire it has {known}"
        )))
    }

    /// A setting out of its range, with its value as it was written where an option of its name has it.
    pub fn out_of_range(&self, wrong: LimitError) -> AdapterError {
        match self.text(wrong.setting) {
            Some(value) => AdapterError::option(wrong.setting, value, wrong.rule),
            None => wrong.into(),
        }
    }

    /// A yes or no.
    ///
    /// # Errors
    /// [`AdapterError::Option`] when it is neither.
    pub fn flag(&self, name: &'static str) -> Result<Option<bool>, AdapterError> {
        match self.text(name) {
            None => Ok(None),
            Some("1" | "true" | "on") => Ok(Some(true)),
            Some("0" | "false" | "off") => Ok(Some(false)),
            Some(value) => Err(AdapterError::option(name, value, "1, 0, true, false, on or off")),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// [`AdapterError::Option`] when it is none.
    pub fn number(&self, name: &'static str) -> Result<Option<u64>, AdapterError> {
        let parse =
            |value: &str| value.parse().map_err(|_| AdapterError::option(name, value, "a whole number"));
        self.text(name).map(parse).transpose()
    }

    /// A time with a unit: `250ms`, `5s`, `2min`, `1h`.
    ///
    /// # Errors
    /// [`AdapterError::Option`] when it is none.
    pub fn duration(&self, name: &'static str) -> Result<Option<std::time::Duration>, AdapterError> {
        let rule = "a time with a unit, such as 250ms, 5s, 2min or 1h";
        let parse =
            |value: &str| parse_duration(value).ok_or_else(|| AdapterError::option(name, value, rule));
        self.text(name).map(parse).transpose()
    }

    /// A size in bytes with a unit: `64KiB`, `16MiB`, `1GiB`, `512B`.
    ///
    /// # Errors
    /// [`AdapterError::Option`] when it is none.
    pub fn size(&self, name: &'static str) -> Result<Option<usize>, AdapterError> {
        let rule = "a size with a unit, such as 512B, 64KiB or 16MiB";
        let parse = |value: &str| parse_size(value).ok_or_else(|| AdapterError::option(name, value, rule));
        self.text(name).map(parse).transpose()
    }
}

/// Reads a time with a unit (`ms`, `s`, `min`, `h`); `None` when it is none.
pub fn parse_duration(text: &str) -> Option<std::time::Duration> {
    let (number, unit) = split_unit(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(std::time::Duration::from_millis(number.checked_mul(millis)?))
}

/// Reads a size with a unit (`B`, `KiB`, `MiB`, `GiB`); `None` when it is none.
pub fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = split_unit(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    usize::try_from(number.checked_mul(bytes)?).ok()
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// Why an adapter cannot be used as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// An option has a value that it cannot have.
    #[error("option {name} = {value:?} is not {rule}")]
    Option {
        /// The option.
        name: String,
        /// Its value; never a secret.
        value: String,
        /// What it may be.
        rule: String,
    },
    /// An option that is needed is not there, or two do not go together.
    #[error("{0}")]
    Settings(String),
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl AdapterError {
    /// An option with a value that it cannot have.
    pub fn option(name: impl Into<String>, value: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::Option { name: name.into(), value: value.into(), rule: rule.into() }
    }
}

impl From<LimitError> for AdapterError {
    fn from(wrong: LimitError) -> Self {
        Self::option(wrong.setting, wrong.value, wrong.rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn reads_times_and_sizes_with_their_units_only() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("2min"), Some(Duration::from_secs(120)));
        assert_eq!(parse_size("16MiB"), Some(16 << 20));
        assert_eq!(parse_size("512B"), Some(512));
        for wrong in ["", "5", "s", "5 parsecs", "-1s", "1.5s", "99999999999999999999s", "5mb"] {
            assert_eq!((parse_duration(wrong), parse_size(wrong)), (None, None), "{wrong}");
        }
    }

    #[test]
    fn an_option_that_nobody_describes_is_named_with_those_that_there_are() {
        let spec = |name| OptionSpec { name, takes: OptionKind::Text, default: "", about: "" };
        let mut options = Options::new();
        options.set("user", "ann");
        options.set_secret("pasword", Secret::from("s3cret"));
        assert!(options.check_known("toy", &[spec("user"), spec("pasword")]).is_ok());
        let told = |specs: &[OptionSpec]| options.check_known("toy", specs).unwrap_err().to_string();
        assert_eq!(
            told(&[spec("user"), spec("password")]),
            "toy has no option \"pasword\"; besides the limits of every wire it has user, password"
        );
        assert_eq!(told(&[]), "toy has no option \"user\"; besides the limits of every wire it has none");
        let mut limit = Options::new();
        limit.set("max_frame_bytes", "1MiB");
        assert!(limit.check_known("toy", &[]).is_ok(), "every wire has it");
    }

    #[test]
    fn an_option_error_names_option_value_and_rule() {
        let mut options = Options::new();
        options.set("guests", "maybe");
        let text = options.flag("guests").unwrap_err().to_string();
        assert_eq!(text, "option guests = \"maybe\" is not 1, 0, true, false, on or off");
    }
}
