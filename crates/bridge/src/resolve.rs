//! From an endpoint as written to one that can be started: its adapter, target, secrets and capabilities.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use polywire_core::{
    Adapter, AdapterError, Capabilities, OptionKind, OptionSpec, Options, Particulars, Secret, Target,
    parse_duration, parse_size,
};

use crate::config::{ENDPOINT_KEYS, EndpointConfig, Role};
use crate::finding::{Findings, Problem, near_or, suggest};
use crate::read::{At, Scalar, one_of, size_fix, time_fix};
use crate::registry::Registry;
use crate::secret;

/// An endpoint that can be started.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) adapter: Arc<dyn Adapter>,
    pub(crate) target: Target,
    pub(crate) address_line: u32,
    pub(crate) capabilities: Capabilities,
    pub(crate) particulars: Particulars,
    pub(crate) prefix: String,
    pub(crate) required: bool,
    /// How long a call to it may take where neither its caller nor its route says so.
    pub(crate) timeout: Duration,
    pub(crate) users: HashMap<String, Secret>,
}

/// Resolves an endpoint, or notes why it cannot be started.
pub(crate) fn resolve(
    config: &EndpointConfig,
    registry: &Registry,
    folder: &Path,
    findings: &mut Findings,
) -> Option<Resolved> {
    let protocol = config.protocol.as_ref()?;
    let Some(adapter) = registry.get(&protocol.value) else {
        let known: Vec<&str> = registry.names().collect();
        let text = format!("protocol = {:?} is no wire known here", protocol.value);
        findings.add(Problem::Protocol, protocol.line, text, suggest(&protocol.value, &known));
        return None;
    };
    let options = read_options(config, &**adapter, folder, findings);
    let users = read_users(config, folder, findings);
    let (options, role, address) = (options?, config.role?, config.address.as_ref()?);
    let carries = adapter.capabilities(&options).and_then(|all| Ok((all, adapter.particulars(&options)?)));
    let (capabilities, particulars) = match carries {
        Ok(carries) => carries,
        Err(error) => {
            refused(config, &error, findings);
            return None;
        }
    };
    if !config.users.is_empty() && (role == Role::Client || !capabilities.login) {
        let text = format!("[endpoint.{}] has users, but nobody logs in there", config.name);
        findings.add(Problem::Conflict, config.line, text, "remove `users`");
    }
    let unix = address.value.strip_prefix("unix:");
    Some(Resolved {
        name: config.name.clone(),
        role,
        adapter: Arc::clone(adapter),
        target: Target {
            address: unix.unwrap_or(&address.value).to_owned(),
            unix: unix.is_some(),
            user: config.user.clone(),
            path: config.path.clone().unwrap_or_default(),
            options,
        },
        address_line: address.line,
        capabilities,
        particulars,
        prefix: config.prefix.clone(),
        required: config.required,
        timeout: config.timeout.unwrap_or(adapter.limits().call_timeout),
        users: users?,
    })
}

/// What the adapter does not take of the options, where it stands.
fn refused(config: &EndpointConfig, error: &AdapterError, findings: &mut Findings) {
    let name = &config.name;
    if let AdapterError::Option { name: key, value, rule } = error {
        let line = config.options.iter().find(|(known, _)| known == key).map(|(_, value)| value.line);
        let text = format!("{key} = {value:?} in [endpoint.{name}] is not {rule}");
        let fix = "write a value that is, or leave the key out for the default";
        return findings.add(Problem::Option, line.unwrap_or(config.line), text, fix);
    }
    let fix = "change or leave out what it names";
    findings.add(Problem::Option, config.line, format!("[endpoint.{name}]: {error}"), fix);
}

