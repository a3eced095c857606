//! The shared suite, run against this adapter. All that is specific is `Hpx`.

use polywire_conformance::Setup;
use polywire_core::{Adapter, Secret, Target};

#[derive(Debug)]
struct Hpx;

impl Setup for Hpx {
    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(polywire_hpx::ADAPTER)
    }

    fn listen(&self, _: &Secret) -> Target {
        Target { address: "127.0.0.1:0".into(), ..Target::default() }
    }

    fn dial(&self, address: &str, secret: &Secret) -> Target {
        let mut target = Target { address: address.into(), user: Some("ann".into()), ..Target::default() };
        target.options.set_secret("password", secret.clone());
        target.options.set("connections", "1");
        target
    }
}

polywire_conformance::suite!(Hpx);
