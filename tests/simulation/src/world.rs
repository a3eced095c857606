//! One run, from the first connect to the last drain.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use polywire_core::{Event, Ledger, Network, Route, Surroundings};
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::chance::Chance;
use crate::check::{Violation, check};
use crate::client::Program;
use crate::clock::SimulatedClock;
use crate::history::{History, Record, Stream, What};
use crate::nature;
use crate::network::SimulatedNetwork;
use crate::pipe::Quality;
use crate::plan::{Plan, Shape, Way};
use crate::server::{Between, Upstream, books};
use crate::service::{Judge, PANIC, event_body};
use crate::stranger;
use crate::wires::{self, MOVED};

/// How long after repair everybody must be served again: a dead peer is found within 60 s on the slowest wire, on each of two ways,
/// and dialled again within 30 s.
const PATIENCE: Duration = Duration::from_secs(150);
/// How long calls may take that were made before the end.
const LAST_CALLS: Duration = Duration::from_secs(120);
/// The row of the events that are told when everything is good again, and how many they are.
const LAST_ROW: u64 = 1_000;
const LAST_EVENTS: u64 = 5;
/// How long those are on their way at most.
const ON_THE_WAY: Duration = Duration::from_secs(5);
/// Calls that each client makes right before it is drained, so that some are in flight, as far as its wire carries so many.
const IN_FLIGHT: u64 = 5;
/// How often the books are read.
const READING: Duration = Duration::from_millis(500);

/// What one run showed.
#[derive(Clone, Debug)]
pub struct Report {
    /// What must hold and did not.
    pub violations: Vec<Violation>,
    /// The hash of the trace.
    pub trace: u64,
    /// Everything that happened.
    pub records: Vec<Record>,
}

/// What every part of a run stands on.
pub struct Ground {
    /// The seed of whatever chance is left.
    pub seed: u64,
    /// What happens is written here.
    pub history: History,
    /// The clock of every program.
    pub clock: Arc<SimulatedClock>,
    /// What they dial and listen at.
    pub network: SimulatedNetwork,
    /// Watchers.
    pub tasks: TaskTracker,
    /// Calls.
    pub calls: TaskTracker,
    programs: AtomicU64,
    nonces: AtomicU64,
    ledgers: Mutex<Vec<(String, Arc<Ledger>)>>,
}

impl Ground {
    /// The number of the next call.
    pub fn nonce(&self) -> u64 {
        self.nonces.fetch_add(1, Ordering::Relaxed)
    }

    /// The surroundings of one more program.
    pub fn surroundings(&self) -> Surroundings {
        let program = self.programs.fetch_add(1, Ordering::Relaxed);
        let seed = Chance::new(self.seed, 10_000 + program).below(u64::MAX);
        let network: Arc<dyn Network> = Arc::new(self.network.clone());
        Surroundings {
            clock: Arc::clone(&self.clock) as _,
            network: Some(network),
            ..Surroundings::seeded(seed)
        }
    }

    /// The books of one more program, which are read now and then and in the end.
    pub fn keep(&self, who: String, ledger: &Arc<Ledger>) {
        self.ledgers.lock().expect("not poisoned").push((who, Arc::clone(ledger)));
    }

    fn read(&self, closed: bool) {
        for (who, ledger) in &*self.ledgers.lock().expect("not poisoned") {
            self.history.add(books(who, &|count| ledger.get(count), closed));
        }
    }
}

/// One run while it goes on.
pub struct World {
    /// What every part shares.
    pub ground: Arc<Ground>,
    /// What it is a run of.
    pub plan: Plan,
    /// The server.
    pub upstream: Upstream,
    /// The bridge, if there is one.
    pub between: Option<Between>,
    /// The clients, those that will never be let in too.
    pub programs: Vec<Arc<Program>>,
    /// Judges logins at the server.
    pub judge: Judge,
    bridge_link: usize,
}

/// The number of the client that will never be let in.
const HOPELESS: u64 = 9;
const SERVER: &str = "127.0.0.1:1000";
const BRIDGE: &str = "127.0.0.1:1001";
const BRIDGE_DIALS: &str = "127.0.0.1:2000";
const STRANGERS_DIAL: &str = "127.0.0.1:2999";

