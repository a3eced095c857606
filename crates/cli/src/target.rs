//! Targets as URLs: `scheme://[user@]host:port[/namespace][?key=value&…]`, or a socket path as `scheme+unix:///absolute/path`
//! or `scheme+unix:relative/path`.
//!
//! The grammar is the same for every wire; the schemes and keys are those the adapters describe. Secrets stand in a URL only
//! as `env:NAME` or `file:PATH`, and no message from here repeats a value that may be one.

use std::sync::Arc;

use polywire_bridge::Registry;
use polywire_core::{Adapter, OptionKind, OptionSpec, Options, Secret, Target};

use crate::exit::Fault;
use crate::secret;

/// How a secret is had from what stands for it.
type Load = fn(&str) -> Result<Secret, String>;

/// A URL, read: which wire, and where.
#[derive(Clone, Debug)]
pub(crate) struct Url {
    /// The wire.
    pub(crate) adapter: Arc<dyn Adapter>,
    /// The address and the options.
    pub(crate) target: Target,
}

impl Url {
    /// Reads `text` as a URL of one of `adapters`, and the secrets that it names.
    ///
    /// # Errors
    /// A usage fault that names the part that is wrong and the nearest that would be right.
    pub(crate) fn parse(text: &str, adapters: &Registry) -> Result<Self, Fault> {
        Self::read(text, adapters, secret::load)
    }

    /// Reads `text` as a URL that somebody else chose: nothing of this machine is read for it, so secrets cannot stand in it.
    ///
    /// # Errors
    /// As [`Url::parse`], and when an option is a secret.
    pub(crate) fn parse_foreign(text: &str, adapters: &Registry) -> Result<Self, Fault> {
        Self::read(text, adapters, |_| Err("a secret cannot stand in this URL".to_owned()))
    }

    fn read(text: &str, adapters: &Registry, load: Load) -> Result<Self, Fault> {
        let (scheme, rest) = text.split_once(':').ok_or_else(|| {
            Fault::usage("a target is a URL such as sockhop://127.0.0.1:50000, and this one has no scheme")
        })?;
        let (name, unix) = match scheme.strip_suffix("+unix") {
            Some(name) => (name, true),
            None => (scheme, false),
        };
        let Some(adapter) = adapters.get(name).map(Arc::clone) else {
            let known: Vec<_> = adapters.names().collect();
            let fault = Fault::usage(format_args!("no wire is called {name:?}"));
            return Err(fault.hint(nearest(name, &known)));
        };
        if text.contains('#') {
            return Err(Fault::usage("a target has no #fragment; write %23 for a # inside a value"));
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut target = if unix { path(name, place)? } else { authority(name, place)? };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            option(&*adapter, pair, &mut target.options, load)?;
        }
        Ok(Self { adapter, target })
    }

    /// The URL of this wire at another address, without user, options and secrets, for people and scripts.
    pub(crate) fn at(&self, address: &str) -> String {
        let name = self.adapter.name();
        let address = address.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
        match (self.target.unix, address.starts_with('/')) {
            (true, true) => format!("{name}+unix://{address}"),
            (true, false) => format!("{name}+unix:{address}"),
            (false, _) => format!("{name}://{address}{}", self.target.path),
        }
    }
}

fn path(name: &str, place: &str) -> Result<Target, Fault> {
    let path = match place.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => {
            let why = format!("a socket path is {name}+unix:///absolute/path or {name}+unix:relative/path");
            return Err(Fault::usage(why));
        }
        None => place,
    };
    if path.is_empty() {
        return Err(Fault::usage(format_args!("{name}+unix: needs the path of a socket")));
    }
    Ok(Target { address: decode(path)?, unix: true, ..Target::default() })
}

