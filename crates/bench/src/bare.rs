//! The bare loops: the same system calls and the same parsing as an adapter, without the framework. What they cost is the
//! least that any framework can cost.

pub(crate) mod hpx;
pub(crate) mod hyperhq;
pub(crate) mod sockhop;
pub(crate) mod socketio;
pub(crate) mod stonyx;