fn read_options(
    config: &EndpointConfig,
    adapter: &dyn Adapter,
    folder: &Path,
    findings: &mut Findings,
) -> Option<Options> {
    let mut options = Options::new();
    let mut sound = true;
    for (name, value) in &config.options {
        let Some(spec) = adapter.all_options().find(|spec| spec.name == name) else {
            let own = || ENDPOINT_KEYS.into_iter();
            let all = own().chain(adapter.all_options().map(|spec| spec.name));
            let fix = near_or(name, all, || {
                let some: Vec<&str> = own().chain(adapter.options().iter().map(|spec| spec.name)).collect();
                format!("known here: {}, and limits such as max_frame_bytes", some.join(", "))
            });
            let text =
                format!("unknown key `{name}` in [endpoint.{}] of protocol {}", config.name, adapter.name());
            findings.add(Problem::UnknownKey, value.line, text, fix);
            sound = false;
            continue;
        };
        if let Some((_, secret)) = config.secrets.iter().rfind(|(known, _)| known == name) {
            options.set_secret(name.clone(), secret.clone());
        } else if spec.takes == OptionKind::Secret {
            match secret::read(name, value, folder, findings) {
                Some(secret) => secret::set(&mut options, name, secret, value, folder),
                None => sound = false,
            }
        } else if let Some(text) = read_option(spec, value, findings) {
            options.set(name.clone(), text);
        } else {
            sound = false;
        }
    }
    sound.then_some(options)
}

/// The value of an option as the adapter reads it, or a finding.
fn read_option(spec: &OptionSpec, value: &At<Scalar>, findings: &mut Findings) -> Option<String> {
    let name = spec.name;
    let mut wrong_type = |wanted: &str, example: &str| {
        let text = format!("`{name}` is {}, which should be {wanted}", value.value.type_name());
        findings.add(Problem::Type, value.line, text, format!("write {name} = {example}"));
        None
    };
    match (spec.takes, &value.value) {
        (OptionKind::Flag, Scalar::Flag(flag)) => Some(flag.to_string()),
        (OptionKind::Flag, Scalar::Text(text))
            if ["1", "0", "true", "false", "on", "off"].contains(&text.as_str()) =>
        {
            Some(text.clone())
        }
        (OptionKind::Flag, _) => wrong_type("true or false", "true"),
        (OptionKind::Number, Scalar::Number(number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(number.clone())
        }
        (OptionKind::Number, written) => wrong_type("a whole number from 0", written.digits().unwrap_or("4")),
        (OptionKind::Duration, written @ (Scalar::Text(text) | Scalar::Number(text))) => {
            if parse_duration(text).is_some() {
                return Some(text.clone());
            }
            let what = format!("{name} = {written} is no time with a unit");
            findings.add(Problem::Unit, value.line, what, time_fix(name, written));
            None
        }
        (OptionKind::Size, written @ (Scalar::Text(text) | Scalar::Number(text))) => {
            if parse_size(text).is_some() {
                return Some(text.clone());
            }
            let what = format!("{name} = {written} is no size with a unit");
            findings.add(Problem::Unit, value.line, what, size_fix(name, written));
            None
        }
        (OptionKind::OneOf(words), Scalar::Text(text)) => {
            if words.contains(&text.as_str()) {
                return Some(text.clone());
            }
            let what = format!("{name} = {text:?} is not one of: {}", words.join(", "));
            findings.add(Problem::Value, value.line, what, one_of(text, words));
            None
        }
        (OptionKind::Duration, _) => wrong_type("a time with a unit", "\"5s\""),
        (OptionKind::Size, _) => wrong_type("a size with a unit", "\"16MiB\""),
        (_, Scalar::Text(text)) => Some(text.clone()),
        (_, _) => wrong_type("text", "\"...\""),
    }
}

fn read_users(
    config: &EndpointConfig,
    folder: &Path,
    findings: &mut Findings,
) -> Option<HashMap<String, Secret>> {
    let read = |(name, value): &(String, At<Scalar>)| {
        secret::read(name, value, folder, findings).map(|secret| (name.clone(), secret))
    };
    config.users.iter().map(read).collect()
}
