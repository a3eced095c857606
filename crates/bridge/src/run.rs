//! A running bridge: every endpoint started, every route bound to the way out it leads to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use polywire_core::{
    Client, ClientState, Endpoint, Ledger, Memory, ProgressForm, Reconnect, Server, Shutdown, Surroundings,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::check::plan_and_check;
use crate::config::{Config, Role};
use crate::counts::{Ending, Seldom};
use crate::error::{NotReady, StartError};
use crate::outage;
use crate::plan::{Plan, PlannedRoute};
use crate::port::Port;
use crate::registry::Registry;
use crate::resolve::Resolved;
use crate::rule::Rule;
use crate::secret::Users;
use crate::snapshot::{EndpointSnapshot, EndpointState, MemorySnapshot, RouteSnapshot, Snapshot};
use crate::stripes::Stripes;
use crate::table::Table;

/// After its login was refused for good, an endpoint tries again once in this time.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// The most that `handler_timeout` can be.
const MAX_HANDLER_TIMEOUT: Duration = Duration::from_secs(3_600);

/// A bridge that is running. Dropped, it stops at once.
pub struct Bridge {
    endpoints: Vec<Running>,
    /// In file order.
    rules: Vec<Arc<Stripes>>,
    memory: Arc<Memory>,
    shutdown: Shutdown,
}

struct Running {
    name: String,
    protocol: &'static str,
    required: bool,
    ends: Ends,
    port: Arc<Port>,
    table: Arc<Table>,
    ledger: Arc<Ledger>,
}

enum Ends {
    Client(Client),
    Server(Box<Server>),
}

impl Bridge {
    /// Starts every endpoint of a bridge file. Needs a tokio runtime.
    ///
    /// Clients are dialled in the background, so an application that is not there yet does not hold up the others;
    /// [`Bridge::ready`] waits for those that are required.
    ///
    /// # Errors
    /// [`StartError`] when the file has errors, or an endpoint cannot be had. Nothing is left running then.
    ///
    /// # Cancel safety
    /// Dropping the future stops what was started.
    pub async fn start(
        config: &Config,
        registry: &Registry,
        mut surroundings: Surroundings,
    ) -> Result<Self, StartError> {
        let (plan, report) = plan_and_check(config, registry);
        if report.errors() > 0 {
            return Err(StartError::Check(Box::new(report)));
        }
        let Plan { endpoints, routes } = plan;
        if let Some(max) = config.max_memory_bytes {
            surroundings.memory = Arc::new(Memory::new(max));
        }
        let ports: Vec<Arc<Port>> = endpoints.iter().map(port_of).collect();
        let node: Arc<str> = Arc::from(config.node.as_str());
        let mut rules = Vec::new();
        let mut by_ingress: Vec<Vec<Arc<Stripes>>> = vec![Vec::new(); endpoints.len()];
        let mut longest = vec![Duration::ZERO; endpoints.len()];
        for route in routes {
            let (Some(port), Some(egress)) = (ports.get(route.to), endpoints.get(route.to)) else { continue };
            let from = route.from;
            if let Some(longest) = longest.get_mut(from) {
                *longest = lasts_at_most(&route, egress).max(*longest);
            }
            let rule = Arc::new(Stripes::new(bind(route, port, &node, &surroundings)));
            if let Some(ingress) = by_ingress.get_mut(from) {
                ingress.push(Arc::clone(&rule));
            }
            rules.push(rule);
        }
        let shutdown = Shutdown::new();
        let memory = Arc::clone(&surroundings.memory);
        let mut bridge = Self { endpoints: Vec::new(), rules, memory, shutdown };
        // Clients first, so that the first request of a peer finds a way out.
        let mut all: Vec<_> =
            endpoints.into_iter().zip(ports).zip(by_ingress.into_iter().zip(longest)).collect();
        all.sort_by_key(|((endpoint, _), _)| endpoint.role == Role::Server);
        for ((endpoint, port), (rules, longest)) in all {
            let table = Arc::new(Table::new(&rules));
            let mut core = Endpoint::on(&*endpoint.adapter, Arc::clone(&table));
            let limits = Arc::make_mut(&mut core.limits);
            limits.drain_timeout = config.drain;
            limits.handler_timeout = limits.handler_timeout.max(longest);
            core.surroundings = surroundings.clone();
            // What a peer may end on a wire is the bridge.
            core.shutdown = match endpoint.role {
                Role::Server => bridge.shutdown.clone(),
                Role::Client => bridge.shutdown.child(),
            };
            let started = start_endpoint(endpoint, core, port, table).await?;
            bridge.endpoints.push(started);
        }
        Ok(bridge)
    }

    /// The address that peers of a server endpoint dial, as `host:port` or a path; `None` for a client.
    pub fn address(&self, endpoint: &str) -> Option<&str> {
        let running = self.endpoints.iter().find(|running| running.name == endpoint)?;
        match &running.ends {
            Ends::Client(_) => None,
            Ends::Server(server) => Some(server.address()),
        }
    }

    /// Follows where a client endpoint stands; `None` for a server.
    pub fn watch(&self, endpoint: &str) -> Option<watch::Receiver<ClientState>> {
        let running = self.endpoints.iter().find(|running| running.name == endpoint)?;
        match &running.ends {
            Ends::Client(client) => Some(client.watch()),
            Ends::Server(_) => None,
        }
    }