impl World {
    fn new(plan: Plan) -> Self {
        let clock = Arc::new(SimulatedClock::new());
        let (front, back) = (plan.shape.front(), plan.shape.back());
        let ordered = wires::is_ordered(front) && wires::is_ordered(back);
        let history = History::new(Arc::clone(&clock), ordered);
        let network = SimulatedNetwork::new(plan.seed, history.clone());
        let judge = Judge::new(history.clone());
        let ground = Arc::new(Ground {
            seed: plan.seed,
            history,
            clock,
            network: network.clone(),
            tasks: TaskTracker::new(),
            calls: TaskTracker::new(),
            programs: AtomicU64::new(0),
            nonces: AtomicU64::new(1),
            ledgers: Mutex::default(),
        });
        let bridge_link = network.link(BRIDGE_DIALS, SERVER, wires::pace(back), plan.back);
        let (door, judges, between) = match plan.shape {
            Shape::Direct(wire) => (SERVER, wires::judges(wire), None),
            Shape::Bridged(..) => {
                let between = Between::new(Arc::clone(&ground), front, back, BRIDGE, BRIDGE_DIALS);
                (BRIDGE, false, Some(between))
            }
        };
        let mut numbers = (1..=plan.clients).collect::<Vec<_>>();
        numbers.extend(plan.hopeless.then_some(HOPELESS));
        let programs = numbers.into_iter().map(|number| {
            let hopeless = number == HOPELESS;
            let address = format!("127.0.0.1:{}", 2_000 + number);
            let quality = if hopeless { Quality::GOOD } else { plan.front };
            let link = network.link(&address, door, wires::pace(front), quality);
            let subject = judges.then(|| format!("client-{number}"));
            Arc::new(Program::new(Arc::clone(&ground), number, (link, &address), front, subject, hopeless))
        });
        let programs = programs.collect();
        let upstream = Upstream::new(Arc::clone(&ground), back, SERVER, judges.then(|| judge.clone()));
        network.link(STRANGERS_DIAL, door, wires::pace(front), Quality::GOOD);
        Self { ground, plan, upstream, between, programs, judge, bridge_link }
    }

    /// The link of a way.
    ///
    /// # Panics
    /// When there is no such client.
    pub fn link(&self, way: Way) -> usize {
        match way {
            Way::Bridge => self.bridge_link,
            Way::Client(number) => {
                let program = self.programs.iter().find(|program| program.number == number);
                program.expect("a plan names clients that are there").link
            }
        }
    }

    /// The name that a client logs in with.
    pub fn subject(&self, number: u64) -> String {
        format!("client-{number}")
    }

    async fn run(&self) {
        tokio::select! {
            biased;
            () = self.live() => {}
            () = self.read() => {}
        }
        self.end().await;
    }

    async fn live(&self) {
        self.judge.strike(&self.subject(HOPELESS), true);
        self.upstream.start().await;
        if let Some(between) = &self.between {
            between.start().await;
        }
        for program in &self.programs {
            program.start().await;
        }
        let tasks = TaskTracker::new();
        for program in &self.programs {
            tasks.spawn(Arc::clone(program).call(self.plan.habits, self.plan.active));
            if wires::tells(self.plan.shape.front()) && !program.hopeless {
                tasks.spawn(Arc::clone(program).tell(self.plan.active));
            }
        }
        for visitor in 0..self.plan.strangers {
            let wire = self.plan.shape.front();
            let Some(limit) = wires::stranger_limit(wire) else { break };
            let chance = Chance::new(self.plan.seed, 400 + visitor);
            let address = STRANGERS_DIAL.to_owned();
            tasks.spawn(stranger::visit(Arc::clone(&self.ground), address, wire, limit, chance));
        }
        tokio::join!(self.until_then(nature::rage(self)), self.push(), self.call_back());
        nature::calm(self).await;
        // Everybody is connected again before the last calls are waited for.
        self.served().await;
        tasks.close();
        tasks.wait().await;
        // Calls that never end show as calls without an end.
        let _ = timeout(LAST_CALLS, self.calls_over()).await;
        let served = self.served().await;
        self.tell_last(&served).await;
    }

    /// Waits until no call is in flight any more. Where answers are told apart by their order or their names, one that is missing
    /// costs its connection: before that, what is told last may be lost with it.
    async fn calls_over(&self) {
        self.ground.calls.close();
        self.ground.calls.wait().await;
        while self.between.as_ref().is_some_and(|between| !between.is_idle()) {
            sleep(READING).await;
        }
    }

    /// Asks of every program that is let in, and gives those that are answered.
    async fn served(&self) -> Vec<&Arc<Program>> {
        let mut served = Vec::new();
        for program in self.programs.iter().filter(|program| !program.hopeless) {
            let is_over =
                || program.is_over() || self.between.as_ref().is_some_and(|between| between.is_refused());
            if !is_over() && program.probe(PATIENCE, is_over).await {
                served.push(program);
            }
        }
        served
    }

