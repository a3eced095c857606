//! Routes that lead a message back to where it came from.
//!
//! A message that leaves through an endpoint may come back from it, and from an endpoint of the same file at the other end of
//! that connection. The check follows names from route to route and reports every way round on which no route says
//! `allow_loop = true`.

use std::collections::HashMap;

use crate::config::Role;
use crate::finding::{Findings, Problem};
use crate::plan::{Plan, PlannedRoute};
use crate::resolve::Resolved;

pub(crate) fn check(plan: &Plan, findings: &mut Findings) {
    let index = Index::new(plan);
    let mut state = vec![State::Unseen; plan.routes.len()];
    for start in 0..plan.routes.len() {
        if state.get(start) == Some(&State::Unseen) {
            follow(start, plan, &index, &mut state, findings);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unseen,
    OnPath,
    Done,
}

/// Follows every way from `start`, depth first. The path is a list of its own, so that no stack grows with the file.
fn follow(start: usize, plan: &Plan, index: &Index<'_>, state: &mut [State], findings: &mut Findings) {
    let mut path = vec![(start, index.next(plan, start))];
    set(state, start, State::OnPath);
    while let Some((route, left)) = path.last_mut() {
        let Some(next) = left.pop() else {
            set(state, *route, State::Done);
            path.pop();
            continue;
        };
        match state.get(next) {
            Some(State::Unseen) => {
                set(state, next, State::OnPath);
                path.push((next, index.next(plan, next)));
            }
            Some(State::OnPath) => {
                let round = path.iter().map(|(route, _)| *route).skip_while(|route| *route != next);
                report(&round.collect::<Vec<_>>(), plan, findings);
            }
            _ => {}
        }
    }
}

fn set(state: &mut [State], route: usize, to: State) {
    if let Some(state) = state.get_mut(route) {
        *state = to;
    }
}

fn report(round: &[usize], plan: &Plan, findings: &mut Findings) {
    let routes: Vec<&PlannedRoute> = round.iter().filter_map(|route| plan.routes.get(*route)).collect();
    let (Some(first), Some(last)) = (routes.first(), routes.last()) else { return };
    let mut text = String::from("messages go round: ");
    for route in routes.iter().chain([first]) {
        let endpoint = plan.endpoints.get(route.from).map_or("", |endpoint| endpoint.name.as_str());
        if !text.ends_with(": ") {
            text.push_str(" -> ");
        }
        text.push_str(&format!("{endpoint} {} (line {})", route.pattern, route.line));
    }
    let fix = "narrow a name, or write allow_loop = true on one of these routes";
    findings.add(Problem::Loop, last.line, text, fix);
}

/// Routes by where they begin.
struct Index<'p> {
    /// The endpoints that a message which leaves through an endpoint may come from.
    arrivals: Vec<Vec<usize>>,
    exact: HashMap<(usize, &'p str), Vec<usize>>,
    patterns: HashMap<usize, Vec<usize>>,
    all: HashMap<usize, Vec<usize>>,
}

impl<'p> Index<'p> {
    fn new(plan: &'p Plan) -> Self {
        let arrivals = plan.endpoints.iter().enumerate().map(|(place, endpoint)| {
            let others = plan.endpoints.iter().enumerate();
            let linked = others.filter(|(other, candidate)| *other == place || meet(endpoint, candidate));
            linked.map(|(other, _)| other).collect()
        });
        let mut index = Self {
            arrivals: arrivals.collect(),
            exact: HashMap::new(),
            patterns: HashMap::new(),
            all: HashMap::new(),
        };
        for (place, route) in plan.routes.iter().enumerate() {
            index.all.entry(route.from).or_default().push(place);
            if route.pattern.is_exact() {
                index.exact.entry((route.from, &route.pattern.head)).or_default().push(place);
            } else {
                index.patterns.entry(route.from).or_default().push(place);
            }
        }
        index
    }

    /// The routes that a message may take after this one.
    fn next(&self, plan: &Plan, from: usize) -> Vec<usize> {
        let Some(route) = plan.routes.get(from).filter(|route| !route.allow_loop) else { return Vec::new() };
        let mut next = Vec::new();
        for endpoint in self.arrivals.get(route.to).into_iter().flatten() {
            let candidates = if route.target.is_exact() {
                let exact = self.exact.get(&(*endpoint, route.target.head.as_str()));
                [exact, self.patterns.get(endpoint)]
            } else {
                [self.all.get(endpoint), None]
            };
            next.extend(candidates.into_iter().flatten().flatten().copied().filter(|candidate| {
                plan.routes.get(*candidate).is_some_and(|candidate| {
                    let requests = route.makes_requests() && candidate.requests;
                    let events = route.makes_events() && candidate.events;
                    (requests || events) && route.target.overlaps(&candidate.pattern)
                })
            }));
        }
        next
    }
}

/// Are these the two ends of one connection?
fn meet(one: &Resolved, other: &Resolved) -> bool {
    let same_wire = one.adapter.name() == other.adapter.name() && one.role != other.role;
    let (server, client) = if one.role == Role::Server { (one, other) } else { (other, one) };
    if !same_wire || server.target.unix != client.target.unix {
        return false;
    }
    let (listens, dials) = (server.target.address.as_str(), client.target.address.as_str());
    if server.target.unix {
        return listens == dials;
    }
    match (listens.rsplit_once(':'), dials.rsplit_once(':')) {
        (Some((listens, one)), Some((dials, other))) => {
            let anywhere = matches!(listens, "0.0.0.0" | "[::]") && is_loopback(dials);
            one == other && (listens == dials || anywhere || (is_loopback(listens) && is_loopback(dials)))
        }
        _ => false,
    }
}

/// Does this host stand for this machine, and for nobody else?
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
