//! The shared suite, run against host and plugin. All that is specific is `HyperHq`.

use polywire_conformance::{EVENTS, Setup};
use polywire_core::{Adapter, Secret, Target};

#[derive(Debug)]
struct HyperHq;

impl Setup for HyperHq {
    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(polywire_hyperhq::ADAPTER)
    }

    fn listen(&self, secret: &Secret) -> Target {
        self.dial("127.0.0.1:0", secret)
    }

    fn dial(&self, address: &str, secret: &Secret) -> Target {
        let mut target = Target { address: address.into(), ..Target::default() };
        target.options.set("plugin", "demo");
        target.options.set_secret("challenge", secret.clone());
        target.options.set("events", EVENTS.join(","));
        target
    }
}

polywire_conformance::suite!(HyperHq);
