//! The supervisor: credentials, login, gap, queued traffic, in this order, at every connect.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_core::{
    Body, ByteStream, CallError, Client, ClientState, Close, Code, Count, CredentialSource, Credentials,
    Dial, DialError, Event, Ledger, Observe, Parts, Peer, Reconnect, Refusal, Request, Route, Secret,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::memory::{budget, fill, on};
use crate::toy::{Heard, Login, Setup, ToyCodec, ToySession, check_books, json, settle};

/// Dials pipes whose far ends go to the test; refuses to while the test is not listening.
struct Pipes(mpsc::Sender<DuplexStream>);

impl Dial for Pipes {
    type Session = ToySession;
    type Transport = ByteStream<DuplexStream>;

    async fn dial(&self, credentials: Credentials) -> Result<Parts<ToySession, Self::Transport>, DialError> {
        let (near, far) = tokio::io::duplex(1 << 16);
        if self.0.try_send(far).is_err() {
            let source = io::Error::from(io::ErrorKind::ConnectionRefused);
            return Err(DialError::Unreachable { address: self.address(), source });
        }
        let session = ToySession::new(Login::Offer(credentials));
        Ok(Parts { transport: ByteStream::new(near), codec: ToyCodec::new(1 << 20), session })
    }

    fn address(&self) -> String {
        "pipe".to_owned()
    }
}

/// Asked for credentials at these moments, as this attempt since the last success.
type Asked = Arc<Mutex<Vec<(Instant, u32)>>>;

struct Bench {
    client: Client,
    dialled: mpsc::Receiver<DuplexStream>,
    asked: Asked,
    heard: Heard,
    ledger: Arc<Ledger>,
}

fn bench(reconnect: Reconnect) -> Bench {
    bench_with(Setup::new(), reconnect, 16)
}

fn bench_with(mut setup: Setup, reconnect: Reconnect, places: usize) -> Bench {
    let (listen, dialled) = mpsc::channel(places);
    let asked = Asked::default();
    setup.endpoint.limits = Arc::new(setup.limits);
    setup.endpoint.reconnect = reconnect;
    let ledger = Arc::clone(&setup.endpoint.ledger);
    let client = Client::start(Pipes(listen), Arc::new(source(&asked)), setup.endpoint);
    Bench { client, dialled, asked, heard: setup.heard, ledger }
}

/// Gives `ann` a new secret each time: `s1`, `s2` and so on.
fn source(asked: &Asked) -> impl CredentialSource + use<> {
    let asked = Arc::clone(asked);
    move |attempt| {
        let asked = Arc::clone(&asked);
        async move {
            let mut asked = asked.lock().unwrap();
            asked.push((Instant::now(), attempt));
            Ok(Credentials::new("ann", Secret::from(format!("s{}", asked.len()))))
        }
    }
}

impl Bench {
    async fn accept(&mut self) -> Far {
        Far(BufReader::new(self.dialled.recv().await.expect("the client dials")))
    }

    fn attempts(&self) -> Vec<u32> {
        self.asked.lock().unwrap().iter().map(|(_, attempt)| *attempt).collect()
    }

    async fn end(self) {
        self.client.shutdown().await;
        check_books(&self.ledger);
    }
}

/// The far end of one dialled pipe.
struct Far(BufReader<DuplexStream>);

impl Far {
    async fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end_matches('\n').to_owned()
    }

    async fn say(&mut self, line: &str) {
        self.0.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn welcome(&mut self) -> String {
        let login = self.hear().await;
        self.say("welcome ann").await;
        settle().await;
        login
    }
}

fn ask(client: &Client, name: &'static str, timeout: u64) -> tokio::task::JoinHandle<polywire_core::Outcome> {
    let caller = client.caller().clone();
    let request = Request::new(Route::from_static(name), Body::Empty).timeout(Duration::from_secs(timeout));
    tokio::spawn(async move { caller.call(request).await })
}

