//! Every exit code that a peer can cause, each against a peer that causes it.

#![allow(clippy::unwrap_used, reason = "a test that cannot run has failed")]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;

use support::{file, polywire, serve, start};

/// A peer that says `words` to whoever connects and reads on; gives back where it listens.
fn stranger(words: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            let mut peer = peer.unwrap();
            // The other side may be gone by then.
            let _ = peer.write_all(words);
            let _ = peer.read_to_end(&mut Vec::new());
        }
    });
    address
}

#[test]
fn a_failure_is_told_on_both_outputs_and_by_the_exit_code() {
    let (_running, url) = serve("sockhop://127.0.0.1:0");
    for (code, exit) in [
        ("unknown", 1),
        ("internal", 1),
        ("invalid_argument", 1),
        ("not_found", 6),
        ("permission_denied", 6),
        ("unauthenticated", 5),
        ("resource_exhausted", 7),
        ("deadline_exceeded", 4),
    ] {
        let body = format!(r#"{{"code":"{code}","message":"as asked"}}"#);
        let ran = polywire(&["call", &url, "fail", &body]).ends(exit);
        let line = ran.line();
        assert_eq!((&line["ok"], line["outcome"].as_str()), (&false.into(), Some("failure")));
        assert_eq!((line["code"].as_str(), line["message"].as_str()), (Some(code), Some("as asked")));
        assert!(ran.stderr.contains("as asked"), "{}", ran.stderr);
        assert!(!ran.stderr.contains('\u{1b}'));
    }
}

#[test]
fn nobody_there_is_3_and_says_that_nothing_was_sent() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for wire in ["sockhop", "hpx"] {
        let url = format!("{wire}://{address}");
        let ran = polywire(&["call", &url, "echo", "{}"]).ends(3);
        let line = ran.line();
        assert_eq!((line["outcome"].as_str(), line["retry"].as_str()), (Some("not_sent"), Some("safe")));
        assert!(
            ran.stderr.contains(&address.to_string()) && ran.stderr.contains("polywire serve"),
            "{}",
            ran.stderr
        );
        polywire(&["emit", &url, "tick"]).ends(3);
        polywire(&["listen", &url]).ends(3);
        polywire(&["bench", &url, "echo", "-n", "1"]).ends(3);
    }
}

#[test]
fn an_address_that_is_taken_is_3() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let ran = polywire(&["serve", &format!("sockhop://{}", taken.local_addr().unwrap())]).ends(3);
    assert!(ran.stderr.contains("cannot listen at") && ran.stderr.contains("port 0"), "{}", ran.stderr);
}

#[test]
fn a_deadline_is_4_and_the_outcome_unknown() {
    let (_running, url) = serve("sockhop://127.0.0.1:0");
    let ran = polywire(&["call", &url, "sleep", r#"{"ms":60000}"#, "--timeout", "300ms"]).ends(4);
    let line = ran.line();
    assert_eq!(
        (line["outcome"].as_str(), line["code"].as_str()),
        (Some("unknown"), Some("deadline_exceeded"))
    );
    assert!(ran.stderr.contains("may have acted"), "{}", ran.stderr);
}

#[test]
fn a_refused_login_is_5_and_shows_no_secret() {
    let right = file("right", b"swordfish\n");
    let wrong = file("wrong", b"hunter2");
    let (mut running, right, wrong) = (
        start(&["serve", &format!("hpx://alice@127.0.0.1:0?password=file:{}", right.display())]),
        right.display().to_string(),
        wrong.display().to_string(),
    );
    let address = running.line()["address"].as_str().unwrap().to_owned();
    let url = |user: &str, file: &str| format!("hpx://{user}@{address}?password=file:{file}");

    let line = polywire(&["call", &url("alice", &right), "whoami", "{}"]).ends(0).line();
    assert_eq!((&line["body"]["subject"], &line["body"]["guest"]), (&"alice".into(), &false.into()));
    for refused in [url("alice", &wrong), url("mallory", &right), format!("hpx://{address}")] {
        let ran = polywire(&["call", &refused, "whoami", "{}"]).ends(5);
        assert_eq!(ran.line()["code"], "unauthenticated");
        assert!(!ran.stderr.contains("swordfish") && !ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
}

#[test]
fn more_than_a_limit_is_7() {
    let address = stranger(&[b'x'; 100_000]);
    let ran = polywire(&["call", &format!("hpx://{address}"), "echo", "{}"]).ends(7);
    assert!(ran.stderr.contains("bytes"), "{}", ran.stderr);
}

#[test]
fn a_peer_that_speaks_something_else_is_8() {
    let address = stranger(b"HTTP/1.1 400 Bad Request\r\n\r\n<EOF>HTTP/1.1 400 Bad Request<EOF>");
    let ran = polywire(&["call", &format!("hpx://{address}"), "echo", "{}"]).ends(8);
    assert!(ran.stderr.contains("speaks hpx"), "{}", ran.stderr);
}

#[test]
fn a_body_above_the_limit_is_not_sent_and_says_so() {
    let body = file("large.json", format!("\"{}\"", "x".repeat(17_000_000)).as_bytes());
    let (_running, url) = serve("sockhop://127.0.0.1:0");
    let ran = polywire(&["call", &url, "echo", &format!("@{}", body.display())]).ends(7);
    let line = ran.line();
    assert_eq!((line["outcome"].as_str(), line["retry"].as_str()), (Some("not_sent"), Some("never")));
    let limit = "message of 17000006 bytes exceeds max_frame_bytes = 16777216";
    assert_eq!(line["message"].as_str(), Some(limit));
}
