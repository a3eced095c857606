//! Inputs from inputs: bits, numbers, words, pieces moved about. One seed, one sequence.

/// Chance that one seed decides (SplitMix64, Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // Only the low half is used, so nothing is lost where a word is 32 bits.
        let word = (self.next() >> 32) as usize;
        if bound == 0 { 0 } else { word % bound }
    }

    /// A place in `length` bytes and how many from there on: mostly few.
    fn run(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(8) == 0 { length - start } else { (length - start).min(16) };
        start..start + self.below(most + 1)
    }
}

/// Lengths and numbers at which something changes.
const NUMBERS: [u32; 20] = [
    0,
    1,
    4,
    5,
    10,
    15,
    16,
    35,
    36,
    37,
    127,
    128,
    255,
    256,
    1_023,
    1_024,
    65_535,
    65_536,
    0x7fff_ffff,
    0xffff_ffff,
];

/// Longest input that is made, save for the few that are blown up.
const LONGEST: usize = 16 << 10;
/// Longest input of all: the bound on time is stated for this length.
pub const BLOWN_UP: usize = 1 << 20;

/// Changes `input` in one to six ways. `other` is a second input to take pieces from.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], chance: &mut Chance) {
    for _ in 0..=chance.below(6) {
        change(input, other, words, chance);
    }
    input.truncate(LONGEST);
    if chance.below(5_000) == 0 && !input.is_empty() {
        blow_up(input, chance);
    }
}

fn change(input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], chance: &mut Chance) {
    let length = input.len();
    let word = words.get(chance.below(words.len())).copied().unwrap_or_default();
    match chance.below(12) {
        0 if length > 0 => input[chance.below(length)] ^= 1 << chance.below(8),
        1 if length > 0 => {
            let byte = chance.below(256);
            input[chance.below(length)] = u8::try_from(byte).unwrap_or(0);
        }
        2 | 3 => insert(input, word, chance),
        4 if length > 0 => overwrite(input, word, chance),
        5 => drop(input.drain(chance.run(length))),
        6 => {
            let run = input[chance.run(length)].to_vec();
            insert(input, &run, chance);
        }
        7 => insert(input, &other[chance.run(other.len())], chance),
        8 => {
            // The head of one and the tail of the other.
            input.truncate(chance.below(length + 1));
            input.extend_from_slice(&other[chance.below(other.len() + 1)..]);
        }
        9 if chance.below(4) == 0 => input.truncate(chance.below(length + 1)),
        10 if length > 0 => {
            let number = NUMBERS[chance.below(NUMBERS.len())];
            let bytes = if chance.below(2) == 0 { number.to_le_bytes() } else { number.to_be_bytes() };
            let width = [1, 2, 4][chance.below(3)];
            if chance.below(2) == 0 {
                overwrite(input, &bytes[..width], chance);
            } else {
                insert(input, &bytes[..width], chance);
            }
        }
        11 if length > 0 => {
            let at = chance.below(length);
            input[at] = input[at].wrapping_add([1, 255, 16, 240][chance.below(4)]);
        }
        _ => {
            let noise = (0..=chance.below(8)).map(|_| u8::try_from(chance.below(256)).unwrap_or(0));
            let noise = noise.collect::<Vec<_>>();
            insert(input, &noise, chance);
        }
    }
}

fn insert(input: &mut Vec<u8>, piece: &[u8], chance: &mut Chance) {
    let at = chance.below(input.len() + 1);
    input.splice(at..at, piece.iter().copied());
}

fn overwrite(input: &mut Vec<u8>, piece: &[u8], chance: &mut Chance) {
    let at = chance.below(input.len() + 1);
    let end = (at + piece.len()).min(input.len());
    input.splice(at..end, piece.iter().copied());
}

/// Repeats one run until the input is as long as inputs get: what costs more than its length shows then.
fn blow_up(input: &mut Vec<u8>, chance: &mut Chance) {
    let start = chance.below(input.len());
    let end = (start + 1 + chance.below(64)).min(input.len());
    let run = input[start..end].to_vec();
    let times = (BLOWN_UP - input.len()) / run.len();
    let tail = input.split_off(end);
    input.extend(run.repeat(times.saturating_sub(1)));
    input.extend(tail);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_makes_one_sequence_and_no_input_is_too_long() {
        let make = |seed| {
            let mut chance = Chance::new(seed);
            let mut inputs = vec![b"begin".to_vec()];
            for _ in 0..20_000 {
                let mut input = inputs[chance.below(inputs.len())].clone();
                mutate(&mut input, b"other input", &[b"word"], &mut chance);
                assert!(input.len() <= BLOWN_UP);
                if inputs.len() < 64 {
                    inputs.push(input);
                }
            }
            inputs
        };
        assert_eq!(make(7), make(7));
        assert_ne!(make(7), make(8));
    }
}
