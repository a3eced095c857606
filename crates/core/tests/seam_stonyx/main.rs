//! Does the seam bear Stonyx? Its login is judged while nothing is read, both keys switch at the login's answer, and its
//! messages have no ids. A session of it, fed by hand with what the original wrote and read, and run by the engine.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../pipe/mod.rs"]
mod pipe;

mod hand;
mod replay;
mod run;
mod seal;
mod session;
