//! The wire of a program: which adapter of ours meets it, with which options, and what the two can carry.

use std::sync::Arc;

use polywire_core::{Adapter, BinaryForm, Capabilities, EventForm, OptionKind, Particulars, Secret, Target};

use super::case::{Case, Need, WhichSecret};
use super::control::{Bodies, Feature, Hello, Mode};

/// Largest declared limit that is tried: twice of it must stay below the limits of our own end.
const MAX_TRIED_LIMIT: u64 = 7 << 20;
/// What a megabyte needs besides its bytes.
const ROOM: u64 = 64 << 10;
/// What events are named, where the wire leaves that open.
const EVENT: &str = "tick";

/// A URL of a hello, read: which adapter, and where. Secrets are not among its options.
#[derive(Clone, Debug)]
pub struct Found {
    /// The adapter of that wire.
    pub adapter: Arc<dyn Adapter>,
    /// Address and options.
    pub target: Target,
}

/// Something that a case needs and that is not there.
pub(super) struct Lack {
    /// What, in words.
    pub(super) why: String,
    /// The need that the wire does not meet, whose refusal can be shown; `None` where only the program lacks it.
    pub(super) need: Option<Need>,
}

/// What program and wire have, and how to reach it.
pub(super) struct Wire {
    pub(super) adapter: Arc<dyn Adapter>,
    target: Target,
    secrets: Vec<&'static str>,
    pub(super) capabilities: Capabilities,
    pub(super) particulars: Particulars,
    pub(super) bodies: Bodies,
    can: Vec<Feature>,
    mode: Mode,
    pub(super) max_message_bytes: Option<u64>,
}

impl Wire {
    /// The wire that `hello` names.
    ///
    /// # Errors
    /// One sentence on what is wrong with the hello.
    pub(super) fn of(hello: &Hello, found: Found, mode: Mode) -> Result<Self, String> {
        let Found { adapter, target } = found;
        let name = adapter.name();
        if target.unix {
            return Err(
                "its target is the path of a socket, and the runner meets programs over TCP".to_owned()
            );
        }
        if mode == Mode::Server && target.address.ends_with(":0") {
            return Err(format!(
                "its target is {}, and in mode server it has the port where the program listens",
                target.address
            ));
        }
        if mode == Mode::Client && !adapter.listens() {
            return Err(format!("our {name} only dials, so a client of it cannot be tested"));
        }
        let mut secrets = Vec::new();
        for secret in &hello.secrets {
            let known = adapter.options().iter().find(|spec| spec.name == secret);
            match known {
                Some(spec) if spec.takes == OptionKind::Secret => secrets.push(spec.name),
                Some(_) => return Err(format!("the option {secret} of {name} is no secret")),
                None => return Err(format!("{name} has no option {secret}")),
            }
        }
        let wrong = |error: polywire_core::AdapterError| format!("its target does not do: {error}");
        let capabilities = adapter.capabilities(&target.options).map_err(wrong)?;
        if capabilities.max_concurrent_calls == 0 {
            return Err(format!("with these options {name} has no calls, and every case begins with one"));
        }
        Ok(Self {
            capabilities,
            particulars: adapter.particulars(&target.options).map_err(wrong)?,
            adapter,
            target,
            secrets,
            bodies: hello.bodies,
            can: hello.can.clone(),
            mode,
            max_message_bytes: hello.max_message_bytes,
        })
    }

    /// Where our end listens or dials, with the secret of the launch or another one.
    pub(super) fn target(&self, address: String, secret: &str) -> Target {
        let mut target = Target { address, ..self.target.clone() };
        for name in &self.secrets {
            target.options.set_secret(*name, Secret::from(secret));
        }
        target
    }

    /// Where the program says that it listens.
    pub(super) fn address(&self) -> &str {
        &self.target.address
    }

