//! The polywire command.
fn main() {}
