//! What a bridge file comes to: endpoints that can be started and routes that are compiled. The check reasons from it, the
//! bridge runs it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use polywire_core::{EmptyReply, EventForm, Route};

use crate::config::{Config, KindFilter, Role, RouteConfig, Verb};
use crate::conversion::Conversion;
use crate::finding::{Findings, Problem, near_or};
use crate::pattern::{Naming, Pattern};
use crate::registry::Registry;
use crate::resolve::{Resolved, resolve};

/// A bridge file that was understood, as far as it could be.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) endpoints: Vec<Resolved>,
    pub(crate) routes: Vec<PlannedRoute>,
}

/// One route, between endpoints by their places in [`Plan::endpoints`].
#[derive(Debug)]
pub(crate) struct PlannedRoute {
    pub(crate) title: String,
    pub(crate) line: u32,
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// What it matches, as the names stand on the wire it comes from.
    pub(crate) pattern: Pattern,
    /// Every name it can go on under, as they stand on the wire it goes to.
    pub(crate) target: Pattern,
    pub(crate) naming: Naming,
    pub(crate) requests: bool,
    pub(crate) events: bool,
    pub(crate) verb: Verb,
    pub(crate) timeout: Duration,
    pub(crate) conversion: Conversion,
    pub(crate) via: Option<String>,
    pub(crate) allow_loop: bool,
}

impl PlannedRoute {
    /// May it make a request?
    pub(crate) fn makes_requests(&self) -> bool {
        match self.verb {
            Verb::Same => self.requests,
            Verb::Call => true,
            Verb::Emit => false,
        }
    }

    /// May it make an event?
    pub(crate) fn makes_events(&self) -> bool {
        match self.verb {
            Verb::Same => self.events,
            Verb::Call => false,
            Verb::Emit => true,
        }
    }
}

impl Plan {
    /// Plans a bridge; what cannot be planned is left out and noted.
    pub(crate) fn new(config: &Config, registry: &Registry, findings: &mut Findings) -> Self {
        let folder = config.source.folder();
        let resolved = config.endpoints.iter().map(|endpoint| resolve(endpoint, registry, folder, findings));
        let endpoints: Vec<Resolved> = resolved.collect::<Vec<_>>().into_iter().flatten().collect();
        let places = endpoints.iter().enumerate().map(|(place, endpoint)| (endpoint.name.as_str(), place));
        let places: HashMap<&str, usize> = places.collect();
        let known: Vec<&str> = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
        let exist: HashSet<&str> = known.iter().copied().collect();

        let mut routes = Vec::new();
        let mut names = HashSet::new();
        let mut used = HashSet::new();
        for route in &config.routes {
            if let Some(name) = &route.name
                && !names.insert(name.value.as_str())
            {
                let text = format!("two routes have the name {:?}", name.value);
                findings.add(Problem::Duplicate, name.line, text, "rename one of them");
            }
            for end in [&route.from, &route.to] {
                if !exist.contains(end.value.as_str()) {
                    let text = format!("endpoint {:?} does not exist", end.value);
                    let fix = near_or(&end.value, known.iter().copied(), || {
                        format!("add [endpoint.{}], or name another", end.value)
                    });
                    findings.add(Problem::Reference, end.line, text, fix);
                }
                used.insert(end.value.as_str());
            }
            let ends = (places.get(route.from.value.as_str()), places.get(route.to.value.as_str()));
            if let (Some(from), Some(to)) = ends {
                routes.extend(plan_route(route, *from, *to, &endpoints, findings));
            }
        }
        // Whatever could not be read may be a route that uses it.
        if config.findings.is_empty() {
            for endpoint in config.endpoints.iter().filter(|endpoint| !used.contains(endpoint.name.as_str()))
            {
                let text = format!("no route uses endpoint `{}`", endpoint.name);
                findings.add(Problem::Unused, endpoint.line, text, "add a [[route]], or remove the endpoint");
            }
        }
        Self { endpoints, routes }
    }
}

fn plan_route(
    route: &RouteConfig,
    from: usize,
    to: usize,
    endpoints: &[Resolved],
    findings: &mut Findings,
) -> Option<PlannedRoute> {
    let (ingress, egress) = (endpoints.get(from)?, endpoints.get(to)?);
    let (pattern, lead) = match_names(route, ingress, findings)?;
    let (naming, target) = target_names(route, &pattern, &lead, egress, findings)?;
    let kind = route.kind.unwrap_or(match route.verb {
        Verb::Same => KindFilter::Any,
        Verb::Call => KindFilter::Request,
        Verb::Emit => KindFilter::Event,
    });
    let (requests, events) = kinds_that_cross(route, kind, ingress, egress, findings)?;
    let conversion =
        Conversion::new(&ingress.capabilities, &egress.capabilities, route.base64, route.wrap.as_deref());
    // Whoever asked over a wire where nothing is silence would wait in vain.
    let conversion = conversion.with_null_for_nothing(ingress.particulars.empty_reply == EmptyReply::Silence);
    Some(PlannedRoute {
        title: route.title().to_owned(),
        line: route.line,
        from,
        to,
        pattern,
        target,
        naming,
        requests,
        events,
        verb: route.verb,
        timeout: route.timeout.unwrap_or(egress.timeout),
        conversion,
        via: route.via.clone(),
        allow_loop: route.allow_loop,
    })
}

