//! The bytes of an input, read as choices. An input that has ended chooses 0.

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// All of `input`.
    pub fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    /// Has everything been read?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// The next two bytes as a number.
    pub fn number(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    /// The next bit; costs a byte.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// One of `these`.
    pub fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[usize::from(self.byte()) % these.len()]
    }

    /// The next bytes, as many as the two before them say.
    pub fn piece(&mut self) -> &'a [u8] {
        let length = self.number();
        let (piece, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        piece
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Up to seven places to cut something of `length` bytes at, ascending.
    pub fn cuts(&mut self, length: usize) -> Vec<usize> {
        let count = usize::from(self.byte() & 7);
        let mut cuts = (0..count).map(|_| self.number() % (length + 1)).collect::<Vec<_>>();
        cuts.sort_unstable();
        cuts
    }
}

/// The bytes that [`Choices::piece`] reads as `piece`; for seeds.
pub fn as_piece(piece: &[u8]) -> Vec<u8> {
    let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
    [&length.to_le_bytes(), &piece[..usize::from(length)]].concat()
}

/// `bytes` in parts that end at `cuts`, which ascend.
pub fn parts<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut parts = Vec::with_capacity(cuts.len() + 1);
    let mut from = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        parts.push(&bytes[from..cut.clamp(from, bytes.len())]);
        from = cut.clamp(from, bytes.len());
    }
    parts
}
