//! The shared suite, run against this adapter. All that is specific is `Sockhop`.

use polywire_conformance::Setup;
use polywire_core::{Adapter, Secret, Target};

#[derive(Debug)]
struct Sockhop;

impl Setup for Sockhop {
    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(polywire_sockhop::ADAPTER)
    }

    fn listen(&self, secret: &Secret) -> Target {
        self.dial("127.0.0.1:0", secret)
    }

    fn dial(&self, address: &str, _: &Secret) -> Target {
        let mut target = Target { address: address.into(), ..Target::default() };
        target.options.set("errors_in_reply", "1");
        target
    }
}

polywire_conformance::suite!(Sockhop);
