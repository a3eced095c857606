//! Our end of the wire: an adapter that dials or listens, with the service behind it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use polywire_core::{
    Adapter, AdapterError, Body, CallError, Client, ClientState, Close, Endpoint, Event, Identity, Limits,
    Observe, Peer, Reconnect, Request, Route, Server, Shutdown, Target,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::outcome::{Apart, Ended};
use super::service::Service;

/// The largest message that our end takes where it listens.
pub(super) const LISTENER_LIMIT: usize = 2 << 20;
/// What waits at our end: more than the largest message that is tried.
const MAX_QUEUE_BYTES: usize = 64 << 20;
/// How long a call waits for a peer that has just connected.
const PEER: Duration = Duration::from_secs(3);
/// How long a close waits for what is in flight.
const DRAIN: Duration = Duration::from_secs(5);
/// How long a client that dials by itself may take from its first failure to what it makes of it.
const SETTLES: Duration = Duration::from_secs(3);
/// How soon a client that comes back is asked whether it did.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Our end.
pub(super) struct Ours {
    pub(super) service: Arc<Service>,
    adapter: Arc<dyn Adapter>,
    end: End,
}

enum End {
    Dials { target: Target, client: Mutex<Option<Arc<Client>>>, shutdown: Shutdown },
    Listens { server: Mutex<Option<Server>>, peer: watch::Receiver<Option<Peer>> },
}

/// Tells who came last.
struct Arrivals(watch::Sender<Option<Peer>>);

impl Observe for Arrivals {
    fn connected(&self, peer: &Peer) {
        self.0.send_replace(Some(peer.clone()));
    }

    fn disconnected(&self, peer: &Peer, _: &Close) {
        self.0.send_if_modified(|there| there.take_if(|there| there.id() == peer.id()).is_some());
    }
}

impl Ours {
    /// An end that will dial `target`.
    pub(super) fn dials(adapter: Arc<dyn Adapter>, target: Target, service: Arc<Service>) -> Self {
        Self {
            service,
            adapter,
            end: End::Dials { target, client: Mutex::new(None), shutdown: Shutdown::new() },
        }
    }

    /// An end that listens at `target`, and where.
    ///
    /// # Errors
    /// When the adapter cannot listen so.
    pub(super) async fn listens(
        adapter: Arc<dyn Adapter>,
        target: Target,
        service: Arc<Service>,
    ) -> Result<(Self, String), AdapterError> {
        let (tell, peer) = watch::channel(None);
        let mut endpoint = endpoint(&*adapter, &service, LISTENER_LIMIT);
        endpoint.observer = Some(Arc::new(Arrivals(tell)));
        // Where a wire has a secret, its adapter looks at that; here nobody is refused besides.
        endpoint.authenticator = Some(Arc::new(|_| async { Ok(Identity::guest()) }));
        let server = adapter.listen(target, endpoint).await?;
        let address = server.address().to_owned();
        Ok((Self { service, adapter, end: End::Listens { server: Mutex::new(Some(server)), peer } }, address))
    }

