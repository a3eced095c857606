//! The simulated network: links that programs dial, servers behind them, and everything that can befall a link.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::Duration;

use polywire_core::{BoxFuture, Io, Network, NetworkListener};
use tokio::time::{Instant, sleep_until};

use crate::chance::Chance;
use crate::history::{History, What};
use crate::pipe::{Connection, Direction, End, Quality};

/// The network of one run.
#[derive(Clone)]
pub struct SimulatedNetwork(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    history: History,
    seed: u64,
}

#[derive(Default)]
struct State {
    links: Vec<Link>,
    doors: BTreeMap<String, Behind>,
    /// Counts listeners, so that one that is dropped late takes no other's place away.
    listeners: u64,
    connections: usize,
}

/// How fast a program may dial.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Dials that nothing paces.
    pub free: u32,
    /// Most dials within a minute.
    pub most: u32,
}

/// One way to a server: programs dial its address.
struct Link {
    address: String,
    to: String,
    pace: Pace,
    quality: Quality,
    live: Vec<Connection>,
    blocked: [Option<Instant>; 2],
    refused: Option<Instant>,
    silent: Option<Instant>,
}

/// A listener and those who wait to be accepted.
struct Behind {
    listener: u64,
    waiting: VecDeque<End>,
    accepting: Option<Waker>,
}

impl SimulatedNetwork {
    /// A network without links.
    pub fn new(seed: u64, history: History) -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), history, seed }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("not poisoned")
    }

    /// A link: who dials `address` reaches what listens at `to`, and dials at this pace at most.
    pub fn link(&self, address: &str, to: &str, pace: Pace, quality: Quality) -> usize {
        let mut state = self.lock();
        state.links.push(Link {
            address: address.to_owned(),
            to: to.to_owned(),
            pace,
            quality,
            live: Vec::new(),
            blocked: [None; 2],
            refused: None,
            silent: None,
        });
        state.links.len() - 1
    }

    /// Runs `change` on each connection of a link.
    fn each(&self, link: usize, change: impl Fn(&Connection)) {
        let mut state = self.lock();
        let link = &mut state.links[link];
        link.live.retain(Connection::is_alive);
        link.live.iter().for_each(change);
    }

    /// Resets every connection of a link.
    pub fn reset(&self, link: usize) {
        self.each(link, Connection::reset);
    }

    /// What connections of a link send in this direction vanishes; new ones are whole.
    pub fn blacken(&self, link: usize, direction: Direction) {
        self.each(link, |connection| connection.blacken(direction));
    }

    /// Connections of a link that are black fail.
    pub fn give_up(&self, link: usize) {
        self.each(link, Connection::give_up);
    }

    /// Nothing passes in these directions for so long, or longer where it already did not; it arrives later.
    pub fn partition(&self, link: usize, directions: &[Direction], span: Duration) {
        let until = Instant::now() + span;
        for direction in directions {
            self.each(link, |connection| connection.block(*direction, until));
            let blocked = &mut self.lock().links[link].blocked[*direction as usize];
            *blocked = (*blocked).max(Some(until));
        }
    }

    /// Dials are refused for so long.
    pub fn refuse(&self, link: usize, span: Duration) {
        self.lock().links[link].refused = Some(Instant::now() + span);
    }

    /// Dials are not answered for so long.
    pub fn silence(&self, link: usize, span: Duration) {
        self.lock().links[link].silent = Some(Instant::now() + span);
    }

    /// From now on a link is this good, also for its connections.
    pub fn set_quality(&self, link: usize, quality: Quality) {
        self.each(link, |connection| connection.set_quality(quality));
        self.lock().links[link].quality = quality;
    }

    /// How many connections of a link are not over.
    pub fn live(&self, link: usize) -> usize {
        self.each(link, |_| {});
        self.lock().links[link].live.len()
    }

    /// How many links there are.
    pub fn links(&self) -> usize {
        self.lock().links.len()
    }

    /// Connects by a link, or to a listener directly.
    async fn connect_by(&self, address: &str) -> io::Result<End> {
        let place = self.lock().links.iter().position(|link| link.address == address);
        if let Some(link) = place {
            let Pace { free, most } = self.lock().links[link].pace;
            self.0.history.add(What::Dialled { link, free, most });
            loop {
                let now = Instant::now();
                let (wait, refused) = {
                    let link = &self.lock().links[link];
                    let later = |until: &Option<Instant>| until.filter(|until| *until > now);
                    let until = link.blocked.iter().chain([&link.silent]).filter_map(later).max();
                    (until, later(&link.refused).is_some())
                };
                if refused {
                    sleep_until(now + Duration::from_millis(1)).await;
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                match wait {
                    Some(until) => sleep_until(until).await,
                    None => break,
                }
            }
            let delay = self.lock().links[link].quality.delay;
            sleep_until(Instant::now() + delay * 2).await;
        }
        let mut state = self.lock();
        let state = &mut *state;
        let number = state.connections;
        let (to, quality, blocked) = match place.map(|link| &state.links[link]) {
            Some(link) => (link.to.as_str(), link.quality, link.blocked),
            None => (address, Quality::GOOD, [None; 2]),
        };
        let behind = state.doors.get_mut(to).ok_or(io::ErrorKind::ConnectionRefused)?;
        state.connections += 1;
        let chance = Chance::new(self.0.seed, 1_000 + number as u64);
        let (connection, near, far) = Connection::new(number, quality, chance, self.0.history.clone());
        for (direction, until) in [Direction::There, Direction::Back].into_iter().zip(blocked) {
            until.into_iter().for_each(|until| connection.block(direction, until));
        }
        behind.waiting.push_back(far);
        behind.accepting.take().into_iter().for_each(Waker::wake);
        if let Some(link) = place {
            state.links[link].live.push(connection);
        }
        Ok(near)
    }
}

impl Network for SimulatedNetwork {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Box::pin(async move { self.connect_by(address).await.map(|end| Box::new(end) as Box<dyn Io>) })
    }

    fn listen(&self, address: &str) -> io::Result<Box<dyn NetworkListener>> {
        let mut state = self.lock();
        if state.doors.contains_key(address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.listeners += 1;
        let listener = state.listeners;
        let behind = Behind { listener, waiting: VecDeque::new(), accepting: None };
        state.doors.insert(address.to_owned(), behind);
        drop(state);
        Ok(Box::new(Listener { network: self.clone(), address: address.to_owned(), listener }))
    }
}

struct Listener {
    network: SimulatedNetwork,
    address: String,
    listener: u64,
}

impl NetworkListener for Listener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Io>, Option<String>)>> {
        Box::pin(std::future::poll_fn(|cx| {
            let mut state = self.network.lock();
            let Some(behind) = state.doors.get_mut(&self.address) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            match behind.waiting.pop_front() {
                Some(end) => Poll::Ready(Ok((Box::new(end) as Box<dyn Io>, None))),
                None => {
                    behind.accepting = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        }))
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        let own = state.doors.get(&self.address).is_some_and(|behind| behind.listener == self.listener);
        let gone = if own { state.doors.remove(&self.address) } else { None };
        drop(state);
        drop(gone);
    }
}
