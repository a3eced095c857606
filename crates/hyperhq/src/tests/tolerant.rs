//! Over real sockets: what a peer says beyond the flow ends nothing, no limit of another setting is put in its place, the
//! namespace is found, and pages of browsers are refused.

use std::time::Duration;

use polywire_core::{
    Adapter, Body, Client, ClientState, Count, Endpoint, Event, Json, Limits, Peer, Request, Route, Router,
    Server, Target,
};
use polywire_socketio::{MAIN, ServerConfig};

use super::hand::json;
use crate::host::{Host, HostConfig};
use crate::{ADAPTER, Environment, Plugin};

const LIMIT: Duration = Duration::from_secs(30);
/// More than any limit on unusable messages.
const MANY: usize = 200;

/// A Socket.IO server that is no host, with one namespace.
async fn any_server(namespace: &str, router: Router) -> Server {
    let config = ServerConfig::new([namespace]);
    polywire_socketio::listen("127.0.0.1:0", config, Endpoint::new("socketio", router)).await.unwrap()
}

/// What a plugin of it is told.
fn environment(server: &Server) -> Environment {
    let port = server.address().rsplit(':').next().unwrap().to_owned();
    let environment = Environment::from(|name| match name {
        "HYPERHQ_PLUGIN_ID" => Some("demo".to_owned()),
        "HYPERHQ_SOCKET_PORT" => Some(port.clone()),
        "HYPERHQ_AUTH_CHALLENGE" => Some("c0ffee".to_owned()),
        _ => None,
    });
    environment.unwrap()
}

/// A plugin by the adapter, which logs in at `port` with `challenge`.
async fn dialled(port: u16, challenge: polywire_core::Secret) -> Client {
    dialled_at(format!("127.0.0.1:{port}"), challenge).await
}

async fn dialled_at(address: String, challenge: polywire_core::Secret) -> Client {
    let mut target = Target { address, ..Target::default() };
    target.options.set("plugin", "demo");
    target.options.set_secret("challenge", challenge);
    let endpoint = Endpoint::new("hyperhq", Router::new::<()>().build().unwrap());
    let client = ADAPTER.dial(target, endpoint).await.unwrap();
    tokio::time::timeout(LIMIT, client.ready()).await.unwrap().unwrap();
    client
}

#[tokio::test]
async fn a_host_is_found_under_each_of_the_three_names_of_this_machine() {
    let config = HostConfig { port: Some(0), ..HostConfig::default() };
    let endpoint = Endpoint::new("hyperhq", Router::new::<()>().build().unwrap());
    let host = Host::listen(config, endpoint).await.unwrap();
    let has_v6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    for name in ["127.0.0.1", "localhost", "[::1]"].into_iter().filter(|name| has_v6 || *name != "[::1]") {
        let challenge = host.challenge("demo").unwrap();
        let client = dialled_at(format!("{name}:{}", host.port()), challenge).await;
        assert_eq!(*client.watch().borrow(), ClientState::Ready, "{name}");
    }
    host.shutdown().await;
}

