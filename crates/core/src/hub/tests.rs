use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Waker;
use std::time::Duration;

use super::*;
use crate::body::Body;
use crate::caller::{Call, Caller};
use crate::credentials::BoxFuture;
use crate::envelope::Request;
use crate::failure::{CallError, Outcome};
use crate::ledger::{Count, Ledger};
use crate::limits::Limits;
use crate::memory::{Charge, Memory, UNIT};
use crate::moment::{Moment, Surroundings};
use crate::queue::{Job, Numbered, Outlet, Queue};
use crate::session::Close;

/// A peer whose connection is this test: it takes events out of the queue when it wants to.
struct Remote {
    peer: Peer,
    queue: Arc<Queue<()>>,
    ledger: Arc<Ledger>,
    jobs: VecDeque<Numbered<()>>,
}

impl Remote {
    /// A remote whose connection has room for `room` events.
    fn new(id: u64, room: usize) -> Self {
        Self::sharing(id, room, &Arc::default())
    }

    fn sharing(id: u64, room: usize, memory: &Arc<Memory>) -> Self {
        let queue = Arc::new(Queue::new(&Limits { max_queue_messages: room, ..Limits::default() }));
        let surroundings = Surroundings { memory: Arc::clone(memory), ..Surroundings::seeded(id) };
        let outlet: Arc<dyn Outlet> = Arc::clone(&queue) as _;
        let ledger = Arc::<Ledger>::default();
        let caller = Caller::over_queue(outlet, surroundings, Arc::clone(&ledger), Duration::from_secs(1));
        Self { peer: Peer::new(id, "test", None, Some(caller)), queue, ledger, jobs: VecDeque::new() }
    }

    /// The next event; waits for it.
    async fn next(&mut self) -> Event {
        while self.jobs.is_empty() {
            poll_fn(|cx| self.queue.poll_take(&mut self.jobs, cx.waker()).map(drop)).await;
        }
        let Numbered { job, .. } = self.jobs.pop_front().unwrap();
        self.queue.release(1, job.bytes());
        let Job::Event(event) = job else { panic!("only events are sent") };
        event
    }

    async fn read(&mut self, events: usize) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..events {
            texts.push(text(&self.next().await));
        }
        texts
    }

    /// How many events lie in the queue of the connection.
    fn waiting(&mut self) -> usize {
        let _ = self.queue.poll_take(&mut self.jobs, Waker::noop());
        self.jobs.len()
    }
}

/// The number of an event, or what a gap event says.
fn text(event: &Event) -> String {
    let Body::Json(text) = &event.body else { panic!("every event here has JSON") };
    match &*event.route {
        "n" | "m" => text.as_str().to_owned(),
        route => format!("{route} {}", text.as_str()),
    }
}

fn number(n: usize) -> Event {
    Event::new(Route::from_static("n"), Body::json(&n).unwrap())
}

fn missed(n: usize) -> String {
    format!("polywire.gap {{\"missed\":{n},\"reason\":\"slow subscriber\"}}")
}

fn hub(max_subscriber_messages: usize, slow: Slow) -> Hub {
    Hub::new(HubConfig { max_subscriber_messages, slow, ..HubConfig::default() }).unwrap()
}

fn tasks() -> usize {
    Runtime::current().metrics().num_alive_tasks()
}

#[tokio::test]
async fn b11_a_thousand_members_share_one_body_and_a_stalled_one_costs_the_others_nothing() {
    let hub = Hub::default();
    let mut remotes: Vec<_> = (0..1_000).map(|id| Remote::new(id, if id == 500 { 1 } else { 64 })).collect();
    for remote in &remotes {
        hub.join("all", &remote.peer).unwrap();
    }
    let event = Event::new(Route::from_static("n"), Body::json(&"x".repeat(10_000)).unwrap());
    let Body::Json(body) = &event.body else { panic!("it is JSON") };
    for _ in 0..50 {
        assert_eq!(hub.publish("all", &event), 1_000);
    }
    assert_eq!(tasks(), 1, "only the stalled member has a task");
    for remote in &mut remotes {
        let stalled = remote.peer.id() == 500;
        assert_eq!(remote.waiting(), if stalled { 1 } else { 50 });
        assert_eq!(hub.counts(&remote.peer).unwrap().waiting, if stalled { 49 } else { 0 });
        let Job::Event(Event { body: Body::Json(got), .. }) = &remote.jobs[0].job else {
            panic!("it is an event")
        };
        assert_eq!(got.as_bytes().as_ptr(), body.as_bytes().as_ptr(), "the bytes are shared");
    }
}

