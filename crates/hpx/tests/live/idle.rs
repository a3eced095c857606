//! What a client's connections and its handler go through in simulated time, when nobody calls and when a connection is lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_core::{ClientState, Count, Handler, HandlerFuture, Incoming, Response, Route};
use polywire_hpx::{ClientConfig, HpxClient, HpxServer};

use crate::wires::{Wires, endpoint};
use crate::{guest, guests, request};

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

/// A client of so many connections, its server, and what the client's handler hears.
async fn dialled(connections: usize) -> (HpxClient, HpxServer, Heard) {
    let (wires, heard) = (Wires::new(), Heard::default());
    let server = HpxServer::bind("memory", guests(), endpoint(&wires, Heard::default())).await.unwrap();
    let config = ClientConfig { connections, ..ClientConfig::default() };
    let client = HpxClient::connect("memory", guest(), config, endpoint(&wires, heard.clone())).unwrap();
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
            tokio::spawn(async move { caller.call(request("f", "{}")).await })
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
    let given_up = client.call(request("never", "{}").timeout(Duration::from_millis(50))).await;
    assert!(given_up.is_err(), "{given_up:?}");
    client.call(request("f", "{}")).await.unwrap();
    assert_eq!(client.core().ledger().get(Count::Connections), 2);
    // The wire has no events, so none can be missing.
    assert_eq!(*heard.0.lock().unwrap(), []);
}
