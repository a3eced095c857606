//! The shared suite, run against this adapter. All that is specific is how its ends are made.

use polywire_conformance::Setup;
use polywire_core::{Adapter, Secret, Target};

#[derive(Debug)]
struct Parley;

impl Setup for Parley {
    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(fifth_adapter::ADAPTER)
    }

    fn listen(&self, _: &Secret) -> Target {
        Target { address: "127.0.0.1:0".into(), ..Target::default() }
    }

    fn dial(&self, address: &str, secret: &Secret) -> Target {
        let mut target = Target { address: address.into(), user: Some("ann".into()), ..Target::default() };
        target.options.set_secret("password", secret.clone());
        target
    }
}

polywire_conformance::suite!(Parley);