#[tokio::test]
async fn drop_oldest_keeps_the_newest_and_tells_of_the_gap_in_front_of_them() {
    let hub = hub(3, Slow::DropOldest);
    let mut remote = Remote::new(1, 2);
    hub.join("g", &remote.peer).unwrap();
    for n in 0..10 {
        hub.publish("g", &number(n));
    }
    let counts = hub.counts(&remote.peer).unwrap();
    assert_eq!((counts.sent, counts.waiting, counts.dropped), (2, 3, 5));
    assert_eq!(remote.read(6).await, ["0", "1", &missed(5), "7", "8", "9"]);
    hub.publish("g", &number(10));
    assert_eq!(remote.read(1).await, ["10"]);
    let counts = hub.counts(&remote.peer).unwrap();
    let want = HubCounts { sent: 6, waiting: 0, superseded: 0, dropped: 5, gaps: 1 };
    assert_eq!((counts, tasks()), (want, 0), "the task ends with the slowness");
}

#[tokio::test]
async fn drop_newest_keeps_the_oldest_and_tells_of_the_gap_behind_them() {
    let hub = hub(3, Slow::DropNewest);
    let mut remote = Remote::new(1, 2);
    hub.join("g", &remote.peer).unwrap();
    for n in 0..10 {
        hub.publish("g", &number(n));
    }
    assert_eq!(remote.read(5).await, ["0", "1", "2", "3", "4"]);
    hub.publish("g", &number(10));
    assert_eq!(remote.read(2).await, [missed(5), "10".to_owned()]);
    assert_eq!(hub.counts(&remote.peer).unwrap().dropped, 5);
}

#[tokio::test]
async fn latest_per_key_replaces_in_place_and_is_no_gap() {
    let hub = hub(3, Slow::LatestPerKey);
    let mut remote = Remote::new(1, 1);
    hub.join("g", &remote.peer).unwrap();
    hub.publish("g", &number(0));
    hub.publish_keyed("g", "a", &number(1));
    hub.publish_keyed("g", "b", &number(2));
    let other = Event::new(Route::from_static("m"), Body::json(&3).unwrap());
    hub.publish_keyed("g", "a", &other);
    hub.publish_keyed("g", "a", &number(4));
    hub.publish_keyed("g", "b", &number(5));
    assert_eq!(hub.counts(&remote.peer).unwrap().superseded, 2);
    assert_eq!(remote.read(4).await, ["0", "4", "5", "3"]);
    for n in 0..6 {
        hub.publish_keyed("g", n.to_string(), &number(n));
    }
    assert_eq!(
        remote.read(5).await,
        ["0", &missed(2), "3", "4", "5"],
        "without older ones the oldest gives way"
    );
}

#[tokio::test]
async fn disconnect_closes_a_slow_member_and_says_which_limit() {
    let hub = hub(2, Slow::Disconnect);
    let remote = Remote::new(1, 1);
    hub.join("g", &remote.peer).unwrap();
    for n in 0..3 {
        assert_eq!(hub.publish("g", &number(n)), 1);
    }
    assert_eq!(hub.publish("g", &number(3)), 0);
    let why = "3 waiting events exceed max_subscriber_messages = 2";
    assert_eq!(remote.queue.take_close(), Some(Close::Limit(why.to_owned())));
    assert_eq!((hub.members("g"), hub.counts(&remote.peer)), (0, None));
    assert_eq!(hub.total(), HubCounts { sent: 1, dropped: 3, ..HubCounts::default() });
}

#[tokio::test]
async fn bytes_are_bounded_too() {
    let config = HubConfig { max_subscriber_bytes: 100, ..HubConfig::default() };
    let hub = Hub::new(config).unwrap();
    let mut remote = Remote::new(1, 2);
    hub.join("g", &remote.peer).unwrap();
    let sized =
        |bytes: usize| Event::new(Route::from_static("n"), Body::json(&"x".repeat(bytes - 3)).unwrap());
    hub.publish("g", &number(0));
    hub.publish("g", &number(0));
    hub.publish("g", &sized(60));
    hub.publish("g", &sized(41));
    let counts = hub.counts(&remote.peer).unwrap();
    assert_eq!((counts.waiting, counts.dropped), (1, 1), "60 + 41 > 100");
    hub.publish("g", &sized(101));
    let counts = hub.counts(&remote.peer).unwrap();
    assert_eq!((counts.waiting, counts.dropped), (1, 2), "what can never wait pushes nothing out");
    assert_eq!(remote.read(3).await[2], missed(1));
    assert_eq!(remote.read(1).await[0].len(), 40);
    hub.publish("g", &sized(101));
    assert_eq!(remote.read(1).await, [missed(1)], "a member that is not slow gets any size");
    assert_eq!(remote.read(1).await[0].len(), 100);
}

