//! Parley behind the bridge and in the command, neither of which knows it.

use std::error::Error;
use std::ffi::OsString;

use fifth_adapter::{ADAPTER, Config, listen};
use polywire_bridge::{Bridge, Registry, Source, check};
use polywire_cli::Exit;
use polywire_core::{
    Body, Code, Endpoint, Failure, JsonText, Limits, Request, Route, Router, Server, Surroundings,
};

const FILE: &str = r#"
    [endpoint.old]
    protocol = "sockhop"
    role = "server"
    listen = "127.0.0.1:0"

    [endpoint.new]
    protocol = "parley"
    role = "client"
    address = "127.0.0.1:1"

    [[route]]
    from = { endpoint = "old", match = "*" }
    to = { endpoint = "new" }
"#;

async fn serve() -> Result<Server, Box<dyn Error>> {
    let router = Router::new()
        .handle("echo", |body: Body| async { body })
        .handle("fail", || async { Failure::new(Code::PermissionDenied, "not for you") });
    let config = Config { guests: true, ..Config::default() };
    Ok(listen("127.0.0.1:0", config, Endpoint::new("parley", router.build()?)).await?)
}

// begin registry
fn registry() -> Registry {
    Registry::new().with(polywire_sockhop::ADAPTER).with(ADAPTER)
}
// end registry

#[tokio::test]
async fn a_sockhop_peer_calls_through_the_bridge() -> Result<(), Box<dyn Error>> {
    let server = serve().await?;
    let mut config = polywire_bridge::Config::parse(Source::new("in code", FILE));
    config.set_address("new", server.address());
    let bridge = Bridge::start(&config, &registry(), Surroundings::real()).await?;
    let address = bridge.address("old").ok_or("it listens")?;
    let nothing = Endpoint::new("sockhop", Router::new().build()?);
    let client = polywire_sockhop::dial(address, Default::default(), nothing)?;
    let call = |name, body| client.caller().call(Request::new(Route::from_static(name), body));

    let body = JsonText::new("{\"n\":9007199254740993,\"x\":1.0e2}", &Limits::default().json)?;
    assert_eq!(call("echo", body.clone().into()).await?.body, Body::Json(body));
    let denied = call("fail", Body::Empty).await.unwrap_err();
    assert_eq!((denied.code(), &*denied.failure().message), (Code::PermissionDenied, "not for you"));
    let bytes = call("echo", Body::binary("Pose", vec![1, 2, 3])).await.unwrap_err();
    assert_eq!(bytes.code(), Code::Unimplemented, "{bytes}");
    client.shutdown().await;
    bridge.shutdown().await;
    server.shutdown().await;
    Ok(())
}

#[test]
fn the_check_tells_what_is_lost_from_the_capabilities_alone() {
    let report = check(&polywire_bridge::Config::parse(Source::new("in code", FILE)), &registry());
    let lost = report.routes.iter().flat_map(|route| &route.aspects).map(|aspect| aspect.text.as_str());
    assert!(lost.collect::<Vec<_>>().contains(&"bytes are refused"), "{report:?}");
}

#[test]
fn the_command_calls_it_with_one_more_line() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime.block_on(serve())?;
    let url = format!("parley://{}", server.address());
    let run = |words: &[&str]| {
        let words = words.iter().map(OsString::from);
        polywire_cli::run(polywire_cli::adapters().with(ADAPTER), words)
    };
    assert_eq!(run(&["polywire", "call", &url, "echo", "{\"n\":1}"]), Exit::Ok);
    assert_eq!(run(&["polywire", "call", &url, "fail"]), Exit::Denied);
    assert_eq!(run(&["polywire", "call", &format!("{url}?max_missed_beats=1"), "echo"]), Exit::Usage);
    assert_eq!(run(&["polywire", "call", &url.replace("parley", "parly"), "echo"]), Exit::Usage);
    runtime.block_on(server.shutdown());
    Ok(())
}
