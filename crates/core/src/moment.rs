//! Time and chance, handed in: nothing in this workspace reads a clock or draws a random byte on its own.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use crate::dial_rate::DialRate;
use crate::memory::Memory;
use crate::network::Network;

/// A point on the monotonic clock, in nanoseconds since the clock began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// A moment this long after the clock began.
    pub fn from_start(elapsed: Duration) -> Self {
        Self(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// How long after the clock began.
    pub const fn since_start(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The time from `earlier` to here, zero when `earlier` is later.
    pub const fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, span: Duration) -> Moment {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Moment> for Moment {
    type Output = Duration;

    fn sub(self, earlier: Moment) -> Duration {
        self.since(earlier)
    }
}

/// A source of time.
pub trait Clock: Send + Sync + 'static {
    /// The moment now, monotonic.
    fn now(&self) -> Moment;

    /// The wall clock, for dates that a wire carries; it may jump.
    fn wall(&self) -> SystemTime;

    /// A new alarm that is not set.
    fn alarm(&self) -> Box<dyn Alarm>;
}

/// One timer of a [`Clock`].
pub trait Alarm: Send {
    /// Sets the alarm, also again.
    fn set(&mut self, at: Moment);

    /// Ready once the moment set has come.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A source of unpredictable bytes.
pub trait Random: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The clock, the chance, the memory and the network that everything here runs on.
#[derive(Clone)]
pub struct Surroundings {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where chance comes from.
    pub random: Arc<dyn Random>,
    /// How fast clients may dial again, together.
    pub dial_rate: Arc<DialRate>,
    /// How much connections may keep, together.
    pub memory: Arc<Memory>,
    /// What is dialled and listened at where adapters would use TCP; `None`, the default, is the operating system's TCP.
    pub network: Option<Arc<dyn Network>>,
}

impl Surroundings {
    /// Tokio's clock, the operating system's randomness and the memory budget of the process. With tokio's clock paused, time is
    /// simulated.
    pub fn real() -> Self {
        Self {
            clock: Arc::new(TokioClock),
            random: Arc::new(SystemRandom),
            dial_rate: Arc::default(),
            memory: Memory::of_process(),
            network: None,
        }
    }

    /// Tokio's clock, chance that one seed decides, and a memory budget of its own; for tests and simulations.
    pub fn seeded(seed: u64) -> Self {
        Self { random: Arc::new(SeededRandom::new(seed)), memory: Arc::default(), ..Self::real() }
    }
}

impl Default for Surroundings {
    fn default() -> Self {
        Self::real()
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}

/// Tokio's clock, which tests can pause and advance. It is the same clock wherever it is made in one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioClock;

/// When the clock began: a day before it was first read, because a paused clock of another runtime may stand a little earlier.
fn start() -> tokio::time::Instant {
    static START: OnceLock<tokio::time::Instant> = OnceLock::new();
    *START.get_or_init(|| {
        let now = tokio::time::Instant::now();
        now.checked_sub(Duration::from_secs(86_400)).unwrap_or(now)
    })
}

impl Clock for TokioClock {
    fn now(&self) -> Moment {
        Moment::from_start(start().elapsed())
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn alarm(&self) -> Box<dyn Alarm> {
        Box::new(TokioAlarm { sleep: None })
    }
}

struct TokioAlarm {
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Alarm for TokioAlarm {
    fn set(&mut self, at: Moment) {
        let far = || tokio::time::Instant::now() + Duration::from_secs(86_400 * 365);
        let at = start().checked_add(at.since_start()).unwrap_or_else(far);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sleep {
            Some(sleep) => Future::poll(sleep.as_mut(), cx),
            None => Poll::Pending,
        }
    }
}

/// Waits until `at` on `clock`.
///
/// # Cancel safety
/// Safe: dropping it forgets the wait.
pub async fn sleep_until(clock: &dyn Clock, at: Moment) {
    let mut alarm = clock.alarm();
    alarm.set(at);
    std::future::poll_fn(|cx| alarm.poll(cx)).await;
}

/// The operating system's randomness, drawn in blocks so that a nonce costs no system call.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

const BLOCK: usize = 512;

struct Block {
    bytes: [u8; BLOCK],
    used: usize,
}

thread_local! {
    static SYSTEM: RefCell<Block> = const { RefCell::new(Block { bytes: [0; BLOCK], used: BLOCK }) };
}

impl Random for SystemRandom {
    /// # Panics
    /// When the operating system has no randomness to give: nothing here could go on safely.
    #[allow(clippy::expect_used, reason = "without randomness every id and nonce would be predictable")]
    #[allow(clippy::indexing_slicing, reason = "a block that is used up is drawn anew first")]
    fn fill(&self, bytes: &mut [u8]) {
        SYSTEM.with_borrow_mut(|block| {
            for byte in bytes {
                if block.used == BLOCK {
                    getrandom::fill(&mut block.bytes).expect("the operating system provides randomness");
                    block.used = 0;
                }
                *byte = std::mem::take(&mut block.bytes[block.used]);
                block.used += 1;
            }
        });
    }
}

/// Chance that one seed decides: never for secrets.
#[derive(Debug)]
pub struct SeededRandom(Mutex<u64>);

impl SeededRandom {
    /// A stream of bytes that is the same for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            // SplitMix64, Steele, Lea and Flood 2014.
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = *state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            for (byte, fresh) in chunk.iter_mut().zip(word.to_le_bytes()) {
                *byte = fresh;
            }
        }
    }
}

/// A number below `bound` (0 for a bound of 0), for jitter; the bias is below 2^-32 for bounds below 2^32.
pub fn random_below(random: &dyn Random, bound: u64) -> u64 {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    u64::from_le_bytes(bytes).checked_rem(bound).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_drawn_in_blocks_and_every_byte_of_a_block_is_given_once() {
        let seen = || SYSTEM.with_borrow(|block| (block.used, block.bytes));
        SystemRandom.fill(&mut [0; 1]);
        let (used, block) = seen();
        let mut nonce = [0; 12];
        for from in (used..).step_by(12).take_while(|from| from + 12 <= BLOCK) {
            SystemRandom.fill(&mut nonce);
            let (used, left) = seen();
            assert_eq!((used, nonce[..].to_vec()), (from + 12, block[from..from + 12].to_vec()));
            assert_eq!(left[..used], [0; BLOCK][..used], "what was given is not kept");
            assert_eq!(left[used..], block[used..], "nothing is drawn while there is some");
        }
        // The rest of this block, and then the next one.
        SystemRandom.fill(&mut [0; 12]);
        let (used, fresh) = seen();
        assert!(used <= 12 && fresh[used..] != block[used..], "a block is not given twice");
    }
}
