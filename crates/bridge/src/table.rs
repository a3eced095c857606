//! The handler of one endpoint: finds the route of a message, and lets it carry the message over.
//!
//! The first route of the file that takes a message has it. The table never changes once it is built, so it is shared without
//! a lock; an exact name costs one look-up, however many routes there are.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use polywire_core::{Code, Failure, GAP, Handler, HandlerFuture, Incoming, Kind};

use crate::rule::Rule;
use crate::stripes::Stripes;

/// The routes that begin at one endpoint.
#[derive(Default)]
pub(crate) struct Table {
    /// Who has each name that some route spells out: of requests, and of events.
    exact: HashMap<String, Found>,
    /// The routes with a `*`, in file order.
    patterns: Vec<Arc<Stripes>>,
    pub(crate) unrouted: Unrouted,
}

#[derive(Clone, Default)]
struct Found {
    request: Option<Arc<Stripes>>,
    event: Option<Arc<Stripes>>,
}

/// Messages that no route takes.
#[derive(Debug, Default)]
pub(crate) struct Unrouted {
    pub(crate) requests: AtomicU64,
    pub(crate) events: AtomicU64,
}

impl Table {
    /// A table of these routes, in file order.
    pub(crate) fn new(routes: &[Arc<Stripes>]) -> Self {
        let mut table = Self::default();
        for rule in routes {
            if rule.pattern.is_exact() {
                let name = &rule.pattern.head;
                if !table.exact.contains_key(name) {
                    // Patterns that stand before this route come first.
                    let found = Found {
                        request: table.by_pattern(Kind::Request, name).cloned(),
                        event: table.by_pattern(Kind::Event, name).cloned(),
                    };
                    table.exact.insert(name.clone(), found);
                }
                table.offer(name, rule);
            } else {
                // Names that are known already may have no route of this kind yet.
                let names: Vec<String> =
                    table.exact.keys().filter(|name| rule.pattern.matched(name).is_some()).cloned().collect();
                for name in names {
                    table.offer(&name, rule);
                }
                table.patterns.push(Arc::clone(rule));
            }
        }
        table
    }

    /// Gives the name to the route, as far as it is still free.
    fn offer(&mut self, name: &str, rule: &Arc<Stripes>) {
        if *name == *GAP && !rule.pattern.is_exact() {
            return;
        }
        if let Some(found) = self.exact.get_mut(name) {
            for (kind, slot) in [(Kind::Request, &mut found.request), (Kind::Event, &mut found.event)] {
                if slot.is_none() && rule.takes(kind) {
                    *slot = Some(Arc::clone(rule));
                }
            }
        }
    }

    fn by_pattern(&self, kind: Kind, name: &str) -> Option<&Arc<Stripes>> {
        // The mark of a reconnect is our own: it crosses only where a route names it.
        if *name == *GAP {
            return None;
        }
        self.patterns.iter().find(|rule| rule.takes(kind) && rule.pattern.matched(name).is_some())
    }

    pub(crate) fn find(&self, kind: Kind, name: &str) -> Option<&Arc<Stripes>> {
        match self.exact.get(name) {
            Some(found) => match kind {
                Kind::Request => found.request.as_ref(),
                Kind::Event => found.event.as_ref(),
            },
            None => self.by_pattern(kind, name),
        }
    }
}

impl Handler for Table {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        if let Some(rule) = self.find(incoming.kind, &incoming.route) {
            return Rule::carry(rule.stripe(&incoming.peer), incoming);
        }
        let counter = match incoming.kind {
            Kind::Request => &self.unrouted.requests,
            Kind::Event => &self.unrouted.events,
        };
        if *incoming.route != *GAP {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let failure = Failure::new(Code::NotFound, "the bridge has no route for this name");
        Box::pin(std::future::ready(Err(failure)))
    }
}
