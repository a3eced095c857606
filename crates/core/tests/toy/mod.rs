//! A whole adapter for a wire of lines, written from core's public API alone, and a rig that runs one connection of it.
//!
//! ```text
//! ? 7 echo {"a":1}        a request with id 7; "? 7@500 ..." asks for an answer within 500 ms
//! ! 7 {"a":1}             its answer
//! x 7 not_found no such   its failure: a code and words
//! ~ 7 "half"              progress of request 7; "~ * ..." names none
//! . moved [1,2]           an event
//! all ? 1 a ; . b         several messages in one frame
//! login ann s3cret        shown by the side that dials, answered "welcome ann" or "refused why"
//! mode counted            from the next byte on every line stands behind its length in four bytes, without a line break
//! beat                    a heartbeat; "beat unread" while its sender takes no frames
//! bye                     the sender is leaving
//! ```

mod codec;
mod rig;
mod session;

pub(crate) use codec::ToyCodec;
pub(crate) use rig::{Guests, Heard, Rig, Serve, Setup, check_books, json, settle};
pub(crate) use session::{Command, Login, Order, ToySession};
