//! A bridge inside a program: a Sockhop peer calls it, and an HPX server in the same program answers.

use std::error::Error;

use polywire_bridge::{Bridge, Config, Registry, Source};
use polywire_core::{Body, Endpoint, Json, Request, Route, Router, Surroundings};
use polywire_hpx::{HpxServer, ServerConfig};

const FILE: &str = r#"
    [endpoint.workers]
    protocol = "sockhop"
    role = "server"
    listen = "127.0.0.1:0"

    [endpoint.library]
    protocol = "hpx"
    role = "client"
    address = "127.0.0.1:7007"

    [[route]]
    from = { endpoint = "workers", match = "library.*", kind = "request" }
    to = { endpoint = "library", call = "*" }
    wrap = "query"
"#;

#[derive(serde::Deserialize)]
struct Search {
    query: String,
}

async fn search(Json(Search { query }): Json<Search>) -> Json<[String; 1]> {
    Json([format!("a book about {query}")])
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoint = Endpoint::new("hpx", Router::new().handle("search", search).build()?);
    let guests = ServerConfig { guests: true, ..ServerConfig::default() };
    let library = HpxServer::bind("127.0.0.1:0", guests, endpoint).await?;

    let mut config = Config::parse(Source::new("in code", FILE));
    config.set_address("library", library.address());
    let registry = Registry::new().with(polywire_sockhop::ADAPTER).with(polywire_hpx::ADAPTER);
    let bridge = Bridge::start(&config, &registry, Surroundings::real()).await?;

    let nothing = Endpoint::new("sockhop", Router::new().build()?);
    let workers = bridge.address("workers").unwrap_or_default();
    let client = polywire_sockhop::dial(workers, Default::default(), nothing)?;
    let request = Request::new(Route::from_static("library.search"), Body::json("bridges")?);
    assert_eq!(client.caller().call(request).await?.body, Body::json(&["a book about bridges"])?);
    println!("{:?}", bridge.snapshot().routes);
    client.shutdown().await;
    bridge.shutdown().await;
    Ok(())
}

#[test]
fn it_runs() -> Result<(), Box<dyn Error>> {
    main()
}
