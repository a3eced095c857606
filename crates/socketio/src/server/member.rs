//! One client in one namespace, as the library holds it; it leaves when nobody keeps it.

use std::sync::Arc;

use socketioxide::TransportType;
use socketioxide::extract::SocketRef;

use super::floor::Floor;
use super::inbound::Inbound;

/// A client that is in a namespace until this is dropped.
pub(super) struct Member {
    pub(super) socket: SocketRef<Floor>,
    pub(super) inbound: Arc<Inbound>,
    left: bool,
}

impl Member {
    pub(super) fn new(socket: SocketRef<Floor>, inbound: Arc<Inbound>) -> Self {
        Self { socket, inbound, left: false }
    }

    /// Is it still in the namespace?
    pub(super) fn present(&self) -> bool {
        !self.left && self.socket.connected()
    }

    /// Does a stream of its own carry it? A session of requests has none.
    pub(super) fn streams(&self) -> bool {
        self.socket.transport_type() == TransportType::Websocket
    }

    /// Tells the client that it is not in the namespace any more.
    pub(super) fn disconnect(&mut self) -> Result<(), socketioxide::SocketError> {
        let told = self.socket.clone().disconnect();
        self.left = told.is_ok();
        told
    }

    /// Ends what the client still has here.
    pub(super) fn leave(&mut self) {
        self.inbound.close();
        if !self.present() {
            return;
        }
        // Over a stream the library closes the session when that ends, in order. One of requests is known no more, and the library
        // misses its pongs.
        self.inbound.gate().cut();
        self.left = true;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave();
    }
}
