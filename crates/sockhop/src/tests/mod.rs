//! Tests of everything that needs no runtime, through the seam that the engine uses.

mod end;
mod handshake;
mod malformed;
mod messages;
mod split;
mod switch;
mod vectors;