#[tokio::test]
async fn b12_every_event_is_sent_waiting_superseded_or_dropped() {
    for slow in [Slow::DropOldest, Slow::DropNewest, Slow::LatestPerKey, Slow::Disconnect] {
        let hub = hub(4, slow);
        let mut remote = Remote::new(1, 3);
        hub.join("g", &remote.peer).unwrap();
        let (mut published, mut got, mut gaps) = (0, Vec::new(), 0);
        for round in 0..200 {
            for _ in 0..2 + round % 3 {
                published += hub.publish_keyed("g", (published % 7).to_string(), &number(published));
            }
            if hub.counts(&remote.peer).is_some_and(|counts| counts.waiting > 0) || remote.waiting() > 0 {
                match text(&remote.next().await).parse::<usize>() {
                    Ok(number) => got.push(number),
                    Err(_) => gaps += 1,
                }
            }
            let counts = hub.total();
            let sum = counts.sent + counts.waiting + counts.superseded + counts.dropped;
            let offered = published as u64 + u64::from(slow == Slow::Disconnect && hub.members("g") == 0);
            assert_eq!(sum, offered, "{slow:?} {counts:?}");
            assert!(counts.waiting <= 4);
        }
        assert_eq!(gaps > 0, slow != Slow::Disconnect, "{slow:?}");
        let keyed = slow == Slow::LatestPerKey;
        assert!(keyed || got.is_sorted(), "{slow:?} never reorders: {got:?}");
    }
}

#[tokio::test]
async fn a_membership_ends_by_leaving_with_the_connection_and_with_the_hub() {
    let hub = hub(8, Slow::DropOldest);
    let remotes: Vec<_> = (0..4).map(|id| Remote::new(id, 1)).collect();
    for remote in &remotes {
        hub.join("g", &remote.peer).unwrap();
        hub.join("h", &remote.peer).unwrap();
        hub.join("h", &remote.peer).unwrap();
    }
    for n in 0..3 {
        assert_eq!(hub.publish("g", &number(n)), 4);
    }
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 4);

    hub.leave("g", &remotes[0].peer);
    assert_eq!((hub.members("g"), hub.members("h")), (3, 4));
    assert_eq!(hub.counts(&remotes[0].peer).unwrap().waiting, 2, "it is still a member of the other group");
    hub.leave("h", &remotes[0].peer);
    hub.leave_all(&remotes[1].peer);
    hub.leave("nothing", &remotes[1].peer);
    remotes[2].queue.end(Code::Unavailable, "gone");
    assert_eq!(hub.publish("h", &number(9)), 1, "the member that is left");
    assert_eq!((hub.members("g"), hub.members("h")), (1, 1));
    assert_eq!(hub.total().sent, 4);
    assert_eq!(hub.total().dropped, 7, "two waited for each of three, and one found the connection ended");

    let refused = hub.join("g", &remotes[2].peer).unwrap_err();
    assert_eq!(refused.code, Code::Unavailable);
    drop(hub);
    while tasks() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn members_of_a_silent_group_do_not_pile_up_after_their_connections() {
    let hub = Hub::default();
    for id in 0..5_000 {
        let remote = Remote::new(id, 1);
        hub.join("silent", &remote.peer).unwrap();
        remote.queue.end(Code::Unavailable, "gone");
        assert!(hub.members("silent") <= SWEEP_FROM);
    }
}

