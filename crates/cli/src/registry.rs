//! The adapters compiled into this command. A new wire is one line here.

use polywire_bridge::Registry;

/// Every adapter, by the name that is also its scheme in URLs and its `protocol` in bridge files.
pub fn adapters() -> Registry {
    Registry::new()
        .with(polywire_sockhop::ADAPTER)
        .with(polywire_hpx::ADAPTER)
        .with(polywire_stonyx::ADAPTER)
        .with(polywire_socketio::ADAPTER)
        .with(polywire_hyperhq::ADAPTER)
}
