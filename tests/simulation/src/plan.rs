//! What a seed stands for: the wires, the network, what goes wrong and when, and what callers do.

use std::time::Duration;

use crate::chance::Chance;
use crate::client::{Habits, ROUTES};
use crate::pipe::{Direction, Quality};
use crate::wires::{self, WIRES};

/// Which ends there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Clients and a server.
    Direct(&'static str),
    /// Clients of one wire, the bridge, and a server of another.
    Bridged(&'static str, &'static str),
}

impl Shape {
    /// The wire that clients speak.
    pub fn front(self) -> &'static str {
        match self {
            Self::Direct(wire) | Self::Bridged(wire, _) => wire,
        }
    }

    /// The wire that the server speaks.
    pub fn back(self) -> &'static str {
        match self {
            Self::Direct(wire) | Self::Bridged(_, wire) => wire,
        }
    }
}

/// A way through the network: those of the clients by their number from 1, and the bridge's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Of the client with this number.
    Client(u64),
    /// From the bridge to the server.
    Bridge,
}

/// One thing that goes wrong, or is good again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every connection of a way is reset.
    Reset(Way),
    /// What the connections of a way send vanishes for good, in one direction or both.
    Blacken(Way, Option<Direction>),
    /// Nothing passes for so long, in one direction or both.
    Partition(Way, Option<Direction>, Duration),
    /// Dials are refused for so long.
    Refuse(Way, Duration),
    /// Dials get no answer for so long.
    Silence(Way, Duration),
    /// From now on a way is this good.
    Quality(Way, Quality),
    /// The server ends at once, with every connection of a reset network.
    CrashServer,
    /// The server drains.
    DrainServer,
    /// The server is started, if it does not run.
    StartServer,
    /// The bridge ends at once.
    CrashBridge,
    /// The bridge drains.
    DrainBridge,
    /// The bridge is started, if it does not run.
    StartBridge,
    /// A client ends at once and is started again.
    RestartClient(u64),
    /// The wall clock is set by so many seconds.
    Step(i64),
    /// The machine sleeps for so long: nothing runs, nothing arrives, and every clock has gone on when it wakes.
    Suspend(Duration),
    /// A client's logins are refused from now on, or not any more.
    Strike(u64, bool),
    /// Judging a login takes long from now on, or not any more.
    Hesitate(bool),
}

/// What a seed stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The seed, for whatever chance is left.
    pub seed: u64,
    /// Which ends there are.
    pub shape: Shape,
    /// How many clients.
    pub clients: u64,
    /// How good the ways of the clients are, to begin with.
    pub front: Quality,
    /// How good the way of the bridge is, to begin with.
    pub back: Quality,
    /// What goes wrong, in order.
    pub faults: Vec<(Duration, Fault)>,
    /// How long callers call and things go wrong.
    pub active: Duration,
    /// What callers do.
    pub habits: Habits,
    /// Is there a client that will never be let in?
    pub hopeless: bool,
    /// How many strangers come by.
    pub strangers: u64,
}

impl Plan {
    /// What this seed stands for.
    pub fn of(seed: u64) -> Self {
        let chance = Chance::new(seed, 0);
        let wire = || *chance.pick::<&'static str>(&WIRES);
        let from = wire();
        let shape = if chance.happens(500) { Shape::Bridged(from, wire()) } else { Shape::Direct(from) };
        let mut plan = Self {
            clients: chance.within(1..wires::most_clients(from) + 1),
            front: quality(&chance),
            back: quality(&chance),
            active: chance.millis(4_000..15_000),
            habits: Habits {
                routes: ROUTES,
                pause: chance.within(60..1_200),
                given_up: chance.below(200),
                padding: *chance.pick(&[100, 100, 2_000, 12_000]),
                timeout: (200, chance.within(500..8_000)),
                at_the_last_moment: chance.below(300),
            },
            hopeless: chance.happens(250),
            strangers: chance.below(4),
            ..Self::calm(seed, shape)
        };
        plan.hopeless &= matches!(shape, Shape::Direct(wire) if wire != "sockhop");
        plan.go_wrong(&chance);
        plan
    }