#[tokio::test]
async fn what_cannot_join_is_refused_in_words() {
    let config = HubConfig { max_groups_per_subscriber: 2, ..HubConfig::default() };
    let hub = Hub::new(config).unwrap();
    let remote = Remote::new(1, 1);
    for group in ["a", "b", "a"] {
        assert_eq!(hub.join(group, &remote.peer), Ok(()));
    }
    let refused = hub.join("c", &remote.peer).unwrap_err();
    assert_eq!(refused.code, Code::ResourceExhausted);
    assert_eq!(refused.message, "membership in 3 groups exceeds max_groups_per_subscriber = 2");
    let refused = hub.join("x".repeat(256), &remote.peer).unwrap_err();
    assert_eq!(refused.message, "group name of 256 bytes exceeds the 255 bytes a name may have");
    assert_eq!(hub.join("a", &Peer::in_memory()).unwrap_err().code, Code::Unimplemented);
    let wrong = Hub::new(HubConfig { max_subscriber_bytes: 65 << 20, ..HubConfig::default() }).unwrap_err();
    assert_eq!(wrong.to_string(), "max_subscriber_bytes = 68157440 is out of range: 1 to 64 MiB");
}

#[test]
fn joining_outside_a_runtime_is_an_error_value() {
    let remote = Remote::new(1, 1);
    assert_eq!(Hub::default().join("a", &remote.peer).unwrap_err().code, Code::Internal);
}

/// A way of calling that can only wait: one event passes for each permit.
struct Slowly {
    permits: tokio::sync::Semaphore,
    got: Mutex<Vec<String>>,
}

impl Call for Arc<Slowly> {
    fn call(&self, _request: Request) -> BoxFuture<'_, Outcome> {
        Box::pin(async { Err(CallError::not_sent(Code::Unimplemented, "events only")) })
    }

    fn notify(&self, event: Event) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            self.permits.acquire().await.unwrap().forget();
            let number = text(&event);
            if number == "3" {
                return Err(CallError::not_sent(Code::Unavailable, "not this one"));
            }
            self.got.lock().unwrap().push(number);
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_way_that_can_only_wait_gets_its_events_in_order_from_the_task() {
    let slowly = Arc::new(Slowly { permits: tokio::sync::Semaphore::new(0), got: Mutex::default() });
    let peer = Peer::new(1, "test", None, Some(Caller::custom(Arc::clone(&slowly))));
    let hub = Hub::new(HubConfig { gap: None, ..HubConfig::default() }).unwrap();
    hub.join("g", &peer).unwrap();
    for n in 0..6 {
        hub.publish("g", &number(n));
    }
    slowly.permits.add_permits(6);
    while tasks() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*slowly.got.lock().unwrap(), ["0", "1", "2", "4", "5"]);
    let counts = hub.counts(&peer).unwrap();
    assert_eq!((counts.sent, counts.dropped, counts.gaps), (5, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn c20_from_70_percent_of_the_memory_on_a_slow_member_loses_what_waits_and_is_told_of_the_gap() {
    let memory = Arc::new(Memory::new(100 * UNIT));
    let mut others = Charge::new(Arc::clone(&memory), 0);
    let mut hold = |units: usize| others.hold(units * UNIT, Moment::default(), Waker::noop());
    let (mut slow, mut fast) = (Remote::sharing(1, 2, &memory), Remote::sharing(2, 2, &memory));
    let hub = Hub::default();
    hub.join("g", &slow.peer).unwrap();
    let large = Event::new(Route::from_static("n"), Body::json(&"x".repeat(UNIT)).unwrap());
    hub.publish("g", &large);
    hub.join("g", &fast.peer).unwrap();
    for n in 1..=3 {
        hub.publish("g", &number(n));
        assert_eq!(fast.read(1).await, [n.to_string()]);
    }
    assert_eq!(hub.counts(&slow.peer).unwrap().waiting, 2);
    hold(70);
    hub.publish("g", &number(4));
    assert_eq!(fast.read(1).await, ["4"]);
    let counts = hub.counts(&slow.peer).unwrap();
    assert_eq!((counts.sent, counts.waiting, counts.dropped), (2, 0, 3));
    assert_eq!(slow.ledger.get(Count::EventsWithheld), 3, "all that were lost, and no gap");
    hub.publish("g", &number(5));
    assert_eq!((fast.read(1).await, slow.ledger.get(Count::EventsWithheld)), (vec!["5".to_owned()], 4));
    hold(0);
    hub.publish("g", &number(6));
    assert_eq!(slow.read(2).await[1], "1");
    assert_eq!(slow.read(2).await, ["polywire.gap {\"missed\":4,\"reason\":\"slow subscriber\"}", "6"]);
}
