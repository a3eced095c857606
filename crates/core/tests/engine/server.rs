//! The server: places, accept errors, who is there, and the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use polywire_core::{Accept, Body, ByteStream, Count, Event, Listener, Parts, Route, Server};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::toy::{Guests, Login, Setup, ToyCodec, ToySession, check_books, settle};

/// A listener whose peers and errors the test sends.
struct Door(mpsc::Receiver<io::Result<DuplexStream>>, Option<String>);

impl Listener for Door {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, Option<String>)> {
        match self.0.recv().await {
            Some(arrived) => arrived.map(|io| (io, self.1.clone())),
            None => std::future::pending().await,
        }
    }

    fn address(&self) -> String {
        "door".to_owned()
    }
}

struct Toys {
    login: Login,
    /// How long a handshake below takes.
    handshake: Duration,
}

impl Accept<DuplexStream> for Toys {
    type Session = ToySession;
    type Transport = ByteStream<DuplexStream>;

    async fn accept(&self, io: DuplexStream) -> io::Result<Parts<ToySession, Self::Transport>> {
        tokio::time::sleep(self.handshake).await;
        let session = ToySession::new(self.login.clone());
        Ok(Parts { transport: ByteStream::new(io), codec: ToyCodec::new(1 << 20), session })
    }
}

pub(crate) struct House {
    pub(crate) server: Server,
    door: mpsc::Sender<io::Result<DuplexStream>>,
    guests: Arc<Guests>,
}

pub(crate) fn open(setup: Setup, login: Login) -> House {
    open_to(setup, login, None)
}

fn open_after(handshake: Duration, setup: Setup, login: Login) -> House {
    house(setup, Toys { login, handshake }, None)
}

/// All peers of this house come from `address`.
fn open_to(setup: Setup, login: Login, address: Option<&str>) -> House {
    house(setup, Toys { login, handshake: Duration::ZERO }, address)
}

fn house(mut setup: Setup, toys: Toys, address: Option<&str>) -> House {
    let (door, arrivals) = mpsc::channel(64);
    let guests = Arc::new(Guests::default());
    setup.endpoint.observer = Some(Arc::clone(&guests) as _);
    setup.endpoint.limits = Arc::new(setup.limits);
    let server = Server::start(Door(arrivals, address.map(str::to_owned)), toys, setup.endpoint);
    House { server, door, guests }
}

impl House {
    pub(crate) async fn arrive(&self) -> Guest {
        let (near, far) = tokio::io::duplex(1 << 16);
        self.door.send(Ok(near)).await.unwrap();
        settle().await;
        Guest(BufReader::new(far))
    }

    pub(crate) async fn close(self) {
        let ledger = Arc::clone(self.server.ledger());
        self.server.shutdown().await;
        check_books(&ledger);
    }
}

pub(crate) struct Guest(BufReader<DuplexStream>);

impl Guest {
    async fn say(&mut self, line: &str) {
        self.0.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end_matches('\n').to_owned()
    }

