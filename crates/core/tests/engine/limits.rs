//! Limits a peer runs into, each with the reason that names it.

use std::time::Duration;

use polywire_core::{CallError, Close, Count, Credentials, Handler, Incoming, Response};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::Instant;

use crate::toy::{Login, Order, Serve, Setup, json, settle};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn c01_a_silent_peer_is_closed_at_login_timeout() {
    let rig = Setup::with_login(Login::Ask).start();
    let start = Instant::now();
    let ended = rig.ended().await;
    assert_eq!(ended.reason, Close::LoginTimeout(secs(10)));
    assert!(!ended.established);
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn c01_without_a_login_a_silent_peer_is_welcome() {
    let mut rig = Setup::new().start();
    tokio::time::sleep(secs(86_400)).await;
    rig.say("? 1 echo 1").await;
    assert_eq!(rig.hear().await, "! 1 1");
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c01_a_server_that_answers_no_login_is_left_at_login_timeout() {
    let mut rig = Setup::with_login(Login::Offer(Credentials::new("ann", "s3cret"))).start();
    let start = Instant::now();
    assert_eq!(rig.hear().await, "login ann s3cret");
    let call = rig.call("a", "1");
    let ended = rig.ended().await;
    assert_eq!((ended.reason, ended.established), (Close::LoginTimeout(secs(10)), false));
    assert_eq!(start.elapsed().as_secs(), 10);
    assert!(matches!(call.await.unwrap(), Err(CallError::NotSent(_))));
}

#[tokio::test(start_paused = true)]
async fn c02_a_slow_dribble_does_not_stretch_the_login() {
    let mut rig = Setup::with_login(Login::Ask).start();
    let start = Instant::now();
    for byte in b"login" {
        rig.write(&[*byte]).await;
        tokio::time::sleep(Duration::from_millis(1_900)).await;
    }
    assert_eq!(rig.ended().await.reason, Close::LoginTimeout(secs(10)));
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn c02_two_thousand_slow_peers_are_closed_and_everybody_else_is_served() {
    const SLOW: usize = 2_000;
    let start = Instant::now();
    let mut slow: Vec<_> = (0..SLOW).map(|_| Setup::with_login(Login::Ask).start()).collect();
    let mut served = Setup::with_login(Login::Ask).start();
    served.say("login ann s3cret").await;
    assert_eq!(served.hear().await, "welcome ann");
    for (second, byte) in [(0, b'l'), (5, b'o')] {
        for rig in &mut slow {
            rig.write(&[byte]).await;
        }
        for number in 0..4 {
            let asked = Instant::now();
            served.say(&format!("? {number} echo 1")).await;
            assert_eq!(served.hear().await, format!("! {number} 1"));
            assert!(asked.elapsed() < Duration::from_millis(10), "second {second}: {:?}", asked.elapsed());
            tokio::time::sleep(secs(1)).await;
        }
        tokio::time::sleep_until(start + secs(second + 5)).await;
    }
    for rig in slow {
        assert_eq!(rig.ended().await.reason, Close::LoginTimeout(secs(10)));
    }
    assert!(start.elapsed() < Duration::from_millis(10_100), "{:?}", start.elapsed());
    served.say("? 9 echo 1").await;
    assert_eq!(served.hear().await, "! 9 1");
    served.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_judge_is_cut_off_at_login_timeout() {
    let mut setup = Setup::with_login(Login::Ask);
    setup.limits.login_timeout = Duration::from_millis(40);
    let mut rig = setup.start();
    rig.say("login ann s3cret").await;
    assert_eq!(rig.ended().await.reason, Close::LoginTimeout(Duration::from_millis(40)));
}

#[tokio::test(start_paused = true)]
async fn c03_a_frame_begun_and_not_finished_closes_the_connection() {
    let mut rig = Setup::new().start();
    rig.say("? 1 echo 1").await;
    rig.hear().await;
    let start = Instant::now();
    for byte in b"? 2 echo" {
        rig.write(&[*byte]).await;
        tokio::time::sleep(secs(3)).await;
    }
    assert_eq!(rig.ended().await.reason, Close::SlowFrame(secs(30)));
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn c03_each_frame_has_its_own_time() {
    let mut rig = Setup::new().start();
    rig.write(b"? 1 ec").await;
    for id in 1..5 {
        tokio::time::sleep(secs(20)).await;
        rig.write(format!("ho {id}\n? {} ec", id + 1).as_bytes()).await;
        assert_eq!(rig.hear().await, format!("! {id} {id}"));
    }
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c03_a_peer_is_not_blamed_while_we_do_not_read() {
    let mut setup = Setup::new();
    setup.limits.max_in_flight = 1;
    let mut rig = setup.start();
    let call = rig.call("a", "1");
    rig.hear().await;
    rig.say("? 1 hang").await;
    rig.write(b"? 3 ec").await;
    settle().await;
    // Without a call of ours in flight nothing is read at the limit, so the line cannot be finished in time.
    call.abort();
    tokio::time::sleep(secs(50)).await;
    rig.write(b"ho 3\n").await;
    assert!(rig.hear().await.starts_with("x 1 deadline_exceeded"));
    assert_eq!(rig.hear().await, "! 3 3");
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c08_a_peer_that_stops_reading_is_closed_after_write_timeout() {
    let mut setup = Setup::new();
    setup.pipe = 4_096;
    let mut rig = setup.start();
    let start = Instant::now();
    let big = "x".repeat(3_000);
    for id in 0..3 {
        rig.say(&format!("? {id} echo \"{big}\"")).await;
    }
    let ended = tokio::time::timeout(secs(60), &mut rig.task).await.unwrap().unwrap();
    assert_eq!(ended.reason, Close::SlowConsumer(secs(10)));
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn c08_a_peer_that_reads_a_little_now_and_then_is_kept() {
    let mut setup = Setup::new();
    setup.pipe = 64;
    let mut rig = setup.start();
    rig.say(&format!("? 1 echo \"{}\"", "x".repeat(600))).await;
    let mut got = Vec::new();
    while !got.ends_with(b"\n") {
        tokio::time::sleep(secs(9)).await;
        let mut some = [0; 40];
        let read = tokio::io::AsyncReadExt::read(&mut rig.far.get_mut(), &mut some).await.unwrap();
        got.extend_from_slice(&some[..read]);
    }
    assert_eq!(got.len(), "! 1 \"\"\n".len() + 600);
    rig.hang_up().await;
}

/// Answers with 1 MiB, `late` after one tick.
fn large_answers() -> impl Handler {
    let text = json(&format!("\"{}\"", "x".repeat((1 << 20) - 2)));
    Serve(move |incoming: Incoming| {
        let text = text.clone();
        async move {
            if &*incoming.route == "late" {
                settle().await;
            }
            Ok(Response::from(text))
        }
    })
}

/// How many of so many answers are written for a peer that does not read; then it reads, and gets all of them.
async fn answers_unread(rig: &mut crate::toy::Rig, requests: u64) -> u64 {
    tokio::time::sleep(secs(5)).await;
    let unread = rig.count(Count::RequestsAnswered);
    let mut ids = Vec::new();
    for _ in 0..requests {
        let answer = rig.hear().await;
        ids.extend(answer.split(' ').nth(1).and_then(|id| id.parse::<u64>().ok()));
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..requests).collect::<Vec<_>>());
    unread
}

#[tokio::test(start_paused = true)]
async fn c13_answers_for_a_peer_that_does_not_read_stay_within_max_queue_bytes() {
    const REQUESTS: u64 = 256;
    for batch in [false, true] {
        for name in ["late", "now"] {
            let mut setup = Setup::new().handler(large_answers());
            setup.pipe = 16 << 10;
            let most = setup.limits.max_queue_bytes as u64 >> 20;
            let mut rig = setup.start();
            let requests: Vec<_> = (0..REQUESTS).map(|id| format!("? {id} {name}")).collect();
            if batch {
                rig.say(&format!("all {}", requests.join(";"))).await;
            } else {
                rig.say(&requests.join("\n")).await;
            }
            let unread = answers_unread(&mut rig, REQUESTS).await;
            assert!((1..=most + 1).contains(&unread), "{unread} answers of {name}, batch {batch}");
            assert_eq!(rig.count(Count::RequestsRefused), 0);
            rig.hang_up().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c13_answers_wait_within_max_queue_bytes_also_while_we_wait_for_an_answer() {
    let mut setup = Setup::new().handler(large_answers());
    setup.pipe = 16 << 10;
    let mut rig = setup.start();
    let call = rig.call("a", "1");
    rig.hear().await;
    for id in 0..100 {
        rig.say(&format!("? {id} {}", ["late", "now"][id % 2])).await;
    }
    let unread = answers_unread(&mut rig, 100).await;
    assert!((1..=9).contains(&unread), "{unread} answers");
    rig.say("! 1 1").await;
    assert_eq!(call.await.unwrap().unwrap().body, json("1"));
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn c13_answers_larger_than_max_queue_bytes_leave_one_after_the_other() {
    let mut setup = Setup::new();
    (setup.limits.max_queue_bytes, setup.pipe) = (1_024, 512);
    let rig = setup.start();
    let body = format!("\"{}\"", "x".repeat(3_000));
    let (hear, mut say) = tokio::io::split(rig.far.into_inner());
    let requests: String =
        (0..200).map(|id| format!("? {id} {} {body}\n", ["late", "echo"][id % 2])).collect();
    let saying = tokio::spawn(async move { say.write_all(requests.as_bytes()).await.map(|()| say) });
    let mut lines = BufReader::new(hear).lines();
    for _ in 0..200 {
        assert!(lines.next_line().await.unwrap().unwrap().ends_with(&body));
    }
    saying.await.unwrap().unwrap();
    drop(lines);
    assert_eq!(rig.task.await.unwrap().reason, Close::Peer);
}

#[tokio::test(start_paused = true)]
async fn c08_a_peer_for_which_answers_wait_is_closed_after_write_timeout() {
    let mut rig = Setup::new().handler(large_answers()).start();
    let start = Instant::now();
    let requests: Vec<_> = (0..256).map(|id| format!("? {id} late")).collect();
    rig.say(&requests.join("\n")).await;
    let ended = tokio::time::timeout(secs(60), &mut rig.task).await.unwrap().unwrap();
    assert_eq!(ended.reason, Close::SlowConsumer(secs(10)));
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn before_the_login_only_max_login_bytes_are_kept() {
    let mut rig = Setup::with_login(Login::Ask).start();
    rig.write(&vec![b'x'; (64 << 10) + 1]).await;
    let ended = rig.ended().await;
    let Close::Limit(text) = ended.reason else { panic!("{ended:?}") };
    assert_eq!(text, "frame of 65537 bytes exceeds max_login_bytes = 65536");
}

#[tokio::test(start_paused = true)]
async fn after_the_login_max_frame_bytes_holds() {
    let mut setup = Setup::with_login(Login::Ask);
    setup.limits.max_frame_bytes = 200_000;
    let mut rig = setup.start();
    rig.say("login ann s3cret").await;
    rig.hear().await;
    let body = format!("\"{}\"", "x".repeat(100_000));
    rig.say(&format!("? 1 echo {body}")).await;
    assert_eq!(rig.hear().await, format!("! 1 {body}"));
    rig.write(&vec![b'x'; 200_001]).await;
    let ended = rig.ended().await;
    let Close::Limit(text) = ended.reason else { panic!("{ended:?}") };
    assert!(
        text.starts_with("frame of 2000") && text.ends_with("exceeds max_frame_bytes = 200000"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_length_that_lies_is_refused_before_a_byte_of_it_is_there() {
    let mut rig = Setup::new().start();
    rig.say("mode counted").await;
    rig.write(&u32::MAX.to_be_bytes()).await;
    let ended = rig.ended().await;
    let Close::Limit(text) = ended.reason else { panic!("{ended:?}") };
    assert_eq!(text, "frame of 4294967295 bytes exceeds max_frame_bytes = 16777216");
}

#[tokio::test(start_paused = true)]
async fn sixteen_unusable_messages_in_a_row_close_the_connection() {
    let mut rig = Setup::new().start();
    let bad: [&[u8]; 4] = [b"\xff\xfe\n", b"what\n", b"? 1 echo {\n", b". \xff\n"];
    for number in 0..15 {
        rig.write(bad[number % 4]).await;
    }
    rig.say("? 7 echo 1").await;
    for number in 0..16 {
        rig.write(bad[number % 4]).await;
    }
    let heard = rig.hear_all().await;
    assert!(heard.contains("! 7 1\n"), "one good message starts the count anew");
    let ledger = std::sync::Arc::clone(&rig.ledger);
    let ended = rig.ended().await;
    let Close::Limit(text) = ended.reason else { panic!("{ended:?}") };
    assert_eq!(text, "16 unusable messages in a row reach max_bad_messages = 16");
    let reasons = [Count::Undecodable, Count::UnknownKind, Count::BadBody, Count::BadRoute];
    assert_eq!(reasons.map(|count| ledger.get(count)), [8, 8, 8, 7]);
}

#[tokio::test(start_paused = true)]
async fn nothing_before_the_login_reaches_a_handler() {
    let mut rig = Setup::with_login(Login::Ask).start();
    rig.say("? 1 echo 1").await;
    rig.say(". echo 1").await;
    rig.say("login ann s3cret").await;
    // Behind the login and in the same write: decoded only once the verdict is in.
    rig.say("? 2 echo 2").await;
    assert_eq!(rig.hear().await, "welcome ann");
    assert_eq!(rig.hear().await, "! 2 2");
    assert_eq!(rig.heard.all(), ["? echo 2"]);
    assert_eq!(rig.count(Count::BeforeLogin), 2);
    assert_eq!(&*rig.link.peer().identity().unwrap().subject, "ann");
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_login_is_told_and_closed() {
    let mut rig = Setup::with_login(Login::Ask).start();
    rig.say("login ann wrong").await;
    assert_eq!(rig.hear_all().await, "refused not you\n");
    assert!(matches!(rig.ended().await.reason, Close::Refused(refusal) if refusal.reason == "not you"));
}

#[tokio::test(start_paused = true)]
async fn without_an_authenticator_every_login_is_refused() {
    let mut setup = Setup::with_login(Login::Ask);
    setup.endpoint.authenticator = None;
    let mut rig = setup.start();
    rig.say("login ann s3cret").await;
    assert_eq!(rig.hear_all().await, "refused nobody may log in here\n");
    assert!(matches!(rig.ended().await.reason, Close::Refused(_)));
}

#[tokio::test(start_paused = true)]
async fn the_alarm_of_a_session_goes_off_at_its_moment() {
    let mut setup = Setup::new();
    setup.session.beat = Some(secs(30));
    setup.session.order = Order::OneAtATime;
    let mut rig = setup.start();
    let start = Instant::now();
    for beat in 1..=3 {
        assert_eq!(rig.hear().await, "beat");
        assert_eq!(start.elapsed().as_secs(), 30 * beat);
    }
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn deadlines_are_kept_by_whichever_task_polled_last() {
    let (near, _far) = tokio::io::duplex(64);
    let (mut connection, _link, _) = Setup::with_login(Login::Ask).connect(near);
    let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(Future::poll(std::pin::Pin::new(&mut connection), &mut nobody).is_pending());
    let ended = tokio::time::timeout(secs(60), tokio::spawn(connection)).await.unwrap().unwrap();
    assert_eq!(ended.reason, Close::LoginTimeout(secs(10)));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_heartbeats_is_closed_by_name_and_a_steady_beat_is_not() {
    let mut rig = Setup::new().start();
    for _ in 0..50 {
        for _ in 0..100 {
            rig.say("beat").await;
        }
        settle().await;
        tokio::time::sleep(secs(1)).await;
    }
    rig.say("? 1 echo 1").await;
    assert_eq!(rig.hear().await, "! 1 1");
    for _ in 0..101 {
        rig.say("beat").await;
    }
    let ledger = std::sync::Arc::clone(&rig.ledger);
    let why = "101 control frames within a second exceed max_control_per_second = 100";
    assert_eq!(rig.ended().await.reason, Close::Limit(why.into()));
    assert_eq!((ledger.get(Count::Control), ledger.unaccounted_frames()), (5_101, 0));
}

#[tokio::test(start_paused = true)]
async fn bad_messages_between_good_ones_close_when_a_minute_brings_too_many() {
    let mut rig = Setup::new().start();
    // 99 within a minute are borne, minute after minute.
    for _ in 0..3 {
        for _ in 0..99 {
            rig.say("what").await;
            rig.say("? 1 echo 1").await;
            assert_eq!(rig.hear().await, "! 1 1");
        }
        tokio::time::sleep(secs(60)).await;
    }
    for _ in 0..99 {
        rig.say("what").await;
        rig.say("? 1 echo 1").await;
        assert_eq!(rig.hear().await, "! 1 1");
    }
    rig.say("what").await;
    let why = "100 unusable messages within a minute reach max_bad_per_minute = 100";
    assert_eq!(rig.ended().await.reason, Close::Limit(why.into()));
}