    /// The name of events from the end that dials, or that listens.
    pub(super) fn event(&self, from_client: bool) -> &'static str {
        match self.particulars.client_events {
            EventForm::Only(names) if from_client => names.first().copied().unwrap_or(EVENT),
            _ => EVENT,
        }
    }

    /// The first thing that a case needs and that is not there; `None` when all is there.
    ///
    /// What the wire lacks comes first: an end of it can be asked to refuse. What only the program lacks cannot be refused by our
    /// end, whose wire has it, and a program is not asked for what it says it has not.
    pub(super) fn lacks(&self, case: &Case) -> Option<Lack> {
        let lack = |need: &Need| self.lacks_one(*need).map(|why| Lack { why, need: Some(*need) });
        let by_wire = case.needs.iter().find_map(lack);
        by_wire.or_else(|| {
            let missing = |need: &Need| need.feature().filter(|feature| !self.can.contains(feature));
            let feature = case.needs.iter().find_map(missing)?;
            let why = format!("the program says it has no {}", feature.as_str());
            Some(Lack { why, need: None })
        })
    }

    fn lacks_one(&self, need: Need) -> Option<String> {
        let wire = &self.capabilities;
        let without = |there: bool, what: &str| (!there).then(|| format!("this wire has no {what}"));
        match need {
            Need::ClientEvents => without(wire.client_events, "events from the end that dials"),
            Need::Push => without(wire.push, "events from the end that listens"),
            Need::ServerCalls => without(wire.server_calls, "calls from the end that listens"),
            Need::Binary => without(wire.binary != BinaryForm::None, "bytes"),
            Need::GiveUp => None,
            Need::TellsUnserved => {
                without(!self.particulars.silent_unserved, "word for a name that nobody serves")
            }
            Need::BareValues => without(!wire.object_arguments, "bodies but objects"),
            Need::Text => (self.bodies == Bodies::Values).then(|| {
                "the program reports values, so they are compared as doubles and without order".to_owned()
            }),
            Need::Megabyte => self.no_megabyte(),
            Need::Limit => self.no_limit(),
            Need::Secret => without(wire.login, "login").or_else(|| {
                self.secrets.is_empty().then(|| "the program names no secret in its hello".to_owned())
            }),
        }
    }

    /// The largest body that wire and program take.
    pub(super) fn most_bytes(&self) -> usize {
        let program = self.max_message_bytes.and_then(|most| usize::try_from(most).ok());
        self.capabilities.max_body_bytes.min(program.unwrap_or(usize::MAX))
    }

    fn no_megabyte(&self) -> Option<String> {
        let least = (1 << 20) + ROOM;
        let wire = (self.capabilities.max_body_bytes as u64) < least;
        let program = self.max_message_bytes.is_some_and(|most| most < least);
        match (wire, program) {
            (true, _) => Some("this wire has no room for 1 MiB".to_owned()),
            (_, true) => Some("the program takes no message of 1 MiB".to_owned()),
            _ => None,
        }
    }

    fn no_limit(&self) -> Option<String> {
        match (self.mode, self.max_message_bytes) {
            // Our end listens, and has one.
            (Mode::Client, _) => None,
            (Mode::Server, None) => Some("the program declares no max_message_bytes".to_owned()),
            (Mode::Server, Some(most)) if most > MAX_TRIED_LIMIT => Some(format!(
                "its max_message_bytes is above the {} MiB that are tried",
                MAX_TRIED_LIMIT >> 20
            )),
            _ => None,
        }
    }
}

/// The secret that our end has when the program has `secret`.
pub(super) fn our_secret(secret: &str, which: WhichSecret) -> String {
    match which {
        WhichSecret::Same => secret.to_owned(),
        // As long and as good, and different in every digit.
        WhichSecret::Other => {
            let other = |c: char| char::from_digit(15 - c.to_digit(16).unwrap_or(0), 16).unwrap_or('0');
            secret.chars().map(other).collect()
        }
    }
}
