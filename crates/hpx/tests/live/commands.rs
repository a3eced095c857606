//! Commands to the server: who may, what they end, and how a client gives them.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{Adapter, CallError, ClientState, Code, Endpoint, Shutdown, Target};
use polywire_hpx::{ADAPTER, ClientConfig, Dialect, HpxClient, ServerCommand, ServerConfig, Wire};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::scripted::{receive, scripted, send};
use crate::{Functions, alice, connect, guest, guests, request, serve, text, users};

/// How long anything may take that a test waits for.
const LIMIT: Duration = Duration::from_secs(20);

fn of_dialect(dialect: Dialect) -> ClientConfig {
    ClientConfig { wire: Wire { dialect, ..Wire::default() }, connections: 2, ..ClientConfig::default() }
}

#[tokio::test]
async fn p08_a_user_who_may_ends_the_server_and_everybody_is_told() {
    let config = ServerConfig { may_command: vec!["alice".into()], ..guests() };
    let server = serve(config).await;
    let address = server.address().to_owned();
    let bystander = connect(&address, guest(), ClientConfig { connections: 1, ..ClientConfig::default() });
    bystander.ready().await.unwrap();
    let running = tokio::spawn(server.run());
    let mut raw = TcpStream::connect(&address).await.unwrap();
    let mut buffer = Vec::new();
    receive(&mut raw, &mut buffer).await;
    send(&mut raw, r#"{"session":"","name":"t","data":{"user":"alice","password":"s3cret"}}"#).await;
    let reply = receive(&mut raw, &mut buffer).await;
    let session = reply.split('"').nth(3).unwrap().to_owned();
    send(&mut raw, &format!(r#"{{"session":"{session}","name":"t","data":"ServerRestart"}}"#)).await;
    let told = receive(&mut raw, &mut buffer).await;
    assert_eq!(told, format!(r#"{{"session":"{session}","name":"polywire","data":2}}"#));
    assert_eq!(running.await.unwrap(), ServerCommand::Restart);
    let mut state = bystander.core().watch();
    state.wait_for(|state| matches!(state, ClientState::Waiting(_))).await.unwrap();
}

#[tokio::test]
async fn a_client_ends_the_server_in_every_dialect() {
    for dialect in [Dialect::A, Dialect::Auto, Dialect::B] {
        for command in [ServerCommand::Quit, ServerCommand::Restart] {
            let config = ServerConfig { may_command: vec!["bob".into(), "alice".into()], ..guests() };
            let server = serve(config).await;
            let client = connect(server.address(), alice(), of_dialect(dialect));
            client.ready().await.unwrap();
            let running = tokio::spawn(server.run());
            timeout(LIMIT, client.command(command)).await.unwrap().unwrap();
            assert_eq!(timeout(LIMIT, running).await.unwrap().unwrap(), command, "{dialect:?}");
        }
    }
}

#[tokio::test]
async fn p08_a_command_of_somebody_who_may_not_is_refused_and_ends_nothing() {
    let server = serve(ServerConfig { may_command: vec!["bob".into()], ..guests() }).await;
    for credentials in [alice(), guest()] {
        let client = connect(server.address(), credentials, of_dialect(Dialect::Auto));
        let refused = timeout(LIMIT, client.command(ServerCommand::Quit)).await.unwrap();
        let Err(CallError::Failure(failure)) = refused else { panic!("{refused:?}") };
        assert_eq!(failure.code, Code::PermissionDenied);
        assert!(client.call(request("echo", "{}")).await.is_ok(), "the server goes on");
    }
}

#[tokio::test]
async fn the_greeting_can_be_asked_for_again_on_a_connection_that_is_logged_in() {
    let server = serve(guests()).await;
    for dialect in [Dialect::A, Dialect::Auto, Dialect::B] {
        let client = connect(server.address(), alice(), of_dialect(dialect));
        let greeting = text(timeout(LIMIT, client.request_auth()).await.unwrap());
        assert!(greeting.contains("\"guest_allowed\":true"), "{greeting}");
        assert_eq!(text(client.call(request("whoami", "{}")).await), r#"["alice"]"#);
    }
}

#[tokio::test]
async fn a_server_that_goes_without_a_word_leaves_its_command_unknown() {
    let address = scripted(|_, message| match message.contains("serverquit") {
        true => Vec::new(),
        false => vec![r#"{"session":"s1","name":"s","data":"Authenticated"}"#.to_owned()],
    })
    .await;
    let mut config = of_dialect(Dialect::Auto);
    Arc::make_mut(&mut config.wire.limits).call_timeout = Duration::from_millis(100);
    let client: HpxClient = connect(&address, guest(), config);
    let silent = timeout(LIMIT, client.command(ServerCommand::Quit)).await.unwrap();
    assert!(matches!(silent, Err(CallError::Unknown(_))), "{silent:?}");
}

#[tokio::test]
async fn the_option_may_command_lets_a_user_end_whatever_shares_the_shutdown() {
    for (option, ends) in [("bob, alice", true), ("bob", false), ("", false)] {
        let mut target = Target { address: "127.0.0.1:0".to_owned(), ..Target::default() };
        target.options.set("may_command", option);
        let shutdown = Shutdown::new();
        let mut endpoint = Endpoint::new("hpx", Functions::new());
        endpoint.authenticator = Some(users());
        endpoint.shutdown = shutdown.clone();
        let server = ADAPTER.listen(target, endpoint).await.unwrap();
        let client = connect(server.address(), alice(), of_dialect(Dialect::Auto));
        let told = timeout(LIMIT, client.command(ServerCommand::Quit)).await.unwrap();
        assert_eq!(told.is_ok(), ends, "{option:?}: {told:?}");
        if ends {
            timeout(LIMIT, shutdown.draining()).await.expect("the program that serves it ends");
        } else {
            assert!(!shutdown.is_draining());
        }
    }
}
