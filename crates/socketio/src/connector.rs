//! The way to one server, for as many connections as a session needs.

use std::fmt;
use std::io;

use polywire_core::Surroundings;
use polywire_net::Stream;

/// Where the server is, and whether TLS is spoken with it.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) address: String,
    pub(crate) surroundings: Surroundings,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<polywire_net::tls::ClientTls>,
}

impl Connector {
    /// Connects once.
    ///
    /// # Errors
    /// What the operating system or TLS says.
    ///
    /// # Cancel safety
    /// Safe: what was begun is given up.
    pub(crate) async fn connect(&self) -> io::Result<Stream> {
        let stream = polywire_net::connect(&self.address, &self.surroundings).await?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.connect(stream).await;
        }
        Ok(Box::new(stream))
    }

    /// The moment now.
    #[cfg(feature = "polling")]
    pub(crate) fn now(&self) -> polywire_core::Moment {
        self.surroundings.clock.now()
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("address", &self.address).finish_non_exhaustive()
    }
}