fn authority(name: &str, place: &str) -> Result<Target, Fault> {
    let example = format!("write it as {name}://127.0.0.1:50000");
    let place = place
        .strip_prefix("//")
        .ok_or_else(|| Fault::usage(format_args!("{name}: is not followed by //")).hint(&*example))?;
    let (authority, path) = match place.find('/') {
        Some(at) => place.split_at(at),
        None => (place, ""),
    };
    let (user, address) = match authority.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, authority),
    };
    if user.is_some_and(|user| user.contains(':')) {
        let why = "a password cannot stand before the @ of a URL";
        return Err(Fault::usage(why).hint("use ?password=env:NAME or ?password=file:PATH"));
    }
    let port =
        address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => {}
        Some(Err(_)) => return Err(Fault::usage("the port is not a number from 0 to 65535").hint(example)),
        None => return Err(Fault::usage("the address is not host:port").hint(example)),
    }
    Ok(Target {
        address: decode(address)?,
        user: user.filter(|user| !user.is_empty()).map(decode).transpose()?,
        path: if path == "/" { String::new() } else { decode(path)? },
        ..Target::default()
    })
}

fn option(adapter: &dyn Adapter, pair: &str, options: &mut Options, load: Load) -> Result<(), Fault> {
    let name = adapter.name();
    let Some((key, value)) = pair.split_once('=') else {
        return Err(Fault::usage(format_args!("an option of {name} has no value; options are key=value")));
    };
    let Some(spec) = adapter.all_options().find(|spec| spec.name == key) else {
        let fault = Fault::usage(format_args!("{name} has no option {:?}", shorten(key)));
        return Err(fault.hint(match near(key, adapter.all_options().map(|spec| spec.name)) {
            Some(near) => did_you_mean(near),
            None => {
                let own = adapter.options().iter().map(|spec| spec.name);
                known(&own.chain(["limits such as max_frame_bytes"]).collect::<Vec<_>>())
            }
        }));
    };
    if options.names().any(|known| known == key) {
        return Err(Fault::usage(format_args!("the option {key} is given twice")));
    }
    let value = decode(value)?;
    match spec.takes {
        OptionKind::Secret => {
            let secret = load(&value).map_err(|why| Fault::usage(format_args!("{key}: {why}")))?;
            secret::set(options, key, secret, &value);
        }
        takes => {
            check(spec, &takes, &value)?;
            options.set(key, value);
        }
    }
    Ok(())
}

/// Words are checked here, where the nearest one can be named; numbers, sizes and times by the adapter.
fn check(spec: &OptionSpec, takes: &OptionKind, value: &str) -> Result<(), Fault> {
    match takes {
        OptionKind::OneOf(words) if !words.contains(&value) => {
            let why = format!("{} = {:?} is not one of {}", spec.name, shorten(value), words.join(", "));
            Err(Fault::usage(why).hint(nearest(value, words)))
        }
        _ => Ok(()),
    }
}

/// Advice for a word that is not known.
pub(crate) fn nearest(word: &str, words: &[&str]) -> String {
    near(word, words.iter().copied()).map_or_else(|| known(words), did_you_mean)
}

fn did_you_mean(near: &str) -> String {
    format!("did you mean {near}?")
}

fn known(words: &[&str]) -> String {
    if words.is_empty() { "there are none".to_owned() } else { format!("known are: {}", words.join(", ")) }
}

