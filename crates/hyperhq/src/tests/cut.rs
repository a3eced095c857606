//! Where the bytes of a message are cut on their way.

/// How many pieces a message comes in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// Two, the first of so many bytes; one where it is not longer.
    At(usize),
    /// As many as it has bytes: after each of them nothing has come yet.
    Everywhere,
}

impl Cut {
    /// The pieces, in order; none is empty.
    pub(super) fn pieces(self, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        let (at, most) = match self {
            Self::At(at) => (at.min(bytes.len()), usize::MAX),
            Self::Everywhere => (0, 1),
        };
        let (first, rest) = bytes.split_at(at);
        first.chunks(usize::MAX).chain(rest.chunks(most))
    }
}

/// Where messages of which the longest has so many bytes are cut: at one place after the other where it has at most `short`, and
/// at all of them at once.
pub(super) fn every(longest: usize, short: usize) -> impl Iterator<Item = Cut> {
    let places = if longest <= short { longest } else { 0 };
    (1..places).map(Cut::At).chain([Cut::Everywhere])
}
