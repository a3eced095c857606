//! `polywire conform` with programs that are none, that hide, hang or leave something behind, and what it says of them.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "support/conform_run.rs"]
mod conform_run;

use std::time::Duration;

use conform_run::{conform, file};
use polywire_tests::process::Process;
use polywire_tests::running::{gone, runs};
use tokio::process::Command;

/// How long a process may take to begin or to be gone.
const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_program_that_is_none_gets_one_clear_sentence() {
    let one = "--case call.answer --mode server";
    let options: Vec<_> = one.split(' ').collect();
    let hello = |target: &str, more: &str| {
        format!("echo '{{\"hello\":1,\"target\":\"{target}\",\"can\":[]{more}}}'; cat >/dev/null")
    };
    for (script, code, words) in [
        (
            "echo oh >&2; exit 7".to_owned(),
            8,
            "its standard output ended; it ended with code 7; the last it printed: oh",
        ),
        (
            "echo good morning".to_owned(),
            8,
            "its first line is no hello (expected value at line 1 column 1): good morning",
        ),
        (
            "echo '{\"hello\":9,\"target\":\"\",\"can\":[]}'".to_owned(),
            8,
            "speaks version 9 of the control protocol, and this is 1",
        ),
        (
            "head -c 20000000 /dev/zero; sleep 60".to_owned(),
            8,
            "a line of its standard output is longer than 16 MiB",
        ),
        (hello("sokhop://127.0.0.1:1", ""), 8, "did you mean sockhop?"),
        (hello("stonyx://127.0.0.1:1?key=env:HOME", ""), 8, "a secret cannot stand in this URL"),
        (
            hello("sockhop://127.0.0.1:1", ",\"secrets\":[\"mode\"]"),
            8,
            "the option mode of sockhop is no secret",
        ),
        (hello("sockhop://127.0.0.1:0", ""), 8, "has the port where the program listens"),
        (hello("sockhop+unix:///tmp/x", ""), 8, "over TCP"),
        (hello("sockhop://127.0.0.1:1?peer_type=json", ""), 8, "sockhop has no calls"),
    ] {
        let ran = conform(&options, &["sh", "-c", &script]).await.ends(code);
        assert!(ran.errors.contains(words), "{script}: {}", ran.errors);
        assert_eq!(ran.output, "", "{script}");
    }
    let ran = conform(&options, &["/no/such/program"]).await.ends(2);
    assert!(ran.errors.contains("cannot start /no/such/program"), "{}", ran.errors);
    for (options, words) in [
        (&["--mode", "server", "--case", "call.anser"][..], "did you mean call.answer?"),
        (&["--mode", "backwards"], "possible values: client, server, both"),
        (&["--mode", "client", "--known-failing", "/no/such/list"], "cannot read /no/such/list"),
        (&["--mode", "client", "--output", "x"], "--report"),
        (&[], "--mode"),
    ] {
        let ran = conform(options, &["true"]).await.ends(2);
        assert!(ran.errors.contains(words), "{options:?}: {}", ran.errors);
    }
    assert!(conform(&["--mode", "client"], &[]).await.ends(2).errors.contains("COMMAND"));
}

#[tokio::test]
async fn a_program_that_says_nothing_is_ended_and_one_that_dies_fails_its_cases() {
    let silent =
        conform(&["--mode", "client"], &["sh", "-c", "echo waiting >&2; exec sleep 60"]).await.ends(4);
    assert!(silent.errors.contains("no hello within 15s; the last it printed: waiting"), "{}", silent.errors);
    // It says hello, reads one line, and then this.
    let hello = "echo '{\"hello\":1,\"target\":\"sockhop://127.0.0.1:0\",\"can\":[]}'; read line; ";
    for (then, words) in [
        (
            "printf 'go%s\\n' ne >&2; exit 3",
            "its standard output ended; it ended with code 3\nthe last it wrote to standard error:\n  gone",
        ),
        (
            "echo '{\"id\":77,\"outcome\":\"done\"}'; sleep 60",
            "at ask 1 (`dial`): it answered ask 77, which is not open",
        ),
        (
            "echo nonsense; sleep 60",
            "is no answer (expected ident at line 1 column 2; logs belong on standard error): nonsense",
        ),
        ("kill -SEGV $$", "its standard output ended; it was ended by signal 11"),
        ("echo '{\"id\":1,\"outcome\":\"perhaps\"}'; sleep 60", "unknown variant `perhaps`"),
        (
            "echo '{\"id\":1,\"outcome\":\"answer\"}'; sleep 60",
            "it says `answer` of a dial, which is done, refused or failed",
        ),
    ] {
        let script = format!("{hello}{then}");
        let options = ["--mode", "client", "--report", "json", "--case", "call.answer"];
        let ran = conform(&options, &["sh", "-c", &script]).await.ends(9);
        let case = &ran.cases()[0];
        assert!(case["why"].as_str().unwrap().contains(words), "{then}: {case}");
    }
}

/// The most hexadecimal digits in a row: a secret has 32.
fn digits(text: &str) -> Option<usize> {
    text.as_bytes().split(|byte| !byte.is_ascii_hexdigit()).map(<[u8]>::len).max()
}

