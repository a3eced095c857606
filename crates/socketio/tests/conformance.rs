//! The shared suite, run against this adapter. All that is specific is `SocketIo`.

use polywire_conformance::Setup;
use polywire_core::{Adapter, Secret, Target};

#[derive(Debug)]
struct SocketIo;

impl Setup for SocketIo {
    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(polywire_socketio::ADAPTER)
    }

    fn listen(&self, _: &Secret) -> Target {
        Target { address: "127.0.0.1:0".into(), ..Target::default() }
    }

    fn dial(&self, address: &str, secret: &Secret) -> Target {
        let mut target = Target { address: address.into(), ..Target::default() };
        let shown = [br#"{"token":""#, secret.expose(), br#""}"#].concat();
        target.options.set_secret("auth", Secret::new(shown));
        target
    }
}

polywire_conformance::suite!(SocketIo);
