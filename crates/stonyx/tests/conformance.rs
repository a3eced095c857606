//! The shared suite, run against this adapter. All that is specific is `Stonyx`.

use polywire_conformance::Setup;
use polywire_core::{Adapter, Secret, Target};

#[derive(Debug)]
struct Stonyx;

impl Setup for Stonyx {
    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(polywire_stonyx::ADAPTER)
    }

    fn listen(&self, secret: &Secret) -> Target {
        self.dial("127.0.0.1:0", secret)
    }

    fn dial(&self, address: &str, secret: &Secret) -> Target {
        let mut target = Target { address: address.into(), ..Target::default() };
        target.options.set_secret("key", secret.clone());
        target.options.set("errors_in_reply", "1");
        target
    }
}

polywire_conformance::suite!(Stonyx);
