//! How much of something a test does: little in `cargo xtask test`, all of it in `cargo xtask soak`.

/// `small`, or `full` where `POLYWIRE_SOAK` is set, as `cargo xtask soak` does.
pub fn size(small: u64, full: u64) -> u64 {
    if std::env::var_os("POLYWIRE_SOAK").is_some() { full } else { small }
}
