//! The guarantees of the connection engine, each shown on the toy adapter with tokio's clock paused.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../toy/mod.rs"]
mod toy;

mod calls;
mod clocks;
mod close;
mod handlers;
mod hostile;
mod limits;
mod memory;
mod messages;
mod order;
mod reconnect;
mod server;
mod switch;
mod turns;
mod unread;