#[tokio::test]
async fn events_that_no_host_listens_to_end_no_connection_however_many() {
    let router = Router::new::<()>().handle("getSystems", || async { Json([1]) }).build().unwrap();
    let endpoint = Endpoint::new("hyperhq", router);
    let ledger = std::sync::Arc::clone(&endpoint.ledger);
    let config = HostConfig { port: Some(0), ..HostConfig::default() };
    let host = Host::listen(config, endpoint).await.unwrap();
    let client = dialled(host.port(), host.challenge("demo").unwrap()).await;
    // The helper of C# plugins logs like this.
    let line = json(r#"{"pluginId":"demo","level":"info","message":"scanning","timestamp":1}"#);
    let names = ["pluginLog", "plugin:register", "plugin:progress", "noSuchEvent"];
    for name in names.into_iter().cycle().take(MANY) {
        client.caller().notify(Event::new(Route::from_static(name), Body::Json(line.clone()))).await.unwrap();
    }
    let asked =
        client.caller().call(Request::new(Route::from_static("getSystems"), Body::Empty)).await.unwrap();
    assert_eq!(asked.body, Body::Json(json("[1]")));
    assert_eq!((ledger.get(Count::Unexpected), ledger.get(Count::Closed)), (MANY as u64, 0));
    assert_eq!(ledger.unaccounted_frames(), 0);
    drop(client);
    host.shutdown().await;
}

#[tokio::test]
async fn events_that_no_plugin_knows_end_no_connection_however_many() {
    let emit = |peer: &Peer, name: &'static str, text: &str| {
        let peer = peer.clone();
        let event = Event::new(Route::from_static(name), Body::Json(json(text)));
        async move { peer.notify(event).await.unwrap() }
    };
    let router = Router::new::<()>()
        .on("authenticate", move |peer: Peer| async move {
            emit(&peer, "authenticated", r#"{"success":true,"sessionToken":"t"}"#).await;
            for name in ["somethingNew", "error", "hyperHqEvent"].into_iter().cycle().take(MANY) {
                emit(&peer, name, r#"{"type":"notWanted","message":"m"}"#).await;
            }
            emit(&peer, "request", r#"{"id":"req-1","method":"shutdown","data":{}}"#).await;
        })
        .on("response", || async {})
        .build()
        .unwrap();
    // Any Socket.IO server: it logs everybody in, then says a lot.
    let server = any_server(MAIN, router).await;
    let (client, _commands) = Plugin::new(environment(&server)).dial().unwrap();
    let mut state = client.watch();
    let over = state.wait_for(|state| matches!(state, ClientState::Closed(_) | ClientState::Refused(_)));
    // The shutdown that follows all of it ends the plugin, and nothing before.
    let over = tokio::time::timeout(LIMIT, over).await.unwrap().unwrap().clone();
    assert!(matches!(over, ClientState::Closed(_)), "{over:?}");
    assert_eq!(
        (client.ledger().get(Count::Unexpected), client.ledger().get(Count::Requests)),
        (MANY as u64, 1)
    );
    server.shutdown().await;
}

#[tokio::test]
async fn a_challenge_may_live_longer_than_a_login_may_take() {
    for minutes in [2, 10] {
        let challenge_life = Duration::from_secs(60) * minutes;
        let config = HostConfig { port: Some(0), challenge_life, ..HostConfig::default() };
        let endpoint = Endpoint::new("hyperhq", Router::new::<()>().build().unwrap());
        let host = Host::listen(config, endpoint).await.unwrap();
        drop(dialled(host.port(), host.challenge("demo").unwrap()).await);
        host.shutdown().await;
    }
    let mut target = Target { address: "127.0.0.1:0".to_owned(), ..Target::default() };
    target.options.set("plugin", "demo");
    target.options.set("challenge_life", "2min");
    target.options.set_secret("challenge", "c0ffee".into());
    let endpoint = || Endpoint::new("hyperhq", Router::new::<()>().build().unwrap());
    ADAPTER.listen(target.clone(), endpoint()).await.unwrap().shutdown().await;
    target.options.set("challenge_life", "11min");
    let why = ADAPTER.listen(target, endpoint()).await.unwrap_err().to_string();
    assert!(why.contains("challenge_life") && why.contains("1 ms to 10 min"), "{why}");
    let config = HostConfig::default();
    let wrong = HostConfig { limits: Limits { max_pending: 0, ..config.limits }, ..config };
    assert!(wrong.validate().unwrap_err().to_string().starts_with("max_pending = 0"));
}

#[test]
fn a_login_and_a_request_may_take_as_long_as_the_guide_says() {
    for limits in [HostConfig::default().limits, ADAPTER.limits()] {
        assert_eq!(
            (limits.call_timeout, limits.progress_timeout, limits.login_timeout),
            (Duration::from_secs(30), Duration::from_secs(600), Duration::from_secs(30))
        );
    }
}

/// A server that logs everybody in.
fn welcoming() -> Router {
    let router = Router::new::<()>().on("authenticate", |peer: Peer| async move {
        let text = json(r#"{"success":true,"sessionToken":"t"}"#);
        peer.notify(Event::new(Route::from_static("authenticated"), Body::Json(text))).await.unwrap();
    });
    router.build().unwrap()
}

#[tokio::test]
async fn h25_the_namespace_that_the_host_has_is_found_and_the_next_connection_begins_with_it() {
    for namespace in [MAIN, "/plugin"] {
        let server = any_server(namespace, welcoming()).await;
        let (client, _commands) = Plugin::new(environment(&server)).dial().unwrap();
        tokio::time::timeout(LIMIT, client.ready()).await.unwrap().unwrap();
        assert_eq!(server.peers().len(), 1, "{namespace}");
        drop(client);
        // The one it was told, and no other.
        let plugin = Plugin::new(environment(&server)).namespace(MAIN);
        let (client, _commands) = plugin.dial().unwrap();
        let ready = tokio::time::timeout(LIMIT, client.ready()).await.unwrap();
        assert_eq!(ready.is_ok(), namespace == MAIN, "{namespace}");
        server.shutdown().await;
    }
}

#[tokio::test]
async fn h25_a_host_with_neither_namespace_is_told_to_be_another_dialect() {
    let server = any_server("/realtime", welcoming()).await;
    let error =
        tokio::time::timeout(LIMIT, Plugin::new(environment(&server)).run()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("the server has none of the namespaces /, /plugin"), "{error}");
    server.shutdown().await;
}

#[tokio::test]
async fn h22_a_page_of_a_browser_and_a_name_bound_anew_are_refused_by_a_host_that_listens() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let config = HostConfig {
        port: Some(0),
        origins: vec!["http://localhost:3000".to_owned()],
        ..HostConfig::default()
    };
    let endpoint = Endpoint::new("hyperhq", Router::new::<()>().build().unwrap());
    let host = Host::listen(config, endpoint).await.unwrap();
    for (headers, status) in [
        ("Host: localhost", "200"),
        ("Host: 127.0.0.1:52789", "200"),
        ("Host: localhost\r\nOrigin: http://localhost:3000", "200"),
        ("Host: localhost\r\nOrigin: https://evil.example", "403"),
        ("Host: localhost\r\nOrigin: null", "403"),
        ("Host: evil.example", "403"),
        ("Host: 127.0.0.1.evil.example:52789", "403"),
    ] {
        for transport in ["polling", "websocket"] {
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", host.port())).await.unwrap();
            let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
            let (more, status) = match (transport, status) {
                ("websocket", "200") => (upgrade, "101"),
                ("websocket", _) => (upgrade, status),
                _ => ("", status),
            };
            let request =
                format!("GET /socket.io/?EIO=4&transport={transport} HTTP/1.1\r\n{headers}\r\n{more}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = [0; 12];
            tokio::time::timeout(LIMIT, stream.read_exact(&mut answer)).await.unwrap().unwrap();
            let answer = String::from_utf8_lossy(&answer);
            assert_eq!(answer, format!("HTTP/1.1 {status}"), "{headers:?} {transport}");
        }
    }
    host.shutdown().await;
}