#[tokio::test]
async fn the_secret_of_a_launch_is_shown_nowhere() {
    let script = "echo $POLYWIRE_SECRET >&2; echo \"say $POLYWIRE_SECRET\"";
    let ran = conform(&["--mode", "server"], &["sh", "-c", script]).await.ends(8);
    assert!(ran.errors.contains("say …"), "{}", ran.errors);
    assert!(digits(&ran.errors) < Some(32), "{}", ran.errors);
    // In its hello, and in what a dial says, which is before any step.
    let target = "sockhop://127.0.0.1:0?mode=$POLYWIRE_SECRET";
    let script = format!("echo '{{\"hello\":1,\"can\":[],\"target\":\"'{target}'\"}}'; cat >/dev/null");
    let ran = conform(&["--mode", "client"], &["sh", "-c", &script]).await.ends(8);
    assert!(digits(&ran.errors) < Some(32), "{}", ran.errors);
    let script = "echo '{\"hello\":1,\"target\":\"sockhop://127.0.0.1:0\",\"can\":[]}'; read line; \
                  echo $POLYWIRE_SECRET >&2; \
                  echo '{\"id\":1,\"outcome\":\"failed\",\"message\":\"key '$POLYWIRE_SECRET'\"}'; cat >/dev/null";
    let options = ["--mode", "client", "--trace", "--report", "json", "--case", "call.answer"];
    let ran = conform(&options, &["sh", "-c", script]).await.ends(9);
    let case = &ran.cases()[0];
    let why = case["why"].as_str().unwrap();
    assert!(why.contains("the program did not connect: failed: key …"), "{case}");
    assert!(why.contains("the last it wrote to standard error:\n  …"), "{case}");
    assert!(case["trace"].is_string(), "{case}");
    assert!(digits(&ran.output).max(digits(&ran.errors)) < Some(32), "{}{}", ran.output, ran.errors);
}

/// The login of HPX holds the secret in plain text, and a program that answers wrongly has all of it traced.
#[tokio::test]
async fn the_secret_of_a_login_in_plain_text_is_not_in_the_trace() {
    let program = env!("CARGO_BIN_EXE_conform-under-test");
    // It crashes when it is told to end, so its case fails with a trace.
    let script = format!("{program} hpx; exit 3");
    let options = ["--mode", "server", "--trace", "--report", "json", "--case", "call.answer"];
    let ran = conform(&options, &["sh", "-c", &script]).await.ends(9);
    let trace = ran.cases()[0]["trace"].as_str().unwrap().to_owned();
    assert!(trace.contains("tester") && trace.contains('…'), "{trace}");
    assert!(digits(&ran.output).max(digits(&ran.errors)) < Some(32), "{}{}", ran.output, ran.errors);
}

/// The number of a process that it writes to this file.
async fn number(path: &str) -> String {
    let written = tokio::time::timeout(LIMIT, async {
        loop {
            let text = std::fs::read_to_string(path).unwrap();
            if text.ends_with('\n') {
                return text.trim().to_owned();
            }
            tokio::task::yield_now().await;
        }
    });
    written.await.expect("it starts")
}

#[tokio::test]
async fn a_signal_ends_the_run_and_the_program_with_everything_that_it_started() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polywire-under-test"));
    let script = "sleep 60 & echo $! > \"$1\"; echo $$ > \"$0\"; exec sleep 60";
    let (own, child) = (file("number", ""), file("child", ""));
    command.args(["conform", "--mode", "server", "--", "sh", "-c", script, &own, &child]);
    let mut run = Process::start("polywire conform", command).unwrap();
    run.wait_for_error_line(|line| line.ends_with("as server"), LIMIT).await.unwrap();
    let (own, child) = (number(&own).await, number(&child).await);
    assert!(runs(&own) && runs(&child));
    run.signal("TERM").await.unwrap();
    run.wait_for_error_line(|line| line.contains("a signal: the program is ended"), LIMIT).await.unwrap();
    assert_eq!(run.finish(LIMIT).await.unwrap().code(), Some(9));
    gone(&own).await;
    gone(&child).await;
}

/// It ends by itself, with code 0, and leaves a child that holds its outputs open.
#[tokio::test]
async fn what_a_program_leaves_behind_is_ended_with_it() {
    let child = file("left", "");
    let script = "sleep 60 & echo $! > \"$0\"; \
                  echo '{\"hello\":1,\"target\":\"sockhop://127.0.0.1:0\",\"can\":[]}'; read line; \
                  echo '{\"id\":1,\"outcome\":\"failed\"}'; read line";
    let options = ["--mode", "client", "--report", "json", "--case", "call.answer"];
    let ran = conform(&options, &["sh", "-c", script, &child]).await.ends(9);
    let why = &ran.cases()[0]["why"];
    assert_eq!(why, "the program did not connect: failed: without a message");
    gone(&number(&child).await).await;
}

/// A client that is refused and says only that it failed has not told all that its wire tells.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_login_that_was_refused_is_to_be_told_as_a_refusal() {
    let program = env!("CARGO_BIN_EXE_conform-under-test");
    let options = ["--mode", "client", "--report", "json", "--case", "login.other_secret"];
    for (wire, verdict) in [("hpx", "failed"), ("stonyx", "held")] {
        let script = format!("{program} {wire} | sed -u s/refused/failed/");
        let code = if verdict == "held" { 0 } else { 9 };
        let ran = conform(&options, &["sh", "-c", &script]).await.ends(code);
        assert_eq!(ran.with(verdict), ["login.other_secret"], "{wire}: {}", ran.errors);
        let said = ran.errors.contains("is to be refused, and it says failed: ");
        assert_eq!(said, verdict == "failed", "{wire}: {}", ran.errors);
    }
}
