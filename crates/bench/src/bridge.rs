//! The bridge as a contender: the one that `polywire run` runs, from a file with one route.

use polywire_bridge::{Bridge, Config, Registry, Source};
use polywire_core::Surroundings;

use crate::ours::closed;

/// Bridges everything to the Sockhop server at `upstream` until standard input closes.
///
/// # Errors
/// When the bridge cannot be started, or the upstream is not there.
pub(crate) async fn serve(upstream: &str) -> Result<(), String> {
    let file = format!(
        r#"
        [endpoint.in]
        protocol = "sockhop"
        role = "server"
        listen = "127.0.0.1:0"

        [endpoint.out]
        protocol = "sockhop"
        role = "client"
        address = {upstream:?}
        required = true

        [[route]]
        from = {{ endpoint = "in", match = "*" }}
        to = {{ endpoint = "out" }}
        "#
    );
    let adapters = Registry::new().with(polywire_sockhop::ADAPTER);
    let config = Config::parse(Source::new("bench.toml", file));
    let bridge =
        Bridge::start(&config, &adapters, Surroundings::real()).await.map_err(|error| error.to_string())?;
    bridge.ready().await.map_err(|error| error.to_string())?;
    println!("READY {}", bridge.address("in").unwrap_or_default());
    closed().await;
    bridge.shutdown().await;
    Ok(())
}