    /// Waits until every required endpoint is connected and logged in.
    ///
    /// # Errors
    /// [`NotReady`] when one of them was refused, or is over.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn ready(&self) -> Result<(), NotReady> {
        for running in self.endpoints.iter().filter(|running| running.required) {
            if let Ends::Client(client) = &running.ends {
                let endpoint = running.name.clone();
                client.ready().await.map_err(|failure| NotReady { endpoint, failure })?;
            }
        }
        Ok(())
    }

    /// Every counter and state as they are now.
    pub fn snapshot(&self) -> Snapshot {
        let routes = self.rules.iter().map(|rule| {
            // Endings before receipts: what is running is never negative.
            let endings: Vec<_> = Ending::ALL.iter().map(|ending| (*ending, rule.get(*ending))).collect();
            RouteSnapshot {
                title: rule.title.clone(),
                received: rule.received(),
                endings: endings.into_iter().filter(|(_, count)| *count > 0).collect(),
                copies_dropped: rule.copies_dropped(),
            }
        });
        let endpoints = self.endpoints.iter().map(|running| EndpointSnapshot {
            name: running.name.clone(),
            protocol: running.protocol,
            required: running.required,
            state: match &running.ends {
                Ends::Client(client) => EndpointState::Client(client.state()),
                Ends::Server(server) => EndpointState::Server {
                    address: server.address().to_owned(),
                    peers: running.port.peers(),
                },
            },
            unrouted_requests: running.table.unrouted.requests.load(Ordering::Relaxed),
            unrouted_events: running.table.unrouted.events.load(Ordering::Relaxed),
            ledger: running.ledger.snapshot(),
        });
        let memory = MemorySnapshot {
            held: self.memory.held(),
            peak: self.memory.peak(),
            max: self.memory.max(),
            step: self.memory.step(),
        };
        Snapshot { endpoints: endpoints.collect(), routes: routes.collect(), memory }
    }

    /// The handle that stops everything: to drain, or to stop at once while [`Bridge::shutdown`] still drains.
    pub fn shutdown_handle(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Drains: takes nothing new, lets calls in flight end for up to `drain` of the file, then closes every endpoint. Gives
    /// back when everything has ended, a second after the drain at the latest.
    ///
    /// # Cancel safety
    /// Dropped before it is done, everything ends at once.
    pub async fn shutdown(mut self) {
        // All at once: a call in flight keeps the connection it waits on, whichever end of the bridge that is.
        self.shutdown.drain();
        let mut ends = JoinSet::new();
        for running in std::mem::take(&mut self.endpoints) {
            match running.ends {
                Ends::Client(client) => ends.spawn(client.shutdown()),
                Ends::Server(server) => ends.spawn(server.shutdown()),
            };
        }
        while ends.join_next().await.is_some() {}
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints = self.endpoints.iter().map(|running| &running.name).collect::<Vec<_>>();
        f.debug_struct("Bridge").field("endpoints", &endpoints).finish_non_exhaustive()
    }
}

/// How long a call along this route may last. It ends by itself, so its handler is given a little longer.
fn lasts_at_most(route: &PlannedRoute, egress: &Resolved) -> Duration {
    let alive = match egress.capabilities.progress {
        ProgressForm::None => Duration::ZERO,
        _ => egress.adapter.limits().progress_timeout,
    };
    (route.timeout.max(alive) + Duration::from_secs(1)).min(MAX_HANDLER_TIMEOUT)
}

fn port_of(endpoint: &Resolved) -> Arc<Port> {
    Arc::new(match endpoint.role {
        Role::Client => Port::client(),
        Role::Server => Port::server(),
    })
}

fn bind(route: PlannedRoute, port: &Arc<Port>, node: &Arc<str>, surroundings: &Surroundings) -> Rule {
    Rule {
        title: route.title,
        pattern: route.pattern,
        requests: route.requests,
        events: route.events,
        naming: route.naming,
        verb: route.verb,
        timeout: route.timeout,
        conversion: route.conversion,
        via: route.via.map(|member| (member, Arc::clone(node))),
        port: Arc::clone(port),
        clock: Arc::clone(&surroundings.clock),
        seldom: Seldom::new(),
    }
}

async fn start_endpoint(
    endpoint: Resolved,
    mut core: Endpoint,
    port: Arc<Port>,
    table: Arc<Table>,
) -> Result<Running, StartError> {
    let Resolved { name, role, adapter, target, required, users, .. } = endpoint;
    let failed = |source| StartError::Endpoint { endpoint: name.clone(), source };
    let ledger = Arc::clone(&core.ledger);
    let ends = match role {
        Role::Client => {
            core.reconnect = Reconnect { refused_pause: Some(REFUSED_PAUSE), ..Reconnect::default() };
            let teller = outage::Teller::new(&name, &core);
            let client = adapter.dial(target, core).await.map_err(failed)?;
            port.dialled(client.caller().clone(), client.watch());
            // It ends with the client.
            tokio::spawn(teller.follow(client.caller().clone(), client.watch()));
            Ends::Client(client)
        }
        Role::Server => {
            core.observer = Some(Arc::clone(&port) as _);
            if !users.is_empty() {
                core.authenticator = Some(Arc::new(Users(users)));
            }
            Ends::Server(Box::new(adapter.listen(target, core).await.map_err(failed)?))
        }
    };
    Ok(Running { name, protocol: adapter.name(), required, ends, port, table, ledger })
}