/// The pattern over names as they stand on the wire, and what of the prefix belongs to the part of the `*`.
fn match_names(
    route: &RouteConfig,
    ingress: &Resolved,
    findings: &mut Findings,
) -> Option<(Pattern, String)> {
    let written = &route.matches;
    let mut pattern = read_pattern("match", &written.value, written.line, findings)?;
    let prefix = ingress.prefix.as_str();
    if let Some(rest) = pattern.head.strip_prefix(prefix) {
        pattern.head = rest.to_owned();
        return Some((pattern, String::new()));
    }
    if let (Some(lead), false) = (prefix.strip_prefix(&*pattern.head), pattern.is_exact()) {
        pattern.head = String::new();
        return Some((pattern, lead.to_owned()));
    }
    let text = format!(
        "match = {:?} takes nothing: names of endpoint `{}` begin with {prefix:?}",
        written.value, ingress.name
    );
    let fix = format!("write match = \"{prefix}{}\"", written.value);
    findings.add(Problem::Prefix, written.line, text, fix);
    None
}

fn target_names(
    route: &RouteConfig,
    pattern: &Pattern,
    lead: &str,
    egress: &Resolved,
    findings: &mut Findings,
) -> Option<(Naming, Pattern)> {
    let Some(written) = &route.target else { return Some((Naming::Same, pattern.clone())) };
    let key = if route.verb == Verb::Call { "call" } else { "emit" };
    let mut target = read_pattern(key, &written.value, written.line, findings)?;
    let Some(rest) = target.head.strip_prefix(egress.prefix.as_str()) else {
        let (name, prefix) = (&egress.name, &egress.prefix);
        let text = format!("{key} = {:?}: names of endpoint `{name}` begin with {prefix:?}", written.value);
        let fix = format!("write {key} = \"{prefix}{}\"", written.value);
        findings.add(Problem::Prefix, written.line, text, fix);
        return None;
    };
    target.head = rest.to_owned();
    match &target.tail {
        None => {
            let route = Route::new(target.head.clone()).ok()?;
            Some((Naming::Fixed(route), target))
        }
        Some(_) if pattern.is_exact() => {
            let text = format!("{key} = {:?} has a `*`, but `match` has none", written.value);
            findings.add(Problem::Name, written.line, text, "write a name without `*`");
            None
        }
        Some(tail) => {
            target.head.push_str(lead);
            if target.head == pattern.head && Some(tail) == pattern.tail.as_ref() {
                return Some((Naming::Same, target));
            }
            Some((Naming::Around { head: target.head.clone(), tail: tail.clone() }, target))
        }
    }
}

fn read_pattern(key: &str, text: &str, line: u32, findings: &mut Findings) -> Option<Pattern> {
    let pattern = Pattern::parse(text);
    if let Err(fault) = &pattern {
        let what = format!("{key} = {text:?} {fault}");
        findings.add(Problem::Name, line, what, "write a name with at most one `*`");
    }
    pattern.ok()
}

/// Which of the kinds of message that a route wants can cross: requests, events. `None`, and a finding, when none can.
fn kinds_that_cross(
    route: &RouteConfig,
    kind: KindFilter,
    ingress: &Resolved,
    egress: &Resolved,
    findings: &mut Findings,
) -> Option<(bool, bool)> {
    let peers = match ingress.role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    };
    let (requests_come, events_come) = carries(ingress, peers);
    let as_requests = peers == Role::Client && ingress.particulars.client_events == EventForm::Requests;
    let events_come = events_come && !as_requests;
    let (requests_go, events_go) = carries(egress, egress.role);
    let (request_goes, event_goes) = match route.verb {
        Verb::Same => (requests_go, events_go),
        Verb::Call => (requests_go, requests_go),
        Verb::Emit => (events_go, events_go),
    };
    let wanted = (kind != KindFilter::Event, kind != KindFilter::Request);
    let come = (wanted.0 && requests_come, wanted.1 && events_come);
    let cross = (come.0 && request_goes, come.1 && event_goes);
    let (from, to) = (&ingress.name, &egress.name);
    if cross == (false, false) {
        let text = if come == (false, false) {
            let what = if wanted.0 { "requests" } else { "events" };
            let wire = ingress.adapter.name();
            if as_requests && !wanted.0 {
                format!("no events ever come from `{from}`: those of {wire} clients arrive as requests")
            } else {
                format!("no {what} ever come from `{from}`: {wire} carries none that way")
            }
        } else {
            let what = if come.0 && route.verb != Verb::Emit { "requests" } else { "events" };
            format!("no {what} can go to `{to}`: {} carries none that way", egress.adapter.name())
        };
        let fix = "turn the route round, change `role`, or use another kind of message";
        findings.add(Problem::Direction, route.line, text, fix);
        return None;
    }
    if cross != come {
        let (stays, crosses) = if cross.0 { ("events", "request") } else { ("requests", "event") };
        let text = format!("{stays} of this route cannot go to `{to}` and are left to later routes");
        findings.add(Problem::OneKind, route.line, text, format!("write kind = \"{crosses}\" to say so"));
    }
    Some(cross)
}

/// Can this side of an endpoint's wire send requests, and events, to the other?
fn carries(endpoint: &Resolved, sender: Role) -> (bool, bool) {
    let capabilities = &endpoint.capabilities;
    match sender {
        Role::Client => (capabilities.max_concurrent_calls > 0, capabilities.client_events),
        Role::Server => (capabilities.server_calls, capabilities.push),
    }
}