    pub(crate) async fn answered(&mut self) -> bool {
        self.say("? 1 echo 1").await;
        let answer = tokio::time::timeout(Duration::from_millis(1), self.hear()).await;
        answer.is_ok_and(|answer| answer == "! 1 1")
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_max_connections_a_peer_waits_for_a_place() {
    let mut setup = Setup::new();
    setup.limits.max_connections = 2;
    let house = open(setup, Login::None);
    let (mut one, mut two, mut three) = (house.arrive().await, house.arrive().await, house.arrive().await);
    assert!(one.answered().await && two.answered().await && !three.answered().await);
    drop(one);
    assert_eq!(three.hear().await, "! 1 1");
    assert!(two.answered().await);
    house.close().await;
}

#[tokio::test(start_paused = true)]
async fn peers_that_do_not_log_in_take_places_of_their_own_and_only_for_a_while() {
    let mut setup = Setup::new();
    setup.limits.max_strangers = 2;
    let house = open(setup, Login::Ask);
    let mut ann = house.arrive().await;
    ann.say("login ann s3cret").await;
    assert_eq!(ann.hear().await, "welcome ann");
    let silent = [house.arrive().await, house.arrive().await];
    let start = Instant::now();
    let mut next = house.arrive().await;
    next.say("login ann s3cret").await;
    assert!(ann.answered().await);
    assert_eq!(next.hear().await, "welcome ann");
    assert!(start.elapsed() >= Duration::from_secs(9), "after the login_timeout of a silent one");
    assert_eq!(house.server.peers().len(), 2);
    drop(silent);
    house.close().await;
}

#[tokio::test(start_paused = true)]
async fn c01_a_handshake_below_and_the_login_share_one_login_timeout() {
    let house = open_after(Duration::from_secs(6), Setup::new(), Login::Ask);
    let start = Instant::now();
    let mut silent = house.arrive().await;
    assert_eq!(silent.hear().await, "", "closed");
    let after = start.elapsed().as_millis();
    assert!((9_990..=10_010).contains(&after), "{after} ms");
    house.close().await;
}

#[tokio::test(start_paused = true)]
async fn c06_accepting_goes_on_after_errors_with_a_pause() {
    let house = open(Setup::new(), Login::None);
    let start = Instant::now();
    for kind in [io::ErrorKind::ConnectionAborted, io::ErrorKind::Interrupted, io::ErrorKind::Other] {
        house.door.send(Err(kind.into())).await.unwrap();
    }
    let mut guest = house.arrive().await;
    guest.say("? 1 echo 1").await;
    assert_eq!(guest.hear().await, "! 1 1");
    let paused = start.elapsed().as_millis();
    assert!((300..=310).contains(&paused), "three pauses of 100 ms, {paused} ms");
    assert_eq!(house.server.ledger().get(Count::AcceptsFailed), 3);
    house.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_whose_logins_fail_too_fast_is_not_let_in_for_a_while() {
    let mut setup = Setup::new();
    (setup.limits.max_failed_logins, setup.limits.max_failed_logins_per_minute) = (2, 6);
    let house = open_to(setup, Login::Ask, Some("192.0.2.7:1"));
    for words in ["login ann wrong", "login ann wrong", "login ann s3cret"] {
        let mut guest = house.arrive().await;
        // One that is not let in hears nothing.
        let _ = guest.0.write_all(format!("{words}\n").as_bytes()).await;
        assert_ne!(guest.hear().await, "welcome ann");
        settle().await;
    }
    assert_eq!(house.server.ledger().get(Count::AcceptsRefused), 1);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut ann = house.arrive().await;
    ann.say("login ann s3cret").await;
    assert_eq!(ann.hear().await, "welcome ann");
    house.close().await;
}

#[tokio::test(start_paused = true)]
async fn every_peer_reported_present_is_reported_gone_once() {
    let house = open(Setup::new(), Login::Ask);
    let (mut one, mut two, three) = (house.arrive().await, house.arrive().await, house.arrive().await);
    for guest in [&mut one, &mut two] {
        guest.say("login ann s3cret").await;
        guest.hear().await;
    }
    drop(three);
    drop(one);
    settle().await;
    assert_eq!(house.server.peers().len(), 1);
    let guests = Arc::clone(&house.guests);
    house.close().await;
    assert_eq!(guests.all(), ["+1", "+2", "-1 the peer closed the connection", "-2 shutting down"]);
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_reaches_who_is_logged_in_once_in_order() {
    let house = open(Setup::new(), Login::Ask);
    let (mut one, mut two, mut stranger) = (house.arrive().await, house.arrive().await, house.arrive().await);
    for guest in [&mut one, &mut two] {
        guest.say("login ann s3cret").await;
        guest.hear().await;
    }
    let audience = house.server.audience();
    for name in ["first", "second"] {
        let event = Event::new(Route::from_static(name), Body::Empty);
        assert_eq!(audience.broadcast(&event), 2);
    }
    for guest in [&mut one, &mut two] {
        assert_eq!((guest.hear().await, guest.hear().await), (". first".into(), ". second".into()));
    }
    stranger.say("login ann wrong").await;
    assert_eq!(stranger.hear().await, "refused not you");
    house.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_peer_loses_a_broadcast_when_its_queue_is_full_and_others_do_not() {
    let mut setup = Setup::new();
    setup.limits.max_queue_messages = 8;
    let house = open(setup, Login::None);
    let (slow, mut quick) = (house.arrive().await, house.arrive().await);
    let audience = house.server.audience();
    let event = Event::new(Route::from_static("e"), crate::toy::json(&format!("\"{}\"", "x".repeat(30_000))));
    let mut took = Vec::new();
    for _ in 0..20 {
        took.push(audience.broadcast(&event));
        quick.hear().await;
    }
    assert_eq!((took[0], took[19]), (2, 1), "{took:?}");
    drop(slow);
    house.close().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_takes_no_new_peer_lets_calls_end_and_gives_up_in_time() {
    let house = open(Setup::new(), Login::None);
    let (mut polite, mut stuck) = (house.arrive().await, house.arrive().await);
    polite.say("? 1 late 1").await;
    stuck.say("? 1 hang").await;
    settle().await;
    let (door, ledger) = (house.door.clone(), Arc::clone(house.server.ledger()));
    let start = Instant::now();
    let ending = tokio::spawn(house.server.shutdown());
    assert_eq!(polite.hear().await, "! 1 1");
    assert_eq!(
        (polite.hear().await, polite.hear().await),
        ("bye".into(), String::new()),
        "closed after its answer"
    );
    assert!(start.elapsed() < Duration::from_secs(1));
    let (near, _late) = tokio::io::duplex(64);
    // Whether or not the door still stands, nobody comes through it.
    let _ = door.send(Ok(near)).await;
    ending.await.unwrap();
    let took = start.elapsed().as_secs();
    assert!((30..=31).contains(&took), "{took} s");
    assert_eq!(ledger.get(Count::Connections), 2);
    check_books(&ledger);
}

#[tokio::test(start_paused = true)]
async fn c05_one_address_has_so_many_places_and_gets_them_back() {
    let mut setup = Setup::new();
    setup.limits.max_connections_per_address = 2;
    let house = open_to(setup, Login::None, Some("192.0.2.7:4000"));
    let (mut one, mut two, mut three) = (house.arrive().await, house.arrive().await, house.arrive().await);
    assert!(one.answered().await && two.answered().await);
    assert_eq!(three.hear().await, "", "it is closed, not kept waiting");
    assert_eq!(house.server.ledger().get(Count::AcceptsRefused), 1);
    drop(one);
    settle().await;
    assert!(house.arrive().await.answered().await && two.answered().await);
    house.close().await;
}

#[tokio::test(start_paused = true)]
async fn c05_connects_beyond_the_pace_wait_in_the_backlog() {
    let mut setup = Setup::new();
    (setup.limits.max_accepts_per_second, setup.limits.max_accept_burst) = (2, 3);
    let house = open_to(setup, Login::None, Some("192.0.2.7:4000"));
    let start = Instant::now();
    let mut guests = Vec::new();
    for _ in 0..9 {
        guests.push(house.arrive().await);
    }
    let mut moments = Vec::new();
    for guest in &mut guests {
        guest.say("? 1 echo 1").await;
        assert_eq!(guest.hear().await, "! 1 1");
        moments.push(start.elapsed().as_millis());
    }
    assert!(moments[2] < 100, "the burst is served at once: {moments:?}");
    assert!((2_900..=3_100).contains(&moments[8]), "then two a second: {moments:?}");
    assert!(guests[0].answered().await);
    assert!(house.server.ledger().get(Count::AcceptsPaused) >= 6);
    house.close().await;
}
