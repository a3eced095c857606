//! What all connections keep together: each step against it does what it says, and ends.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{Close, Code, Count, Event, Memory, MemoryStep, Response, Route};
use tokio::io::AsyncWriteExt;

use crate::server::{House, open};
use crate::toy::{Login, Rig, Serve, Setup, json, settle};

const UNIT: usize = 64 << 10;
/// A percent of it is one unit.
const MAX: usize = 100 * UNIT;

pub(crate) fn budget() -> Arc<Memory> {
    Arc::new(Memory::new(MAX))
}

/// A connection on this budget whose writes may wait for minutes.
pub(crate) fn on(memory: &Arc<Memory>) -> Setup {
    let mut setup = Setup::new();
    setup.endpoint.surroundings.memory = Arc::clone(memory);
    setup.limits.write_timeout = Duration::from_secs(300);
    setup.limits.max_queue_bytes = 1 << 30;
    setup.pipe = 4_096;
    setup
}

fn event() -> Event {
    Event::new(Route::from_static("e"), json(&format!("\"{}\"", "x".repeat(UNIT - 2))))
}

/// Sends events to a peer that does not read until so many percent of the budget are kept.
pub(crate) async fn fill(rig: &Rig, memory: &Memory, percent: usize) {
    while memory.held() < percent * UNIT {
        rig.caller().notify(event()).await.unwrap();
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn c20_from_70_percent_on_events_for_slow_peers_are_dropped_and_for_others_not() {
    let memory = budget();
    let (keeper, slow, mut fast) = (on(&memory).start(), on(&memory).start(), on(&memory).start());
    for _ in 0..4 {
        assert_eq!(slow.caller().try_notify(event()), Ok(()), "there is room");
        settle().await;
    }
    fill(&keeper, &memory, 70).await;
    assert_eq!(memory.step(), MemoryStep::DropEvents);
    let refused = slow.caller().try_notify(event()).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.to_string().contains("max_memory_bytes = 6553600"), "{refused}");
    assert_eq!((slow.count(Count::EventsWithheld), slow.count(Count::EventsShed)), (1, 0));
    fast.notify("e", "1").await;
    assert_eq!(fast.hear().await, ". e 1");
    fast.caller().try_notify(Event::new(Route::from_static("e"), json("2"))).unwrap();
    assert_eq!(fast.hear().await, ". e 2");
    keeper.hang_up().await;
    assert_eq!(memory.step(), MemoryStep::None);
    assert_eq!(slow.caller().try_notify(event()), Ok(()));
    slow.hang_up().await;
    fast.hang_up().await;
    assert_eq!(memory.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn c20_from_80_percent_on_connections_are_turned_away() {
    let memory = budget();
    let house: House = open(on(&memory), Login::None);
    let mut early = house.arrive().await;
    assert!(early.answered().await);
    let keeper = on(&memory).start();
    fill(&keeper, &memory, 80).await;
    let mut late = house.arrive().await;
    assert_eq!(late.hear().await, "", "it is closed");
    assert!(early.answered().await, "who is in is served");
    let ledger = Arc::clone(house.server.ledger());
    assert_eq!((ledger.get(Count::AcceptsShed), ledger.get(Count::AcceptsRefused)), (1, 0));
    keeper.hang_up().await;
    assert!(house.arrive().await.answered().await);
    house.close().await;
}

#[tokio::test(start_paused = true)]
async fn c20_from_90_percent_on_requests_of_who_keeps_some_of_it_are_refused_by_name() {
    let memory = budget();
    let (keeper, mut rig) = (on(&memory).start(), on(&memory).start());
    fill(&rig, &memory, 1).await;
    fill(&keeper, &memory, 90).await;
    rig.say("? 1 echo 1").await;
    let held = memory.held();
    while rig.count(Count::RequestsShed) == 0 {
        settle().await;
    }
    rig.say(". moved 1").await;
    settle().await;
    for _ in 0..2 {
        assert!(rig.hear().await.starts_with(". e \"x"));
    }
    let why = format!("{held} bytes that all connections keep are too near to max_memory_bytes = {MAX}");
    assert_eq!(rig.hear().await, format!("x 1 resource_exhausted {why}"));
    assert_eq!((rig.count(Count::RequestsShed), rig.count(Count::EventsShed)), (1, 1));
    assert_eq!((rig.count(Count::RequestsRefused), rig.heard.all().len()), (0, 0));
    let call = rig.call("a", "1");
    assert_eq!(rig.hear().await, "? 1 a 1", "this side still asks");
    rig.say("! 1 2").await;
    assert_eq!(call.await.unwrap().unwrap().body, json("2"));
    keeper.hang_up().await;
    rig.say("? 2 echo 2").await;
    assert_eq!(rig.hear().await, "! 2 2");
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c20_from_90_percent_on_who_keeps_nothing_is_served_until_the_largest_has_to_go() {
    let memory = budget();
    let (keeper, mut honest) = (on(&memory).start(), on(&memory).start());
    fill(&keeper, &memory, 90).await;
    honest.say(". moved 1").await;
    honest.say("? 1 echo 1").await;
    assert_eq!(honest.hear().await, "! 1 1");
    assert_eq!(honest.heard.all(), [". moved 1", "? echo 1"]);
    assert_eq!((honest.count(Count::RequestsShed), honest.count(Count::EventsShed)), (0, 0));
    // Each asks for one answer that it does not read, and is refused the next.
    let mut lazy = Vec::new();
    while !keeper.task.is_finished() && lazy.len() < 10 {
        let large = |_| async { Ok(Response::from(json(&format!("\"{}\"", "x".repeat(2 * UNIT))))) };
        let mut rig = on(&memory).handler(Serve(large)).start();
        rig.say("? 1 large").await;
        settle().await;
        rig.say("? 2 large").await;
        settle().await;
        lazy.push(rig);
    }
    assert!(matches!(keeper.ended().await.reason, Close::Memory(_)));
    assert_eq!(lazy[0].count(Count::RequestsShed), 1);
    for rig in lazy.into_iter().chain([honest]) {
        rig.hang_up().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_ended_keeps_nothing_though_it_was_not_dropped() {
    let memory = budget();
    let (near, far) = tokio::io::duplex(4_096);
    let (mut connection, link, _) = on(&memory).connect(near);
    for _ in 0..2 {
        link.caller().notify(event()).await.unwrap();
    }
    tokio::time::timeout(Duration::from_millis(1), &mut connection).await.unwrap_err();
    assert!(memory.held() > 0);
    drop(far);
    assert_eq!((&mut connection).await.reason, Close::Peer);
    assert_eq!(memory.held(), 0);
    drop(connection);
}

#[tokio::test(start_paused = true)]
async fn c20_at_95_percent_the_connection_that_keeps_most_is_closed_and_says_why() {
    let memory = budget();
    let (large, small, mut idle) = (on(&memory).start(), on(&memory).start(), on(&memory).start());
    fill(&large, &memory, 60).await;
    fill(&small, &memory, 94).await;
    assert_eq!(memory.step(), MemoryStep::RefuseRequests);
    small.caller().notify(event()).await.unwrap();
    let (ledger, start) = (Arc::clone(&large.ledger), tokio::time::Instant::now());
    let Close::Memory(why) = large.ended().await.reason else { panic!("another reason") };
    assert!(why.contains("max_memory_bytes = 6553600, and this one keeps most, "), "{why}");
    assert!(start.elapsed() < Duration::from_millis(10), "it waits for no write");
    assert_eq!(ledger.get(Count::ConnectionsShed), 1);
    assert_eq!((memory.step(), small.task.is_finished()), (MemoryStep::None, false));
    idle.say("? 1 echo 1").await;
    assert_eq!(idle.hear().await, "! 1 1");
    small.hang_up().await;
    idle.hang_up().await;
    assert_eq!(memory.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn c20_a_connection_that_waits_for_its_last_writes_gives_way_too() {
    let memory = budget();
    let (closing, other) = (on(&memory).start(), on(&memory).start());
    fill(&closing, &memory, 60).await;
    closing.link.peer().close();
    settle().await;
    assert!(!closing.task.is_finished(), "it writes what waits");
    fill(&other, &memory, 94).await;
    assert!(!closing.task.is_finished());
    other.caller().notify(event()).await.unwrap();
    assert!(matches!(closing.ended().await.reason, Close::Memory(_)));
    other.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn bodies_in_hand_and_frames_that_are_not_whole_count_until_they_are_gone() {
    let memory = budget();
    let mut setup = on(&memory);
    setup.pipe = 1 << 20;
    let mut rig = setup.start();
    rig.write(&[b"? 1 late \"".to_vec(), vec![b'x'; 500 << 10]].concat()).await;
    settle().await;
    assert!((500 << 10..2 << 20).contains(&memory.held()), "{}", memory.held());
    rig.write(b"\"\n").await;
    settle().await;
    assert!((500 << 10..2 << 20).contains(&memory.held()), "{}", memory.held());
    rig.hear().await;
    settle().await;
    assert_eq!(memory.held(), 0);
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn traffic_of_small_messages_never_touches_what_connections_share() {
    let memory = budget();
    let mut setup = on(&memory);
    setup.pipe = 1 << 20;
    let mut rig = setup.start();
    let body = format!("\"{}\"", "x".repeat(100));
    for round in 0..20 {
        let name = ["echo", "late"][round % 2];
        for id in 0..200 {
            rig.far.write_all(format!("? {id} {name} {body}\n. e {body}\n").as_bytes()).await.unwrap();
        }
        let calls: Vec<_> = (0..100).map(|_| rig.call("a", &body)).collect();
        let mut asked = 0;
        for _ in 0..300 {
            let line = rig.hear().await;
            if let Some(rest) = line.strip_prefix("? ") {
                let id = rest.split(' ').next().unwrap().to_owned();
                rig.say(&format!("! {id} {body}")).await;
                asked += 1;
            }
        }
        assert_eq!(asked, 100);
        for call in calls {
            call.await.unwrap().unwrap();
        }
    }
    assert_eq!(rig.count(Count::RequestsAnswered), 4_000);
    assert_eq!(memory.peak(), 0, "nobody ever had to say anything");
    rig.hang_up().await;
}
