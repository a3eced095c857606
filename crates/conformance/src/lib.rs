//! What every adapter owes its users, stated once and shown of any adapter, in Rust or not.
