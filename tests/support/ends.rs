//! The three WebSocket wires with somebody else's program at the other end, all driven alike: `tests/drivers/ends.mjs`.
//!
//! What our command is told of a wire is here too: URLs, bridge files, and the variables that hold the secrets.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::driver::Driver;
use crate::install::{Package, SOCKET_IO, SOCKET_IO_CLIENT, WS};
use crate::{peer, skip};

/// An event that every wire here takes from a client.
pub const TOLD: &str = "thumbnail:created";
/// An event of a server.
pub const NEWS: &str = "news";
/// What both ends know.
pub const SECRET: &str = "c0ffee00c0ffee00c0ffee00c0ffee00";
/// How long anything may take that these tests wait for.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A wire, and the packages that speak it.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    /// Its name, which is the scheme of its URLs too.
    pub name: &'static str,
    server: Package,
    client: Package,
}

/// All three.
pub const WIRES: [Wire; 3] = [
    Wire { name: "stonyx", server: WS, client: WS },
    Wire { name: "socketio", server: SOCKET_IO, client: SOCKET_IO_CLIENT },
    Wire { name: "hyperhq", server: SOCKET_IO, client: SOCKET_IO_CLIENT },
];

/// Gives a run of our command the variables that URLs and bridge files here name.
pub fn with_secrets(command: &mut Command) -> &mut Command {
    command.env("SECRET", SECRET).env("AUTH", json!({ "token": SECRET }).to_string()).env_remove("RUST_LOG")
}

/// Are all packages here? If not, the test is recorded as skipped and has to return.
///
/// # Panics
/// When one is missing where foreign peers are required.
#[must_use]
pub fn packages(test: &str) -> bool {
    WIRES
        .iter()
        .all(|wire| skip::package(test, &wire.server).and(skip::package(test, &wire.client)).is_some())
}

impl Wire {
    /// A URL that our command dials.
    #[must_use]
    pub fn url(&self, port: u16) -> String {
        let rest = match self.name {
            "stonyx" => "?key=env:SECRET",
            "socketio" => "/realtime?auth=env:AUTH",
            _ => "?plugin=demo&challenge=env:SECRET",
        };
        format!("{}://127.0.0.1:{port}{rest}", self.name)
    }

    /// A URL at which our command listens.
    #[must_use]
    pub fn listening_url(&self) -> String {
        // What a client of Socket.IO shows is nothing to a server.
        self.url(0).replace("?auth=env:AUTH", "")
    }

    /// The lines of an endpoint of a bridge file that are peculiar to the wire.
    #[must_use]
    pub fn endpoint(&self, listens: bool) -> String {
        let more = match (self.name, listens) {
            ("stonyx", _) => "key = \"env:SECRET\"".to_owned(),
            ("socketio", true) => "path = \"/realtime\"".to_owned(),
            ("socketio", false) => "path = \"/realtime\"\nauth = \"env:AUTH\"".to_owned(),
            (_, true) => "plugin = \"demo\"\nchallenge = \"env:SECRET\"".to_owned(),
            (_, false) => {
                format!("plugin = \"demo\"\nchallenge = \"env:SECRET\"\nevents = \"{NEWS}\"")
            }
        };
        format!("protocol = \"{}\"\n{more}", self.name)
    }

    /// Somebody else's server, and its port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn serve(&self) -> (Driver, u16) {
        let mut server = self.driver(&self.server);
        let listening = server.run("listen", json!({ "secret": SECRET })).await.expect("it listens");
        let port = listening["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        (server, port.expect("it names a port"))
    }

    /// Somebody else's client, logged in at `port` and asking for [`NEWS`].
    ///
    /// # Panics
    /// When it is not let in.
    pub async fn connect(&self, port: u16) -> Driver {
        let mut client = self.driver(&self.client);
        let arguments = json!({ "port": port, "secret": SECRET, "listen": [NEWS] });
        client.run("connect", arguments).await.expect("it is let in");
        client
    }

    fn driver(&self, package: &Package) -> Driver {
        let folder: PathBuf = crate::install::prepare(package).expect("the test asked for it before");
        if self.name != "socketio" {
            peer::beside_modules(self.name, &folder);
        }
        Driver::start(&format!("ends_{}.mjs", self.name), &folder).expect("node starts")
    }
}

/// The next event of this name that a driver tells of.
///
/// # Panics
/// When it does not come in time.
pub async fn event(driver: &mut Driver, name: &str) -> Value {
    driver.event(|event| event["event"] == name, LIMIT).await.expect("the event comes")
}
