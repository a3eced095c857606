//! What stands between the two ends, in the hands of the suite.

mod loopback;

use std::fmt;
use std::io;

use polywire_core::BoxFuture;

pub(crate) use loopback::Loopback;

/// A direction between the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the side that dialled to the side that listens.
    ToServer,
    /// From the side that listens to the side that dialled.
    ToClient,
}

/// The joint between a client and a server. Dropping it cuts every connection.
pub trait Joint: fmt::Debug + Send + Sync {
    /// What a client dials.
    fn address(&self) -> String;

    /// What a client may dial in vain: nobody listens there.
    fn nowhere(&self) -> String;

    /// Ends every connection that is open, without a word; new ones are let through.
    fn cut(&self);

    /// Nothing goes this way any more, on any connection, until [`let_go`](Self::let_go). The sender notices once its buffers are full.
    fn stall(&self, way: Way);

    /// Everything goes again.
    fn let_go(&self);

    /// Puts bytes on the way, on every connection that is open, as if the end that they come from had sent them.
    fn inject(&self, way: Way, bytes: &[u8]);

    /// Whoever dials from now on meets somebody who says this and then nothing more; with `None` it is the server again.
    fn impersonate(&self, said: Option<&[u8]>);

    /// How many connections were opened so far.
    fn opened(&self) -> usize;

    /// The first bytes that went this way on the newest connection, at most some 4 KiB; empty where there are no bytes, or where more
    /// passed before than the joint keeps.
    fn opening(&self, way: Way) -> Vec<u8>;

    /// Connects somebody to the server, past the joint, who sends what the suite wants.
    fn stranger(&self) -> BoxFuture<'_, io::Result<Box<dyn Stranger>>>;
}

/// Somebody at the other end who keeps to no protocol. Dropping it ends its connection.
pub trait Stranger: Send {
    /// Sends these bytes, as far as the server takes them.
    fn send<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>>;

    /// Waits until the server has ended the connection; what it says before is of no interest.
    fn ended(&mut self) -> BoxFuture<'_, ()>;
}
