//! What happened in one run, as a list of plain records, and the hash of its trace.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use polywire_core::{CallError, Code, Outcome};

use crate::clock::SimulatedClock;
use crate::plan::Fault;
use crate::service::{nonce_of, nonce_told};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Since the run began.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A call was made; it must have ended by `deadline`.
    Called {
        /// Its number, unique in the run.
        nonce: u64,
        /// Since the run began.
        deadline: Duration,
    },
    /// A call ended at its caller.
    Ended {
        /// Its number.
        nonce: u64,
        /// How.
        end: End,
    },
    /// A caller dropped its call.
    GivenUp {
        /// Its number.
        nonce: u64,
    },
    /// A handler was given a call.
    Ran {
        /// Its number.
        nonce: u64,
        /// The connection it came on.
        peer: Option<u64>,
    },
    /// A sender's event was taken for sending.
    Told {
        /// Who numbers these events, and for whom they are.
        stream: Stream,
        /// Its number, without holes.
        sequence: u64,
    },
    /// A handler was given an event.
    Heard {
        /// Who heard it.
        who: u64,
        /// Who numbers these events.
        stream: Stream,
        /// Its number.
        sequence: u64,
    },
    /// An event was sent when everything was good again: this one must hear it.
    Owed {
        /// Who must hear it.
        who: u64,
        /// Who numbers these events.
        stream: Stream,
        /// Its number.
        sequence: u64,
    },
    /// A client was told that events may be missing, and from then on others may.
    Gap {
        /// The client.
        who: u64,
    },
    /// A login was judged.
    Judged {
        /// Who wanted in.
        subject: String,
        /// Was it let in?
        granted: bool,
    },
    /// The server listens from now on.
    Listens,
    /// A connection was established, as the serving side sees it.
    Joined {
        /// The connection.
        peer: u64,
    },
    /// A connection that was established ended.
    Left {
        /// The connection.
        peer: u64,
    },
    /// A program dialled.
    Dialled {
        /// The way it dialled.
        link: usize,
        /// Dials of the program that nothing paces: the first of each connection it keeps.
        free: u32,
        /// Most dials within a minute.
        most: u32,
    },
    /// A client stopped for good because its logins were refused.
    Refused {
        /// The way it dialled.
        link: usize,
    },
    /// A client was started, or started again.
    Started {
        /// The way it dials.
        link: usize,
        /// The client.
        who: u64,
        /// It will never be let in.
        hopeless: bool,
    },
    /// A call that no handler may ever see.
    Uninvited {
        /// Its number.
        nonce: u64,
    },
    /// Somebody who does not log in spoke to a server where one must.
    Stranger {
        /// How long the connection lived, or was watched.
        lived: Duration,
        /// How long it may live.
        limit: Duration,
    },
    /// The books of an endpoint were read.
    Books {
        /// Whose.
        who: String,
        /// Frames received that are not accounted for.
        frames: i64,
        /// Calls made beyond those that have ended; what is in progress.
        calls: i64,
        /// Requests handled beyond those that have ended; what is in progress.
        requests: i64,
        /// Connections opened beyond those that have ended.
        connections: i64,
        /// Nothing may be in progress any more.
        closed: bool,
    },
    /// The bridge ended, or its books, which are read right after this, tell of messages that it lost or connections that ended
    /// since they were read last.
    Lost,
    /// A route of the bridge was read.
    Route {
        /// Which.
        title: String,
        /// Messages it took.
        received: u64,
        /// Messages that ended, whichever way.
        ended: u64,
        /// Nothing may be on its way any more.
        closed: bool,
    },
    /// All routes of a bridge together, read when nothing was on its way.
    Taken {
        /// Requests and events that its listening endpoint was given.
        given: u64,
        /// What its routes took, and what none took.
        taken: u64,
    },
    /// The network is good again; a client was asked until it answered, or did not.
    Served {
        /// The client.
        who: u64,
        /// Did it?
        answered: bool,
        /// How long that took.
        took: Duration,
    },
    /// Something was drained.
    Drained {
        /// What.
        who: String,
        /// How long that took.
        took: Duration,
        /// How long it may take.
        limit: Duration,
    },
    /// Something went wrong on purpose.
    Fault(Fault),
}