    /// Connects and logs in, or comes back.
    ///
    /// # Errors
    /// Why it does not.
    pub(super) async fn dial(&self, limit: Duration) -> Result<(), Apart> {
        let End::Dials { target, client, shutdown } = &self.end else {
            return Err(Apart::Failed("it listens".to_owned()));
        };
        let there = client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(client) = there {
            return comes_back(&client, limit).await.map_err(Apart::Failed);
        }
        let mut endpoint = endpoint(&*self.adapter, &self.service, Limits::default().max_frame_bytes);
        endpoint.shutdown = shutdown.clone();
        let dialled = self.adapter.dial(target.clone(), endpoint).await;
        let dialled = dialled.map_err(|error| Apart::Failed(error.to_string()))?;
        let dialled = Arc::new(dialled);
        *client.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&dialled));
        settled(&dialled, limit).await
    }

    /// Makes one call.
    pub(super) async fn call(self: Arc<Self>, route: Route, body: Body, limit: Duration) -> Ended {
        let request = Request::new(route, body).timeout(limit);
        let outcome = match &self.end {
            End::Dials { client, .. } => {
                let client = client.lock().unwrap_or_else(PoisonError::into_inner).clone();
                match client {
                    Some(client) => client.caller().call(request).await,
                    None => return Ended::NotSent("it is not connected".to_owned()),
                }
            }
            End::Listens { .. } => match self.peer().await {
                Some(peer) => peer.call(request).await,
                None => return Ended::NotSent("nobody is connected".to_owned()),
            },
        };
        match outcome {
            Ok(response) => Ended::Answer(response.body),
            Err(error) => error.into(),
        }
    }

    /// Sends one event.
    ///
    /// # Errors
    /// Why it did not leave.
    pub(super) async fn notify(&self, event: Event) -> Result<(), CallError> {
        let nobody = || CallError::not_sent(polywire_core::Code::Unavailable, "nobody is connected");
        match &self.end {
            End::Dials { client, .. } => {
                let client = client.lock().unwrap_or_else(PoisonError::into_inner).clone();
                client.ok_or_else(nobody)?.caller().notify(event).await
            }
            End::Listens { .. } => self.peer().await.ok_or_else(nobody)?.notify(event).await,
        }
    }

    /// Lets what is in flight end, and closes.
    pub(super) async fn close(&self) {
        match &self.end {
            End::Dials { client, shutdown, .. } => {
                let client = client.lock().unwrap_or_else(PoisonError::into_inner).take();
                shutdown.drain();
                if let Some(client) = client {
                    let mut state = client.watch();
                    let closed = state.wait_for(|state| matches!(state, ClientState::Closed(_)));
                    // What is not closed by then is dropped.
                    let _ = timeout(DRAIN, closed).await;
                }
            }
            End::Listens { server, .. } => {
                let server = server.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(server) = server {
                    server.shutdown().await;
                }
            }
        }
    }

    /// Whoever is connected now, or within a moment.
    async fn peer(&self) -> Option<Peer> {
        let End::Listens { peer, .. } = &self.end else { return None };
        let mut peer = peer.clone();
        let there = peer.wait_for(Option::is_some);
        let there = timeout_at(Instant::now() + PEER, there).await.ok()?.ok()?;
        there.clone()
    }
}

/// Waits until a client that dials for the first time is connected, refused or over. One refusal is not the last: it is tried again.
async fn settled(client: &Client, limit: Duration) -> Result<(), Apart> {
    let mut state = client.watch();
    let over = || Apart::Failed("it is over".to_owned());
    match timeout(limit, state.wait_for(|state| *state != ClientState::Connecting)).await {
        Ok(first) => drop(first.map_err(|_| over())?),
        Err(_) => return Err(Apart::Failed(format!("it is not connected within {limit:?}"))),
    }
    let tries = |state: &ClientState| {
        matches!(state, ClientState::Connecting | ClientState::Waiting(_) | ClientState::Denied(_))
    };
    // Whoever still tries has failed so far.
    let _ = timeout(SETTLES, state.wait_for(|state| !tries(state))).await;
    match client.state() {
        ClientState::Ready => Ok(()),
        ClientState::Denied(refusal) | ClientState::Refused(refusal) => {
            Err(Apart::Refused(refusal.to_string()))
        }
        ClientState::Waiting(why) | ClientState::Closed(why) => Err(Apart::Failed(why)),
        _ => Err(over()),
    }
}

/// Waits until a client that lost its connection is served again.
///
/// Its state may still be that of the connection that was lost, so it is asked whether somebody answers.
async fn comes_back(client: &Client, limit: Duration) -> Result<(), String> {
    let end = Instant::now() + limit;
    let mut last = String::new();
    while Instant::now() < end {
        let request = Request::new(Route::from_static("echo"), empty_object()).timeout(ASK_AGAIN);
        match timeout_at(end, client.caller().call(request)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => break,
        }
        if let ClientState::Refused(_) | ClientState::Closed(_) = client.state() {
            break;
        }
        tokio::task::yield_now().await;
    }
    Err(format!("it did not come back within {limit:?}: {last}"))
}

fn empty_object() -> Body {
    Body::Json(polywire_core::JsonText::from_validated("{}".into()))
}

fn endpoint(adapter: &dyn Adapter, service: &Arc<Service>, max_frame_bytes: usize) -> Endpoint {
    let limits = Limits {
        max_frame_bytes,
        max_queue_bytes: MAX_QUEUE_BYTES,
        drain_timeout: DRAIN,
        ..Limits::default()
    };
    let reconnect = Reconnect {
        first_pause: Duration::from_millis(50),
        max_pause: Duration::from_millis(500),
        ..Reconnect::default()
    };
    Endpoint { limits: Arc::new(limits), reconnect, ..Endpoint::new(adapter.name(), Arc::clone(service)) }
}
