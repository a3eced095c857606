//! What a client's connections and its handler go through in simulated time, when nobody calls and when a connection is lost.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{
    Arrival, BoxFuture, ClientState, Count, Credentials, Endpoint, Handler, HandlerFuture, Incoming, Io,
    JsonText, Network, NetworkListener, Request, Response, Route, Surroundings,
};
use polywire_hpx::{ClientConfig, HpxClient, HpxServer, ServerConfig};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

/// A network of pipes to one listener.
struct Pipes {
    dialled: mpsc::Sender<DuplexStream>,
    listener: Mutex<Option<Arrivals>>,
}

struct Arrivals(mpsc::Receiver<DuplexStream>);

impl Pipes {
    fn new() -> Arc<Self> {
        let (dialled, arrivals) = mpsc::channel(16);
        Arc::new(Self { dialled, listener: Mutex::new(Some(Arrivals(arrivals))) })
    }
}

impl Network for Pipes {
    fn connect<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Box::pin(async move {
            let (near, far) = duplex(1 << 16);
            self.dialled.send(far).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(near) as Box<dyn Io>)
        })
    }

    fn listen(&self, _address: &str) -> io::Result<Box<dyn NetworkListener>> {
        let arrivals = self.listener.lock().unwrap().take();
        Ok(Box::new(arrivals.ok_or(io::ErrorKind::AddrInUse)?))
    }
}

impl NetworkListener for Arrivals {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Arrival>> {
        Box::pin(async move {
            match self.0.recv().await {
                Some(stream) => Ok((Box::new(stream) as Box<dyn Io>, None)),
                None => std::future::pending().await,
            }
        })
    }

    fn address(&self) -> String {
        "pipes:1".to_owned()
    }
}

/// Answers calls, except `never`, and writes down what it is given.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Route>>>);

impl Handler for Heard {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        self.0.lock().unwrap().push(incoming.route.clone());
        Box::pin(async move {
            if &*incoming.route == "never" {
                std::future::pending::<()>().await;
            }
            Ok(Response::from(incoming.body))
        })
    }
}

fn endpoint(network: &Arc<Pipes>, heard: &Heard) -> Endpoint {
    let mut endpoint = Endpoint::new("hpx", heard.clone());
    endpoint.surroundings =
        Surroundings { network: Some(Arc::clone(network) as _), ..Surroundings::seeded(7) };
    endpoint
}

fn request(route: &'static str) -> Request {
    Request::new(Route::from_static(route), JsonText::from_validated(Bytes::from_static(b"{}")))
}

/// A client of so many connections, its server, and what the client's handler hears.
async fn dialled(connections: usize) -> (HpxClient, HpxServer, Heard) {
    let (network, heard) = (Pipes::new(), Heard::default());
    let config = ServerConfig { guests: true, ..ServerConfig::default() };
    let server = HpxServer::bind("pipes:1", config, endpoint(&network, &Heard::default())).await.unwrap();
    let client = HpxClient::connect(
        "pipes:1",
        Arc::new(Credentials::guest()),
        ClientConfig { connections, ..ClientConfig::default() },
        endpoint(&network, &heard),
    )
    .unwrap();
    client.ready().await.unwrap();
    (client, server, heard)
}

#[tokio::test(start_paused = true)]
async fn connections_that_carry_nothing_for_an_hour_stay() {
    let (client, server, heard) = dialled(4).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let ledgers = [client.core().ledger(), server.core().ledger()];
    for ledger in ledgers {
        assert_eq!((ledger.get(Count::Connections), ledger.get(Count::Closed)), (4, 0));
    }
    assert_eq!((client.core().state(), server.core().peers().len()), (ClientState::Ready, 4));
    assert_eq!(*heard.0.lock().unwrap(), []);
    // Each of them is good for a call.
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let caller = client.caller().clone();
            tokio::spawn(async move { caller.call(request("f")).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(client.core().ledger().get(Count::Connections), 4);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_replaced_tells_the_handler_nothing() {
    let (client, _server, heard) = dialled(1).await;
    let given_up = client.call(request("never").timeout(Duration::from_millis(50))).await;
    assert!(given_up.is_err(), "{given_up:?}");
    client.call(request("f")).await.unwrap();
    assert_eq!(client.core().ledger().get(Count::Connections), 2);
    // The wire has no events, so none can be missing.
    assert_eq!(*heard.0.lock().unwrap(), []);
}