/// A row of numbered events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    /// Who numbers them: 0 is the server, others are clients.
    pub source: u64,
    /// The key within that.
    pub key: u64,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With this answer; the number is the one that stands in its body.
    Answered(Option<u64>),
    /// With a failure of the peer; the number is the one that stands in its words.
    Failed(Code, Option<u64>),
    /// It surely did not run.
    NotSent(Code),
    /// It may have run.
    Unknown(Code),
}

impl From<&Outcome> for End {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Ok(response) => Self::Answered(nonce_of(&response.body)),
            Err(CallError::Failure(failure)) => Self::Failed(failure.code, nonce_told(&failure.message)),
            Err(CallError::NotSent(failure)) => Self::NotSent(failure.code),
            Err(CallError::Unknown(failure)) => Self::Unknown(failure.code),
        }
    }
}

/// The history of one run, while it is written.
#[derive(Clone)]
pub struct History(Arc<Inner>);

struct Inner {
    clock: Arc<SimulatedClock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: Vec<Record>,
    trace: Trace,
}

/// The hash of what happened when.
#[derive(Default)]
struct Trace {
    hash: u64,
    /// The order of what happens at one moment counts too.
    ordered: bool,
    /// That moment and what happened in it, where its order does not count.
    at: Duration,
    sum: u64,
}

impl Trace {
    fn add(&mut self, at: Duration, text: &str) {
        if self.ordered {
            self.hash = mixed(self.hash, at, text.as_bytes());
            return;
        }
        if at != self.at {
            self.settle();
            self.at = at;
        }
        self.sum = self.sum.wrapping_add(mixed(0, at, text.as_bytes()));
    }

    fn settle(&mut self) {
        let sum = std::mem::take(&mut self.sum);
        self.hash = mixed(self.hash, self.at, &sum.to_le_bytes());
    }
}

impl History {
    /// Nothing has happened yet. `ordered`: the order of what happens at one moment is a part of the trace.
    pub fn new(clock: Arc<SimulatedClock>, ordered: bool) -> Self {
        let state = State { trace: Trace { ordered, ..Trace::default() }, ..State::default() };
        Self(Arc::new(Inner { clock, state: Mutex::new(state) }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("not poisoned")
    }

    /// Since the run began.
    pub fn now(&self) -> Duration {
        self.0.clock.elapsed()
    }

    /// Something happened now.
    pub fn add(&self, what: What) {
        let at = self.now();
        // Numbers of connections are counted in the process, so another run has others.
        let numbered = matches!(what, What::Joined { .. } | What::Left { .. } | What::Ran { .. });
        let text = if numbered { String::new() } else { format!("{what:?}") };
        let mut state = self.lock();
        state.trace.add(at, &text);
        state.records.push(Record { at, what });
    }

    /// Bytes left on a connection; only their number and times are a part of the trace, because masks and keys differ.
    pub fn carried(&self, connection: usize, bytes: usize, arrives: Duration) {
        let at = self.now();
        let mut state = self.lock();
        let text = format!("{connection} {bytes} {arrives:?}");
        state.trace.add(at, &text);
    }

    /// The records so far, and the hash of the trace.
    pub fn take(&self) -> (Vec<Record>, u64) {
        let mut state = self.lock();
        state.trace.settle();
        (std::mem::take(&mut state.records), state.trace.hash)
    }
}

/// FNV-1a over what happened when.
fn mixed(hash: u64, at: Duration, text: &[u8]) -> u64 {
    let time = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX).to_le_bytes();
    time.iter().chain(text).fold(hash ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
