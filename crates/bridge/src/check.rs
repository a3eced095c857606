//! The check of a bridge file: everything that can be told before it runs. Offline; it reads the file and the secrets it names.

use std::collections::HashMap;

use crate::config::{Config, Role};
use crate::finding::{Finding, Findings, Problem};
use crate::loops::{self, is_loopback};
use crate::loss;
use crate::plan::{Plan, PlannedRoute};
use crate::registry::Registry;
use crate::report::Report;
use crate::resolve::Resolved;

/// Checks a bridge file against the adapters there are.
///
/// Finds what is misspelt or missing, names that lead nowhere, routes that never match or go round, secrets that cannot be
/// read, servers open to everybody, and what of each message the wires at both ends cannot carry.
pub fn check(config: &Config, registry: &Registry) -> Report {
    plan_and_check(config, registry).1
}

/// The plan of a bridge, and the report on it; with errors in the report the plan is not whole.
pub(crate) fn plan_and_check(config: &Config, registry: &Registry) -> (Plan, Report) {
    let mut findings = Findings::default();
    let plan = Plan::new(config, registry, &mut findings);
    for endpoint in &plan.endpoints {
        exposure(endpoint, &mut findings);
    }
    for route in &plan.routes {
        names(route, &plan, &mut findings);
    }
    shadows(&plan, &mut findings);
    loops::check(&plan, &mut findings);
    let routes = plan.routes.iter().filter_map(|route| loss::report(route, &plan, &mut findings)).collect();
    let mut found: Vec<Finding> = config.findings.iter().cloned().chain(findings.into_sorted()).collect();
    found.sort_by_key(|finding| finding.line);
    let file = config.name().to_owned();
    let unreadable = found.iter().any(|finding| finding.problem == Problem::Syntax);
    let report = Report { file, endpoints: config.endpoints.len(), routes, findings: found, unreadable };
    (plan, report)
}

fn exposure(endpoint: &Resolved, findings: &mut Findings) {
    if endpoint.role != Role::Server || endpoint.target.unix {
        return;
    }
    let address = &endpoint.target.address;
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
    if !is_loopback(host) {
        let text = format!("`{}` listens at {address}, which other machines can reach", endpoint.name);
        let fix = "listen at 127.0.0.1, or make sure that only those who should can reach it";
        findings.add(Problem::Exposure, endpoint.address_line, text, fix);
    }
}

fn names(route: &PlannedRoute, plan: &Plan, findings: &mut Findings) {
    for (pattern, place) in [(&route.pattern, route.from), (&route.target, route.to)] {
        let Some(endpoint) = plan.endpoints.get(place).filter(|_| pattern.is_exact()) else { continue };
        let (name, wire) = (&pattern.head, endpoint.adapter.name());
        if endpoint.adapter.reserved_routes().contains(&name.as_str()) {
            let text = format!("{name:?} is never a route on {wire}: the protocol uses it itself");
            findings.add(Problem::Reserved, route.line, text, "use another name");
        }
        let most = endpoint.capabilities.max_route_bytes;
        if name.len() > most {
            let text = format!("a name of {} bytes exceeds the {most} that {wire} has room for", name.len());
            findings.add(Problem::Name, route.line, text, "use a shorter name");
        }
    }
}

/// Routes that an earlier one leaves nothing for.
fn shadows(plan: &Plan, findings: &mut Findings) {
    let mut patterns: HashMap<usize, Vec<&PlannedRoute>> = HashMap::new();
    let mut exact: HashMap<(usize, &str), Vec<&PlannedRoute>> = HashMap::new();
    for route in &plan.routes {
        let covers = |earlier: &&&PlannedRoute| {
            earlier.pattern.covers(&route.pattern)
                && (earlier.requests || !route.requests)
                && (earlier.events || !route.events)
        };
        let same = exact.get(&(route.from, route.pattern.head.as_str())).filter(|_| route.pattern.is_exact());
        let wider = patterns.get(&route.from);
        if let Some(earlier) = same.into_iter().chain(wider).flatten().find(covers) {
            let text = format!(
                "route {:?} gets nothing: {:?} in line {} takes it all, and the first route has a message",
                route.title, earlier.title, earlier.line
            );
            findings.add(Problem::Shadowed, route.line, text, "move it up, or remove it");
        }
        if route.pattern.is_exact() {
            exact.entry((route.from, &route.pattern.head)).or_default().push(route);
        } else {
            patterns.entry(route.from).or_default().push(route);
        }
    }
}
