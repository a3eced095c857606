//! A fault of the command's own, here of an adapter that somebody brought along.

use polywire_cli::{Exit, adapters, run};
use polywire_core::{
    Adapter, AdapterError, BoxFuture, Capabilities, Client, Endpoint, OptionSpec, Options, Server, Target,
};

/// Everything but listening works.
#[derive(Debug)]
struct Broken;

impl Adapter for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn about(&self) -> &'static str {
        "an adapter with a fault"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn capabilities(&self, options: &Options) -> Result<Capabilities, AdapterError> {
        polywire_sockhop::ADAPTER.capabilities(options)
    }

    fn listen(&self, _: Target, _: Endpoint) -> BoxFuture<'static, Result<Server, AdapterError>> {
        Box::pin(async { panic!("the fault") })
    }

    fn dial(&self, target: Target, endpoint: Endpoint) -> BoxFuture<'static, Result<Client, AdapterError>> {
        polywire_sockhop::ADAPTER.dial(target, endpoint)
    }
}

#[test]
fn a_panic_is_70() {
    let words = ["polywire", "serve", "broken://127.0.0.1:1"].map(Into::into);
    assert_eq!(run(adapters().with(Broken), words), Exit::Bug);
    assert_eq!(Exit::Bug as u8, 70);
}
