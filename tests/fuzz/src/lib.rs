//! Fuzz targets: functions that take any bytes, never panic on them, and check what has to hold whatever the bytes are.
//!
//! One file is one target, with a `run` that both engines call: the `driver` here, which needs nothing but a stable
//! toolchain, and cargo-fuzz, whose entry points lie in `tests/fuzz/cargo-fuzz`. An input begins with choices
//! (settings, places to cut) and goes on with what is fed. A target that finds a fault panics, and says what did not hold.
//!
//! | module | gives |
//! |---|---|
//! | [`driver`] | mutates inputs and runs a target on them |
//! | [`mutate`] | makes inputs of inputs |
//! | [`seeds`] | the inputs it begins with |
//! | [`words`] | pieces of the wires that chance would not find |
//! | [`trace`] | what an execution did that none before it did |
//! | [`choices`] | the bytes of an input, read as choices |
//! | [`bench`](mod@bench) | the engine in little: a session, its codec and the time, by hand |
//! | [`world`] | time and a socket in memory |
//! | [`values`] | bodies, routes and answers |
//! | [`stock`] | what a stock Sockhop peer makes of what we write, and what would kill it |

pub mod bench;
pub mod choices;
pub mod driver;
pub mod mutate;
pub mod seeds;
pub mod stock;
pub mod trace;
pub mod values;
pub mod words;
pub mod world;

pub mod config;
pub mod connection;
pub mod engineio_packet;
pub mod hpx_codec;
pub mod hpx_session;
pub mod hyperhq_host;
pub mod hyperhq_session;
pub mod json;
pub mod polling_payload;
pub mod sockhop_codec;
pub mod sockhop_session;
pub mod socketio_packet;
pub mod socketio_session;
pub mod stonyx_open;
pub mod stonyx_session;

/// One thing to fuzz.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, that of its module.
    pub name: &'static str,
    /// Runs it once.
    pub run: fn(&[u8]),
    /// What it begins with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces that mean something to it.
    pub words: &'static [&'static [u8]],
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "config", run: config::run, seeds: config::seeds, words: words::TOML },
    Target { name: "connection", run: connection::run, seeds: connection::seeds, words: words::SOCKHOP },
    Target {
        name: "engineio_packet",
        run: engineio_packet::run,
        seeds: engineio_packet::seeds,
        words: words::SOCKETIO,
    },
    Target { name: "hpx_codec", run: hpx_codec::run, seeds: hpx_codec::seeds, words: words::HPX },
    Target { name: "hpx_session", run: hpx_session::run, seeds: hpx_session::seeds, words: words::HPX },
    Target {
        name: "hyperhq_host",
        run: hyperhq_host::run,
        seeds: hyperhq_host::seeds,
        words: words::HYPERHQ,
    },
    Target {
        name: "hyperhq_session",
        run: hyperhq_session::run,
        seeds: hyperhq_session::seeds,
        words: words::HYPERHQ,
    },
    Target { name: "json", run: json::run, seeds: json::seeds, words: words::JSON },
    Target {
        name: "polling_payload",
        run: polling_payload::run,
        seeds: polling_payload::seeds,
        words: words::SOCKETIO,
    },
    Target {
        name: "sockhop_codec",
        run: sockhop_codec::run,
        seeds: sockhop_codec::seeds,
        words: words::SOCKHOP,
    },
    Target {
        name: "sockhop_session",
        run: sockhop_session::run,
        seeds: sockhop_session::seeds,
        words: words::SOCKHOP,
    },
    Target {
        name: "socketio_packet",
        run: socketio_packet::run,
        seeds: socketio_packet::seeds,
        words: words::SOCKETIO,
    },
    Target {
        name: "socketio_session",
        run: socketio_session::run,
        seeds: socketio_session::seeds,
        words: words::SOCKETIO,
    },
    Target { name: "stonyx_open", run: stonyx_open::run, seeds: stonyx_open::seeds, words: words::STONYX },
    Target {
        name: "stonyx_session",
        run: stonyx_session::run,
        seeds: stonyx_session::seeds,
        words: words::STONYX,
    },
];

#[cfg(test)]
mod tests {
    use super::TARGETS;

    /// Its folder is a workspace of its own that nothing here builds.
    #[test]
    fn cargo_fuzz_has_the_same_targets() {
        let place = concat!(env!("CARGO_MANIFEST_DIR"), "/cargo-fuzz");
        let manifest = std::fs::read_to_string(format!("{place}/Cargo.toml")).unwrap();
        for target in TARGETS {
            let name = target.name;
            let bin = format!("[[bin]]\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
            assert!(manifest.contains(&bin), "{name} is no binary there");
            let file = std::fs::read_to_string(format!("{place}/fuzz_targets/{name}.rs")).unwrap();
            assert!(file.contains(&format!("polywire_fuzz::{name}::run(")), "{name} runs another");
        }
        let files = std::fs::read_dir(format!("{place}/fuzz_targets")).unwrap().count();
        assert_eq!((files, manifest.matches("[[bin]]").count()), (TARGETS.len(), TARGETS.len()));
    }
}