    /// Ends whatever goes wrong when its time is over.
    async fn until_then(&self, work: impl Future<Output = ()>) {
        work.await;
        sleep(self.plan.active.saturating_sub(self.ground.history.now())).await;
    }

    /// The server tells its clients what moved.
    async fn push(&self) {
        if !wires::pushes(self.plan.shape.back()) {
            return;
        }
        let chance = Chance::new(self.plan.seed, 500);
        let mut sequences = [0; 2];
        while self.ground.history.now() < self.plan.active {
            sleep(chance.millis(20..500)).await;
            let key = chance.below(2);
            let sequence = &mut sequences[usize::from(key == 1)];
            let stream = Stream { source: 0, key };
            let event = Event::new(Route::from_static(MOVED), event_body(stream, *sequence));
            if self.upstream.broadcast(&event) {
                self.ground.history.add(What::Told { stream, sequence: *sequence });
                *sequence += 1;
            }
        }
    }

    /// Both sides tell what the other must hear, now that everything is good: who was just answered is connected, and so is the bridge.
    async fn tell_last(&self, served: &[&Arc<Program>]) {
        let (front, back) = (self.plan.shape.front(), self.plan.shape.back());
        let pushes = wires::pushes(front) && wires::pushes(back);
        let tells = wires::tells(front) && wires::tells(back);
        let history = &self.ground.history;
        for sequence in 0..LAST_EVENTS {
            let stream = Stream { source: 0, key: LAST_ROW };
            let event = Event::new(Route::from_static(MOVED), event_body(stream, sequence));
            if pushes && self.upstream.broadcast(&event) {
                for program in served {
                    history.add(What::Owed { who: program.number, stream, sequence });
                }
            }
            for program in served.iter().filter(|_| tells) {
                let stream = Stream { source: program.number, key: LAST_ROW };
                if program.tell_one(stream, sequence).await {
                    history.add(What::Owed { who: 0, stream, sequence });
                }
            }
        }
        sleep(ON_THE_WAY).await;
    }

    /// The server calls its clients.
    async fn call_back(&self) {
        if !wires::calls_back(self.plan.shape.back()) || self.between.is_some() {
            return;
        }
        let chance = Chance::new(self.plan.seed, 600);
        while self.ground.history.now() < self.plan.active {
            sleep(chance.millis(100..1_500)).await;
            let peers = self.upstream.peers();
            if peers.is_empty() {
                continue;
            }
            let Some(caller) = chance.pick(&peers).caller().cloned() else { continue };
            let call = crate::client::drawn(&self.ground, &chance, &self.plan.habits);
            self.ground.calls.spawn(Arc::clone(&self.ground).make(caller, call));
        }
    }

    /// Reads all books now and then.
    async fn read(&self) {
        loop {
            sleep(READING).await;
            self.ground.read(false);
            self.between.iter().for_each(Between::read);
        }
    }

    /// Everything ends in order, with calls in flight; then nothing may be left.
    async fn end(&self) {
        let Ground { tasks, calls, seed, .. } = &*self.ground;
        tasks.close();
        for program in &self.programs {
            let chance = Chance::new(*seed, 700 + program.number);
            (0..IN_FLIGHT).for_each(|_| program.call_once(&chance, &self.plan.habits));
            sleep(chance.millis(0..50)).await;
            program.drain().await;
        }
        // Calls that never end show as calls without an end.
        let _ = timeout(LAST_CALLS, async { tokio::join!(tasks.wait(), calls.wait()) }).await;
        if let Some(between) = &self.between {
            between.finish().await;
        }
        self.upstream.drain().await;
        sleep(Duration::from_secs(2)).await;
        self.ground.read(true);
    }
}

/// Runs a plan.
///
/// # Panics
/// When the simulation itself is at fault.
pub fn run(plan: &Plan) -> Report {
    hush();
    wires::derive_key();
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime can be had");
    let (records, trace) = runtime.block_on(async {
        let world = World::new(plan.clone());
        world.run().await;
        world.ground.history.take()
    });
    Report { violations: check(&records), trace, records }
}

/// Handlers that panic on purpose say nothing about it.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let said = panic.payload().downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.payload().downcast_ref::<&str>().copied());
            if said != Some(PANIC) {
                loud(panic);
            }
        }));
    });
}
