//! What of a message does not cross, told from the capabilities of the wires at both ends.

use polywire_core::{
    BinaryForm, Capabilities, Code, Correlation, EmptyReply, Errors, EventForm, ProgressForm,
};

use crate::config::{Role, Verb};
use crate::finding::{Findings, Problem};
use crate::plan::{Plan, PlannedRoute};
use crate::report::{Aspect, RouteReport, Verdict};
use crate::resolve::Resolved;

/// The loss report of one route; every loss is a finding too.
pub(crate) fn report(route: &PlannedRoute, plan: &Plan, findings: &mut Findings) -> Option<RouteReport> {
    let (from, to) = (plan.endpoints.get(route.from)?, plan.endpoints.get(route.to)?);
    let (ingress, egress) = (&from.capabilities, &to.capabilities);
    let mut losses = Losses { line: route.line, findings, aspects: Vec::new() };
    let calls = route.makes_requests();
    losses.there(if calls { "request" } else { "event" }, route, from, to);
    let answers = route.requests && route.verb != Verb::Emit;
    if calls && route.makes_events() {
        losses.events(route, from, to);
    }
    if answers {
        losses.back(route, from, to);
        losses.errors(from, to);
    }
    if calls {
        losses.concurrency(ingress, egress, &to.name);
        let carried = ingress.cancel && egress.cancel;
        let given_up = if carried { "ends" } else { "runs to its end" };
        losses.note("cancel", carried, &format!("a call that is given up {given_up} there"));
        if egress.progress != ProgressForm::None {
            losses.note("progress", false, "the bridge does not hand progress on");
        }
    }
    let Losses { aspects, .. } = losses;
    Some(RouteReport {
        title: route.title.clone(),
        line: route.line,
        from: format!("{} {}", from.name, route.pattern),
        to: format!("{} {}", to.name, route.target),
        aspects,
    })
}

struct Losses<'f> {
    line: u32,
    findings: &'f mut Findings,
    aspects: Vec<Aspect>,
}

