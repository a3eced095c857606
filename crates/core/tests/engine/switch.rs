//! Switches in mid-stream fall on the exact byte, and a barrier write leaves alone.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use polywire_core::{Body, Event, Request, Route};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::toy::{Command, Setup, check_books, settle};

fn counted(line: &str) -> Vec<u8> {
    let length = u32::try_from(line.len()).unwrap();
    [&length.to_be_bytes()[..], line.as_bytes()].concat()
}

/// Lines, the switch, counted lines, one of them with line breaks inside, and back again.
fn stream() -> Vec<u8> {
    let mut bytes = b"? 1 echo 1\nmode counted\n".to_vec();
    bytes.extend(counted("? 2 echo 2"));
    bytes.extend(counted(". note \n[\n3]"));
    bytes.extend(counted("mode lines"));
    bytes.extend(b"? 4 echo 4\n");
    bytes
}

#[tokio::test(start_paused = true)]
async fn s04_the_read_mode_changes_at_the_exact_byte_wherever_the_stream_is_cut() {
    let stream = stream();
    for cut in 0..=stream.len() {
        let mut rig = Setup::new().start();
        rig.write(&stream[..cut]).await;
        settle().await;
        rig.write(&stream[cut..]).await;
        settle().await;
        assert_eq!(rig.heard.all(), ["? echo 1", "? echo 2", ". note \n[\n3]", "? echo 4"], "cut at {cut}");
        rig.hang_up().await;
    }
}

#[tokio::test(start_paused = true)]
async fn s04_the_read_mode_changes_at_the_exact_byte_byte_by_byte() {
    let mut rig = Setup::new().start();
    for byte in stream() {
        rig.write(&[byte]).await;
        settle().await;
    }
    assert_eq!(rig.heard.all().len(), 4);
    rig.hang_up().await;
}

#[tokio::test(start_paused = true)]
async fn s04_the_write_mode_changes_between_two_frames_however_the_pipe_cuts_them() {
    let expected =
        [b". a 1\n? 1 b 2\nmode counted\n".to_vec(), counted("? 2 c 3"), counted(". d 4")].concat();
    for pipe in 1..=expected.len() {
        let mut setup = Setup::new();
        setup.pipe = pipe;
        let mut rig = setup.start();
        rig.notify("a", "1").await;
        let before = rig.call("b", "2");
        settle().await;
        rig.link.command(Command::Switch);
        let after = rig.call("c", "3");
        settle().await;
        rig.notify("d", "4").await;
        let mut got = vec![0; expected.len()];
        rig.far.read_exact(&mut got).await.unwrap();
        assert_eq!(got, expected, "through a pipe of {pipe} bytes");
        rig.hang_up().await;
        drop((before, after));
    }
}

#[tokio::test(start_paused = true)]
async fn two_toys_switch_both_directions_while_calls_go_both_ways() {
    for pipe in [1, 2, 3, 5, 7, 11, 64, 4_096] {
        let (near, far) = tokio::io::duplex(pipe);
        let (one, one_link, one_end) = Setup::new().connect(near);
        let (two, two_link, two_end) = Setup::new().connect(far);
        let (one, two) = (tokio::spawn(one), tokio::spawn(two));
        let mut calls = Vec::new();
        for number in 0..40 {
            for link in [&one_link, &two_link] {
                let caller = link.caller().clone();
                let name = ["echo", "late"][number % 2];
                calls.push(tokio::spawn(async move {
                    let body = Body::json(&number).unwrap();
                    let answer =
                        caller.call(Request::new(Route::from_static(name), body.clone())).await.unwrap();
                    assert_eq!(answer.body, body);
                }));
            }
            settle().await;
            match number {
                10 => one_link.command(Command::Switch),
                20 => two_link.command(Command::Switch),
                _ => {}
            }
        }
        for call in calls {
            call.await.unwrap();
        }
        one_link.peer().close();
        one.await.unwrap();
        two.await.unwrap();
        check_books(&one_end.ledger);
        check_books(&two_end.ledger);
    }
}

/// Notes every write, and takes them only while it is open.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<(bool, Vec<String>)>>);

impl AsyncRead for Notes {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Notes {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock().unwrap();
        if !state.0 {
            // Looked at again a little later, on the paused clock.
            let waker = cx.waker().clone();
            tokio::spawn(async move {
                settle().await;
                waker.wake();
            });
            return Poll::Pending;
        }
        state.1.push(String::from_utf8(bytes.to_vec()).unwrap());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What leaves in which write of these events and, between them, what `command` makes the session write.
async fn writes(before: &[&'static str], commands: Vec<Command>, after: &[&'static str]) -> Vec<String> {
    let notes = Notes::default();
    let (connection, link, endpoint) = Setup::new().connect(notes.clone());
    let running = tokio::spawn(connection);
    let event = |name| Event::new(Route::from_static(name), Body::Empty);
    for name in before {
        link.caller().notify(event(name)).await.unwrap();
    }
    commands.into_iter().for_each(|command| link.command(command));
    for name in after {
        link.caller().notify(event(name)).await.unwrap();
    }
    settle().await;
    notes.0.lock().unwrap().0 = true;
    settle().await;
    settle().await;
    let writes = notes.0.lock().unwrap().1.clone();
    endpoint.shutdown.stop();
    running.await.unwrap();
    check_books(&endpoint.ledger);
    writes
}

#[tokio::test(start_paused = true)]
async fn a_barrier_flushes_everything_up_to_it_in_one_write_and_nothing_after() {
    let writes = writes(&["a", "b"], vec![Command::Switch], &["c", "d"]).await;
    assert_eq!(writes, [". a\n. b\nmode counted\n", "\0\0\0\u{3}. c\0\0\0\u{3}. d"]);
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_leaves_alone_shares_no_write_with_what_waits_before_it_or_comes_after() {
    let alone = |word| Command::Alone(word);
    assert_eq!(
        writes(&["a", "b"], vec![alone("one"), alone("two")], &["c", "d"]).await,
        [". a\n. b\n", "one\n", "two\n", ". c\n. d\n"]
    );
    assert_eq!(writes(&[], vec![alone("one")], &[]).await, ["one\n"]);
}
