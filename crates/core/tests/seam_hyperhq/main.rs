//! Does the seam bear HyperHQ? It is one session made of two: Socket.IO below, from frames to packets, and the flow of HyperHQ
//! above, from packets to envelopes. Its progress names no call and its host answers twice. Both roles, fed by hand with
//! recorded transcripts, and run by the engine.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../pipe/mod.rs"]
mod pipe;

mod hand;
mod host;
mod lower;
mod packet;
mod plugin;
mod replay;
mod run;
mod stack;
mod vectors;
