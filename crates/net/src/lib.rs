//! The sockets that polywire's adapters share.
//!
//! The core drives any transport and opens none. What more than one adapter needs to get bytes or messages to it is here.
//!
//! # Features
//! | feature | adds |
//! |---|---|
//! | `websocket` | [`WebSocket`](websocket::WebSocket), both ends |

#[cfg(feature = "websocket")]
pub mod websocket;