#[tokio::test(start_paused = true)]
async fn credentials_are_asked_for_anew_at_every_connect() {
    let mut bench = bench(Reconnect::default());
    for number in 1..=5 {
        let mut far = bench.accept().await;
        assert_eq!(far.welcome().await, format!("login ann s{number}"));
        assert_eq!(bench.client.state(), ClientState::Ready);
    }
    assert_eq!(bench.attempts(), [1; 5], "each of them came after a success");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn attempts_are_numbered_since_the_last_success() {
    let mut bench = bench(Reconnect::default());
    drop(bench.accept().await);
    drop(bench.accept().await);
    bench.accept().await.welcome().await;
    bench.accept().await;
    assert_eq!(bench.attempts(), [1, 2, 3, 1]);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn pauses_are_random_parts_of_a_doubling_bound() {
    let pauses = |seed| async move {
        let mut setup = Setup::new();
        setup.endpoint.surroundings = polywire_core::Surroundings::seeded(seed);
        let reconnect = Reconnect { max_pause: Duration::from_secs(4), ..Reconnect::default() };
        let bench = bench_with(setup, reconnect, 1);
        // One dial gets through and is left alone for `dial_timeout`: nobody logs it in, so it fails; the others fail at once.
        tokio::time::sleep(Duration::from_secs(120)).await;
        let moments: Vec<_> = bench.asked.lock().unwrap().iter().map(|(at, _)| *at).collect();
        bench.end().await;
        moments.windows(2).skip(1).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
    };
    let first = pauses(1).await;
    let bounds = [500, 1_000, 2_000, 4_000].into_iter().chain(std::iter::repeat(4_000));
    for (pause, bound) in first.iter().zip(bounds) {
        // Timers of the runtime are rounded up to whole milliseconds.
        assert!(*pause <= Duration::from_millis(bound + 2), "{pause:?} of at most {bound} ms");
    }
    let late = &first[4..];
    let mean = late.iter().sum::<Duration>() / u32::try_from(late.len()).unwrap();
    assert!(late.len() > 20 && mean > Duration::from_secs(1) && mean < Duration::from_secs(3), "{mean:?}");
    assert_eq!(pauses(1).await, first, "one seed, one trace");
    assert_ne!(pauses(2).await, first);
}

#[tokio::test(start_paused = true)]
async fn three_refusals_in_a_row_end_the_client_and_every_call_that_waited() {
    let mut bench = bench(Reconnect::default());
    let waiting = ask(&bench.client, "a", 3_600);
    for number in 1..=3 {
        let mut far = bench.accept().await;
        far.hear().await;
        far.say("refused go away").await;
        settle().await;
        let refusal = Refusal::new("go away");
        let stands = if number < 3 { ClientState::Denied(refusal) } else { ClientState::Refused(refusal) };
        assert_eq!(bench.client.state(), stands, "after {number}");
    }
    let error = bench.client.ready().await.unwrap_err();
    assert_eq!(error.to_string(), "unauthenticated: login refused: go away");
    let error = waiting.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, CallError::NotSent(failure) if failure.code == Code::Unauthenticated),
        "{error}"
    );
    assert!(matches!(bench.client.state(), ClientState::Refused(_)));
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bench.attempts().len(), 3, "not hammered");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_dismissed_does_not_dial_again_and_says_why() {
    let mut bench = bench(Reconnect::default());
    let mut far = bench.accept().await;
    far.hear().await;
    far.say("welcome ann").await;
    bench.client.ready().await.unwrap();
    let waiting = ask(&bench.client, "a", 3_600);
    far.hear().await;
    far.say("dismissed enough for today").await;
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Unknown(_)), "it was sent: {error}");
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bench.attempts().len(), 1);
    assert_eq!(bench.client.state(), ClientState::Closed("dismissed by the peer: enough for today".into()));
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_success_between_two_refusals_starts_the_count_anew() {
    let mut bench = bench(Reconnect::default());
    for answer in ["refused 1", "refused 2", "welcome ann", "refused 3", "refused 4", "welcome ann"] {
        let mut far = bench.accept().await;
        far.hear().await;
        far.say(answer).await;
        settle().await;
    }
    bench.client.ready().await.unwrap();
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn with_refused_pause_the_client_tries_on_slowly() {
    let pause = Duration::from_secs(60);
    let mut bench = bench(Reconnect { refused_pause: Some(pause), ..Reconnect::default() });
    for _ in 0..5 {
        let mut far = bench.accept().await;
        far.hear().await;
        far.say("refused not yet").await;
        settle().await;
    }
    assert_eq!(bench.client.state(), ClientState::Refused(Refusal::new("not yet")));
    let moments: Vec<_> = bench.asked.lock().unwrap().iter().map(|(at, _)| *at).collect();
    assert!(moments[1] - moments[0] < Duration::from_secs(1));
    assert_eq!((moments[3] - moments[2]).as_secs(), 60);
    assert_eq!((moments[4] - moments[3]).as_secs(), 60);
    bench.accept().await.welcome().await;
    bench.client.ready().await.unwrap();
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn queued_traffic_survives_and_leaves_in_order_only_after_the_login() {
    let mut bench = bench(Reconnect::default());
    drop(bench.accept().await);
    let first = ask(&bench.client, "a", 60);
    settle().await;
    for name in ["b", "c"] {
        bench.client.caller().notify(Event::new(Route::from_static(name), json("1"))).await.unwrap();
    }
    let second = ask(&bench.client, "d", 60);
    let mut far = bench.accept().await;
    assert_eq!(far.hear().await, "login ann s2");
    // Lost before the login: nothing of it had left, so nothing is lost.
    drop(far);
    let mut far = bench.accept().await;
    assert_eq!(far.welcome().await, "login ann s3");
    for expected in ["? 1 a", ". b 1", ". c 1", "? 2 d"] {
        assert_eq!(far.hear().await, expected);
    }
    far.say("! 2").await;
    far.say("! 1").await;
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_written_is_never_written_again() {
    let mut bench = bench(Reconnect::default());
    let mut far = bench.accept().await;
    far.welcome().await;
    let call = ask(&bench.client, "a", 60);
    assert_eq!(far.hear().await, "? 1 a");
    drop(far);
    assert!(matches!(call.await.unwrap(), Err(CallError::Unknown(_))));
    let mut far = bench.accept().await;
    far.welcome().await;
    let next = ask(&bench.client, "b", 60);
    assert_eq!(far.hear().await, "? 1 b");
    far.say("! 1").await;
    next.await.unwrap().unwrap();
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_reconnect_the_gap_comes_before_any_live_event() {
    let mut bench = bench(Reconnect::default());
    let mut far = bench.accept().await;
    far.hear().await;
    far.say("welcome ann\n. live 1").await;
    settle().await;
    assert_eq!(bench.heard.all(), [". live 1"], "no gap before the first connection");
    drop(far);
    settle().await;
    drop(bench.accept().await);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut far = bench.accept().await;
    far.hear().await;
    far.say("welcome ann\n. live 2").await;
    settle().await;
    let heard = bench.heard.all();
    assert_eq!((heard.len(), heard[2].as_str()), (3, ". live 2"));
    let gap = heard[1].strip_prefix(". polywire.gap ").unwrap();
    let (since, reason) = gap.split_once(',').unwrap();
    let since: u64 = since.strip_prefix("{\"since_ms\":").unwrap().parse().unwrap();
    assert!((5_000..7_000).contains(&since), "{since}");
    assert_eq!(reason, "\"reason\":\"the peer closed the connection\"}");
    bench.end().await;
}

/// A client that has lost its connection after two events were dropped at `max_in_flight`, of which nobody was told.
async fn with_two_dropped() -> Bench {
    let mut setup = Setup::new();
    setup.limits.max_in_flight = 1;
    let mut bench = bench_with(setup, Reconnect::default(), 16);
    let mut far = bench.accept().await;
    far.welcome().await;
    let call = ask(&bench.client, "a", 60);
    far.hear().await;
    far.say(". late 1\n. late 2\n. late 3").await;
    settle().await;
    drop(far);
    assert!(call.await.unwrap().is_err());
    bench
}

#[tokio::test(start_paused = true)]
async fn c13_events_that_were_dropped_before_a_reconnect_are_told_after_it_once() {
    let mut bench = with_two_dropped().await;
    let mut far = bench.accept().await;
    far.welcome().await;
    far.say(". live 4").await;
    settle().await;
    let heard = bench.heard.all();
    assert_eq!(heard.len(), 4, "{heard:?}");
    assert!(heard[1].starts_with(". polywire.gap {\"missed\":2,"), "{heard:?}");
    assert!(heard[2].starts_with(". polywire.gap {\"since_ms\":"), "{heard:?}");
    assert_eq!((heard[0].as_str(), heard[3].as_str()), (". late 1", ". live 4"));
    drop(far);
    let mut far = bench.accept().await;
    far.welcome().await;
    far.say(". live 5").await;
    settle().await;
    assert_eq!(bench.heard.all().len(), 6, "another gap of the reconnect and the event");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn c13_what_a_connection_told_that_ended_at_once_is_not_told_again() {
    let mut bench = with_two_dropped().await;
    let mut far = bench.accept().await;
    far.hear().await;
    far.say("welcome ann\n. live 4").await;
    drop(far);
    let mut far = bench.accept().await;
    far.welcome().await;
    far.say(". live 5").await;
    settle().await;
    let heard = bench.heard.all();
    let missed = heard.iter().filter(|event| event.contains("\"missed\"")).count();
    assert_eq!((heard.len(), missed), (6, 1), "{heard:?}");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_client_would_send_over_its_next_connection_is_not_counted_for_this_one() {
    let memory = budget();
    let mut bench = bench_with(on(&memory), Reconnect::default(), 16);
    let mut far = bench.accept().await;
    far.welcome().await;
    for _ in 0..20 {
        let event = Event::new(Route::from_static("e"), json(&format!("\"{}\"", "x".repeat(60 << 10))));
        bench.client.caller().notify(event).await.unwrap();
        settle().await;
    }
    assert!((1..4 * (64 << 10)).contains(&memory.held()), "{} bytes", memory.held());
    drop(far);
    bench.end().await;
    assert_eq!(memory.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn c20_the_gap_of_a_reconnect_is_told_whatever_memory_is_left() {
    let memory = budget();
    let keeper = on(&memory).start();
    let mut bench = bench_with(on(&memory), Reconnect::default(), 16);
    drop(bench.accept().await.welcome().await);
    fill(&keeper, &memory, 90).await;
    bench.accept().await.welcome().await;
    let heard = bench.heard.all();
    assert!(matches!(&heard[..], [gap] if gap.starts_with(". polywire.gap {\"since_ms\":")), "{heard:?}");
    assert_eq!(bench.ledger.get(Count::EventsShed), 0);
    keeper.hang_up().await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn deadlines_of_waiting_calls_are_kept_while_there_is_no_connection() {
    let mut bench = bench_with(Setup::new(), Reconnect::default(), 1);
    // The only place is taken by a pipe that nobody serves; every further dial fails.
    let start = Instant::now();
    let call = ask(&bench.client, "a", 40).await.unwrap();
    assert_eq!(
        call.unwrap_err().to_string(),
        "not sent: deadline_exceeded: the call waited for a connection until the deadline \
         (call_timeout = 15s, unless the call was given a time of its own); nothing was sent, so it can be sent again"
    );
    let late = start.elapsed() - Duration::from_secs(40);
    assert!(late <= Duration::from_millis(250), "{late:?}");
    let gone = ask(&bench.client, "b", 3_600);
    settle().await;
    gone.abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((bench.ledger.get(Count::CallsNotSent), bench.ledger.get(Count::CallsCancelled)), (1, 1));
    drop(bench.dialled.try_recv());
    bench.accept().await.welcome().await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_the_client_in_every_state() {
    // Connected with a call in flight that is answered during the drain.
    let mut up = bench(Reconnect::default());
    let mut far = up.accept().await;
    far.welcome().await;
    let call = ask(&up.client, "a", 60);
    far.hear().await;
    let ending = tokio::spawn(up.client.shutdown());
    settle().await;
    far.say("! 1").await;
    call.await.unwrap().unwrap();
    ending.await.unwrap();
    check_books(&up.ledger);
    // Between two attempts, and with nobody answering the login.
    for wait in [0, 1, 20] {
        let start = Instant::now();
        let down = bench_with(Setup::new(), Reconnect::default(), 1);
        let call = ask(&down.client, "a", 3_600);
        tokio::time::sleep(Duration::from_secs(wait)).await;
        let asked = Arc::clone(&down.asked);
        let Bench { client, dialled: _dialled, ledger, .. } = down;
        client.shutdown().await;
        assert!(matches!(call.await.unwrap(), Err(CallError::NotSent(_))));
        check_books(&ledger);
        assert!(start.elapsed() <= Duration::from_secs(wait + 31));
        let attempts = asked.lock().unwrap().len();
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(asked.lock().unwrap().len(), attempts);
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_client_stops_it_at_once() {
    let mut bench = bench(Reconnect::default());
    let mut far = bench.accept().await;
    far.welcome().await;
    let call = ask(&bench.client, "a", 60);
    far.hear().await;
    let caller = bench.client.caller().clone();
    drop(bench.client);
    assert!(matches!(call.await.unwrap(), Err(CallError::Unknown(_))));
    settle().await;
    let after = caller.call(Request::new(Route::from_static("b"), Body::Empty)).await;
    assert!(matches!(after, Err(CallError::NotSent(_))));
    check_books(&bench.ledger);
}

#[tokio::test(start_paused = true)]
async fn without_reconnecting_the_first_loss_is_the_end() {
    let mut bench = bench(Reconnect::never());
    bench.accept().await.welcome().await;
    settle().await;
    assert_eq!(bench.client.state(), ClientState::Closed("the peer closed the connection".into()));
    assert_eq!(bench.attempts(), [1]);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn progress_of_a_handler_whose_connection_is_gone_reaches_no_other_request() {
    let service = crate::toy::Serve(|incoming: polywire_core::Incoming| async move {
        let kept = incoming.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            kept.progress(kept.body.clone());
        });
        std::future::pending().await
    });
    let mut bench = bench_with(Setup::new().handler(service), Reconnect::default(), 16);
    let mut far = bench.accept().await;
    far.welcome().await;
    // An event before it, as the gap will come before the other: both are the second run on their connection.
    far.say(". work\n? 7 work \"old\"").await;
    settle().await;
    drop(far);
    let mut far = bench.accept().await;
    far.welcome().await;
    far.say("? 8 work \"new\"").await;
    assert_eq!(far.hear().await, "~ 8 \"new\"");
    bench.client.shutdown().await;
    check_books(&bench.ledger);
}

#[tokio::test(start_paused = true)]
async fn progress_that_was_queued_when_the_connection_died_keeps_no_place_in_the_queue() {
    let service = crate::toy::Serve(|incoming: polywire_core::Incoming| async move {
        for _ in 0..100 {
            incoming.progress(Body::Empty);
        }
        std::future::pending().await
    });
    let mut setup = Setup::new().handler(service);
    setup.limits.max_queue_messages = 4;
    let mut bench = bench_with(setup, Reconnect::default(), 16);
    let mut far = bench.accept().await;
    far.welcome().await;
    // So much is unwritten that nothing further is encoded.
    let large = json(&format!("\"{}\"", "x".repeat(200_000)));
    bench.client.caller().notify(Event::new(Route::from_static("large"), large)).await.unwrap();
    settle().await;
    far.say("? 1 work").await;
    settle().await;
    drop(far);
    let mut far = bench.accept().await;
    far.welcome().await;
    let call = ask(&bench.client, "a", 60);
    assert_eq!(far.hear().await, "? 1 a");
    far.say("! 1").await;
    call.await.unwrap().unwrap();
    bench.end().await;
}

/// Keeps the peer that was there last.
#[derive(Default)]
struct Last(Mutex<Option<Peer>>);

impl Observe for Last {
    fn connected(&self, peer: &Peer) {
        *self.0.lock().unwrap() = Some(peer.clone());
    }

    fn disconnected(&self, _: &Peer, _: &Close) {}
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_asked_for_while_a_connection_is_being_closed_ends_the_client() {
    let last = Arc::new(Last::default());
    let mut setup = Setup::new();
    setup.endpoint.observer = Some(Arc::clone(&last) as _);
    let mut bench = bench_with(setup, Reconnect::default(), 16);
    let mut far = bench.accept().await;
    far.welcome().await;
    // More than the pipe takes, so that its close waits for a peer that does not read.
    let large = json(&format!("\"{}\"", "x".repeat(100_000)));
    bench.client.caller().notify(Event::new(Route::from_static("large"), large)).await.unwrap();
    settle().await;
    far.say("mode strange").await;
    settle().await;
    let peer = last.0.lock().unwrap().take().unwrap();
    peer.close();
    let error = bench.client.caller().call(Request::new(Route::from_static("a"), Body::Empty)).await;
    assert!(matches!(error.unwrap_err(), CallError::NotSent(_)));
    assert_eq!(bench.client.state(), ClientState::Closed("closed by this side".to_owned()));
    assert!(bench.dialled.try_recv().is_err(), "it did not dial again");
    drop(far);
    bench.end().await;
}