impl Losses<'_> {
    fn lose(&mut self, name: &'static str, problem: Problem, text: String, fix: &str) {
        self.findings.add(problem, self.line, format!("{name}: {text}"), fix);
        self.aspects.push(Aspect { name, verdict: Verdict::Degraded, text, problem: Some(problem) });
    }

    fn note(&mut self, name: &'static str, carried: bool, text: &str) {
        let verdict = if carried { Verdict::Lossless } else { Verdict::NotCarried };
        self.aspects.push(Aspect { name, verdict, text: text.to_owned(), problem: None });
    }

    fn lossless_unless_lost(&mut self, name: &'static str, before: usize) {
        if self.aspects.len() == before {
            let aspect = Aspect { name, verdict: Verdict::Lossless, text: String::new(), problem: None };
            self.aspects.push(aspect);
        }
    }

    fn there(&mut self, name: &'static str, route: &PlannedRoute, from: &Resolved, to: &Resolved) {
        let before = self.aspects.len();
        if !route.makes_requests() {
            self.events(route, from, to);
        }
        self.values(name, from);
        let ends = (from, to);
        let (from, to) = (&from.capabilities, &to.capabilities);
        if to.object_arguments && route.makes_requests() {
            if route.conversion.wraps() {
                let text = "a body that is no object travels inside one".to_owned();
                self.lose(name, Problem::Arguments, text, "send objects");
            } else {
                let text = "only objects cross, other bodies are refused".to_owned();
                self.lose(name, Problem::Arguments, text, "send objects, or set wrap = \"value\"");
            }
        }
        self.nothing(name, route, ends);
        self.bytes(name, route, from, to);
        if to.max_route_bytes < from.max_route_bytes && !route.target.is_exact() {
            let text = format!("names above {} bytes are refused", to.max_route_bytes);
            self.lose(name, Problem::Size, text, "use short names");
        }
        self.lossless_unless_lost(name, before);
    }

    /// Values that the wire of `sender` changes when it reads them.
    fn values(&mut self, name: &'static str, sender: &Resolved) {
        if let Some(text) = sender.particulars.alters {
            let text = format!("on {} {text}", sender.name);
            self.lose(name, Problem::Values, text, "unset the option, and such messages are refused");
        }
    }

    /// Events without a body; and those of the side that dials, where the wire takes only some, or takes them for something
    /// else.
    fn events(&mut self, route: &PlannedRoute, from: &Resolved, to: &Resolved) {
        let missing = |end: &Resolved, dials: Role| match end.role == dials {
            true => end.particulars.empty_request,
            false => end.particulars.empty_push,
        };
        // What has become a value on the way to the bridge stays that; a request may become an event.
        let comes_bare = route.events && missing(from, Role::Server).is_none()
            || route.requests && route.verb == Verb::Emit && from.particulars.empty_request.is_none();
        if let (true, Some(json)) = (comes_bare, missing(to, Role::Client)) {
            self.lose("event", Problem::Empty, format!("a missing body becomes {json}"), "send a value");
        }
        let wire = to.adapter.name();
        match to.particulars.client_events {
            _ if to.role == Role::Server => {}
            EventForm::Requests => {
                let text = format!("{wire} takes them for requests, and their answers come back as events");
                self.lose("event", Problem::Events, text, "nothing, or do not answer them there");
            }
            EventForm::Only(names) if !(route.target.is_exact() && names.contains(&&*route.target.head)) => {
                let names = names.join(", ");
                let text = format!("only these are heard over {wire}: {names}");
                self.lose("event", Problem::EventNames, text, "give them one of those names");
            }
            _ => {}
        }
    }

    /// Requests that have no body, or `null`.
    fn nothing(&mut self, name: &'static str, route: &PlannedRoute, (from, to): (&Resolved, &Resolved)) {
        if !route.makes_requests() {
            return;
        }
        let (ours, theirs) = (&from.particulars, &to.particulars);
        let fix = "send a value";
        // A request has been through the other wire before; an event that becomes one comes as it is.
        let events = route.events && route.verb == Verb::Call;
        if let (true, Some(json)) = (events || ours.empty_request.is_none(), theirs.empty_request) {
            self.lose(name, Problem::Empty, format!("a missing body becomes {json}"), fix);
        }
        let null = |end: &Resolved, dials: Role| match end.role == dials {
            true => end.particulars.null_client_request,
            false => "null",
        };
        let (comes, arrives) = (null(from, Role::Server), null(to, Role::Client));
        if arrives != "null" && (events || comes == "null") {
            self.lose(name, Problem::Empty, format!("null becomes {arrives}"), fix);
        }
    }

    fn back(&mut self, route: &PlannedRoute, from: &Resolved, to: &Resolved) {
        let (ingress, egress) = (&from.capabilities, &to.capabilities);
        let before = self.aspects.len();
        self.values("reply", to);
        self.bytes("reply", route, egress, ingress);
        let fate = match (to.particulars.empty_reply, from.particulars.empty_reply) {
            (EmptyReply::Silence, _) => Some("never comes: the caller waits until its deadline".to_owned()),
            (EmptyReply::Empty, EmptyReply::Value(json)) => Some(format!("becomes {json}")),
            (EmptyReply::Empty, EmptyReply::Silence) => Some("becomes null".to_owned()),
            _ => None,
        };
        if let Some(fate) = fate {
            let text = format!("a reply without a body {fate}");
            self.lose("reply", Problem::Empty, text, "answer with a value");
        }
        self.lossless_unless_lost("reply", before);
    }

    fn bytes(&mut self, name: &'static str, route: &PlannedRoute, from: &Capabilities, to: &Capabilities) {
        match (from.binary, to.binary) {
            (BinaryForm::None, _) => {}
            (_, BinaryForm::None) if route.conversion.encodes() => {
                let usable = size(to.max_body_bytes / 4 * 3);
                let text = format!("bytes as base64: +33 %, {usable} usable");
                self.lose(name, Problem::Binary, text, "none needed where both sides know the form");
            }
            (_, BinaryForm::None) => {
                let text = "bytes are refused".to_owned();
                self.lose(name, Problem::Binary, text, "send JSON, or set binary = \"base64\"");
            }
            (BinaryForm::Typed, BinaryForm::Plain) => {
                let text = "bytes lose the name of their type".to_owned();
                self.lose(name, Problem::BinaryType, text, "do not rely on the type");
            }
            _ => {}
        }
        if to.max_body_bytes < from.max_body_bytes {
            let text = format!("bodies above {} are refused", size(to.max_body_bytes));
            self.lose(name, Problem::Size, text, "send smaller bodies, or raise the limit of that endpoint");
        }
    }

    fn errors(&mut self, from: &Resolved, to: &Resolved) {
        let before = self.aspects.len();
        let fix = "do not rely on codes";
        let codes = |end: &Resolved| kept(end.particulars.code);
        match to.capabilities.errors {
            Errors::Codes => {
                if let Some(codes) = codes(to) {
                    let text = format!("of the codes, the other wire tells only {codes}");
                    self.lose("errors", Problem::Errors, text, fix);
                }
            }
            Errors::Text => {
                let text = "the other wire tells no codes, only text".to_owned();
                self.lose("errors", Problem::Errors, text, fix);
            }
            _ => {
                let text = "the other wire tells failures by convention, inside a reply".to_owned();
                self.lose("errors", Problem::Errors, text, fix);
            }
        }
        if to.particulars.silent_unserved {
            let text = "a name that nobody serves there is not answered: the caller waits until its deadline";
            self.lose("errors", Problem::Errors, text.to_owned(), "carry only names that are served");
        }
        if to.role == Role::Client && to.particulars.silent_refusal {
            let text =
                "a wrong secret of ours is refused there without a word, as if the connection were lost";
            self.lose(
                "errors",
                Problem::Errors,
                text.to_owned(),
                "check the secret where it does not get ready",
            );
        }
        match from.capabilities.errors {
            Errors::Codes => {
                if let Some(codes) = codes(from) {
                    let text = format!("of the codes, only {codes} reach the caller");
                    self.lose("errors", Problem::Errors, text, fix);
                }
            }
            Errors::Text => {
                self.lose("errors", Problem::Errors, "codes reach the caller as text".to_owned(), fix);
            }
            _ => {
                let text = "failures reach the caller inside an ordinary reply".to_owned();
                self.lose("errors", Problem::Errors, text, fix);
            }
        }
        self.lossless_unless_lost("errors", before);
    }

    fn concurrency(&mut self, ingress: &Capabilities, egress: &Capabilities, to: &str) {
        let most = egress.max_concurrent_calls;
        let fix = "nothing, or more connections where that endpoint has such an option";
        if egress.correlation == Correlation::Name {
            let text = format!("{to} answers by name: one call per name at a time, others wait");
            self.lose("order", Problem::Concurrency, text, fix);
        } else if most < ingress.max_concurrent_calls {
            let text = format!("{to} has {most} at a time per connection, others wait");
            self.lose("order", Problem::Concurrency, text, fix);
        }
    }
}

/// The codes that stay what they are, where others do not.
fn kept(code: fn(Code) -> Code) -> Option<String> {
    let kept: Vec<_> = Code::ALL.into_iter().filter(|from| code(*from) == *from).map(Code::as_str).collect();
    (kept.len() < Code::ALL.len()).then(|| kept.join(", "))
}

fn size(bytes: usize) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= unit {
            return format!("{} {name}", bytes / unit);
        }
    }
    format!("{bytes} B")
}