    /// Nothing goes wrong, for as long as `active` says.
    pub fn calm(seed: u64, shape: Shape) -> Self {
        Self {
            seed,
            shape,
            clients: 1,
            front: Quality::GOOD,
            back: Quality::GOOD,
            faults: Vec::new(),
            active: Duration::from_secs(10),
            habits: Habits {
                routes: ROUTES,
                pause: 300,
                given_up: 0,
                padding: 100,
                timeout: (200, 4_000),
                at_the_last_moment: 0,
            },
            hopeless: false,
            strangers: 0,
        }
    }

    fn go_wrong(&mut self, chance: &Chance) {
        let end = u64::try_from(self.active.as_millis()).unwrap_or_default();
        for _ in 0..chance.below(9) {
            let at = chance.millis(200..end);
            let span = chance.millis(50..6_000);
            let bridged = matches!(self.shape, Shape::Bridged(..));
            let client = chance.within(1..self.clients + 1);
            let way = if bridged && chance.happens(500) { Way::Bridge } else { Way::Client(client) };
            let before = if way == Way::Bridge { self.back } else { self.front };
            let direction = *chance.pick(&[None, Some(Direction::There), Some(Direction::Back)]);
            let faults = &mut self.faults;
            match chance.below(13) {
                0 | 1 => faults.push((at, Fault::Reset(way))),
                2 => faults.push((at, Fault::Blacken(way, direction))),
                3 | 4 => faults.push((at, Fault::Partition(way, direction, span * 3))),
                5 => faults.extend([(at, Fault::Refuse(way, span)), (at, Fault::Reset(way))]),
                6 => faults.extend([(at, Fault::Silence(way, span * 2)), (at, Fault::Reset(way))]),
                7 => {
                    let bad = Quality { rate: 8 << 10, room: 4 << 10, ..before };
                    faults.extend([(at, Fault::Quality(way, bad)), (at + span, Fault::Quality(way, before))]);
                }
                8 => faults.extend([(at, Fault::CrashServer), (at + span, Fault::StartServer)]),
                9 => faults.extend([(at, Fault::DrainServer), (at + span, Fault::StartServer)]),
                10 if bridged => {
                    let end = *chance.pick(&[Fault::CrashBridge, Fault::DrainBridge]);
                    faults.extend([(at, end), (at + span, Fault::StartBridge)]);
                }
                10 => faults.extend([
                    (at, Fault::Strike(client, true)),
                    (at, Fault::Reset(way)),
                    (at + span, Fault::Strike(client, false)),
                ]),
                11 => faults.extend([
                    (at, Fault::Hesitate(true)),
                    (at, Fault::RestartClient(client)),
                    (at + span, Fault::Hesitate(false)),
                ]),
                _ => faults.push((at, Fault::Step(*chance.pick(&[3_600, -3_600])))),
            }
        }
        self.faults.sort_by_key(|(at, _)| *at);
        if chance.happens(150) {
            // A plugin that sleeps for longer than what it logs in with is good for is out for good.
            let spans: &[u64] = if [self.shape.front(), self.shape.back()].contains(&"hyperhq") {
                &[10]
            } else {
                &[15, 90, 3_600]
            };
            let span = Duration::from_secs(*chance.pick(spans));
            self.sleep(chance.millis(200..end), span);
        }
    }

    /// The machine sleeps from `at` on, and what comes later comes later by that.
    fn sleep(&mut self, at: Duration, span: Duration) {
        let later = self.faults.partition_point(|(other, _)| *other <= at);
        self.faults[later..].iter_mut().for_each(|(at, _)| *at += span);
        self.faults.insert(later, (at, Fault::Suspend(span)));
        self.active += span;
    }
}

/// From a good network to the worst that must be borne: half a second of delay and jitter, single bytes, and a reset now and then.
fn quality(chance: &Chance) -> Quality {
    let jitter = *chance.pick(&[0, 5, 50, 400]);
    Quality {
        delay: chance.millis(0..1 + *chance.pick(&[1, 20, 100, 300])),
        jitter: Duration::from_millis(jitter),
        piece: *chance.pick(&[16_384, 1_400, 100, 16_384]),
        room: *chance.pick(&[256 << 10, 16 << 10, 2 << 10]),
        rate: *chance.pick(&[0, 0, 0, 64 << 10]),
        resets: *chance.pick(&[0, 0, 0, 2]),
    }
}