/// The known word that is spelled most like `word`, in whatever case, if one comes near.
fn near<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .map(|known| (strsim::damerau_levenshtein(&word, &known.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= 1.max(known.len() / 3))
        .min()
        .map(|(_, known)| known)
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Undoes percent-encoding. A `+` stays a `+`.
fn decode(text: &str) -> Result<String, Fault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(byte) = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return Err(Fault::usage(
                "a % in a URL is followed by two hexadecimal digits; write %25 for % itself",
            ));
        };
        bytes.push(byte);
        rest = tail.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).map_err(|_| Fault::usage("a URL decodes to text that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use polywire_core::{AdapterError, BoxFuture, Capabilities, Client, Endpoint, Server};

    #[derive(Debug)]
    struct Toy;

    impl Adapter for Toy {
        fn name(&self) -> &'static str {
            "toy"
        }
        fn about(&self) -> &'static str {
            "a toy"
        }
        fn options(&self) -> &'static [OptionSpec] {
            const fn option(name: &'static str, takes: OptionKind) -> OptionSpec {
                OptionSpec { name, takes, default: "", about: "" }
            }
            const {
                &[
                    option("mode", OptionKind::OneOf(&["auto", "binary"])),
                    option("terminator", OptionKind::Text),
                    option("password", OptionKind::Secret),
                ]
            }
        }
        fn capabilities(&self, _: &Options) -> Result<Capabilities, AdapterError> {
            Err(AdapterError::Settings("a toy".to_owned()))
        }
        fn listen(&self, _: Target, _: Endpoint) -> BoxFuture<'static, Result<Server, AdapterError>> {
            Box::pin(async { Err(AdapterError::Settings("a toy".to_owned())) })
        }
        fn dial(&self, _: Target, _: Endpoint) -> BoxFuture<'static, Result<Client, AdapterError>> {
            Box::pin(async { Err(AdapterError::Settings("a toy".to_owned())) })
        }
    }

    fn parse(text: &str) -> Result<Url, Fault> {
        Url::parse(text, &Registry::new().with(Toy))
    }

    fn refused(text: &str) -> String {
        let fault = parse(text).unwrap_err();
        assert_eq!(fault.exit, crate::exit::Exit::Usage);
        format!("{} | {}", fault.what, fault.hint.unwrap_or_default())
    }

    #[test]
    fn every_form_of_the_grammar_is_read() {
        let target =
            parse("toy://al%40ice@[::1]:7007/name%20space?mode=binary&terminator=%0D%0A+").unwrap().target;
        assert_eq!((&*target.address, target.unix, &*target.path), ("[::1]:7007", false, "/name space"));
        assert_eq!(target.user.as_deref(), Some("al@ice"));
        assert_eq!(target.options.text("mode"), Some("binary"));
        assert_eq!(target.options.text("terminator"), Some("\r\n+"));

        let plain = parse("toy://localhost:0/").unwrap();
        assert_eq!((&*plain.target.address, &*plain.target.path), ("localhost:0", ""));
        assert_eq!(plain.at("127.0.0.1:9"), "toy://127.0.0.1:9");

        let absolute = parse("toy+unix:///run/a%3Fb.sock?mode=auto").unwrap();
        assert_eq!((&*absolute.target.address, absolute.target.unix), ("/run/a?b.sock", true));
        assert_eq!(absolute.at(&absolute.target.address), "toy+unix:///run/a%3Fb.sock");
        assert_eq!(parse("toy+unix:run/x.sock").unwrap().target.address, "run/x.sock");
    }

    #[test]
    fn a_mistake_is_named_with_the_nearest_right_thing() {
        for (url, words) in [
            ("127.0.0.1", "no scheme"),
            ("tyo://h:1", "did you mean toy?"),
            ("gopher://h:1", "known are: toy"),
            ("toy:h:1", "not followed by //"),
            ("toy://h", "not host:port"),
            ("toy://:1", "not host:port"),
            ("toy://h:70000", "0 to 65535"),
            ("toy://h:1?mod=auto", "did you mean mode?"),
            ("toy://h:1?MODE=auto", "did you mean mode?"),
            ("toy://h:1?max_frame_byte=1", "did you mean max_frame_bytes?"),
            ("toy://h:1?colour=red", "known are: mode, terminator, password, limits such as max_frame_bytes"),
            ("toy://h:1?mode=binray", "did you mean binary?"),
            ("toy://h:1?mode", "key=value"),
            ("toy://h:1?mode=auto&mode=auto", "given twice"),
            ("toy://h:1?mode=%4", "two hexadecimal digits"),
            ("toy://h:1#x", "fragment"),
            ("toy+unix://relative", "toy+unix:relative/path"),
            ("toy+unix:", "needs the path"),
        ] {
            assert!(refused(url).contains(words), "{url}: {}", refused(url));
        }
    }

    #[test]
    fn a_secret_is_taken_by_name_only_and_never_repeated() {
        for url in [
            "toy://h:1?password=hunter2",
            "toy://me:hunter2@h:1",
            "toy://h:1?password=%68unter2",
            "toy://h:hunter2@x",
        ] {
            let text = refused(url);
            assert!(!text.contains("hunter2"), "{text}");
            assert!(text.contains("env:NAME"), "{text}");
        }
        assert!(refused("toy://h:1?password=env:POLYWIRE_NOT_SET").contains("POLYWIRE_NOT_SET is not set"));
        // Always set where cargo runs tests.
        let url = parse("toy://h:1?password=env:CARGO_PKG_NAME").unwrap();
        assert!(url.target.options.secret("password").unwrap().matches(b"polywire-cli"));
        assert!(!format!("{url:?}").contains("polywire-cli"));
    }
}
