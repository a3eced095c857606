//! The test equipment itself: a process that hides an end would make every other test lie, and a suite that is long to adopt is not
//! adopted.

use std::time::Duration;

use polywire_tests::process::Process;
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(10);

/// A shell that runs `script`.
fn shell(script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Process::start("sh", command).expect("there is a shell")
}

#[tokio::test]
async fn process_takes_lines_until_the_wanted_one() {
    let mut child = shell(r#"echo noise; echo '{"n":1}'; echo '{"n":2}'; read answer; echo "got $answer""#);
    let found = child.wait_for_json(|value| value["n"] == 2, LIMIT).await.unwrap();
    assert_eq!(found["n"], 2);
    child.send_line("this").await.unwrap();
    assert_eq!(child.next_line(LIMIT).await.unwrap(), "got this");
    assert!(child.finish(LIMIT).await.unwrap().success());
}

#[tokio::test]
async fn process_error_shows_what_the_child_printed() {
    let mut child = shell("echo it went wrong >&2; exit 3");
    let error = child.wait_for_line(|_| false, LIMIT).await.unwrap_err();
    assert!(error.to_string().contains("sh: its output ended before"), "{error}");
    assert_eq!(child.finish(LIMIT).await.unwrap().code(), Some(3));
    // Standard error is read by another task; its text is certain only once that one ended, so ask again.
    let shown = async {
        while !child.error("").to_string().contains("err: it went wrong") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, shown).await.unwrap();
}

#[tokio::test]
async fn process_is_killed_when_it_does_not_end_in_time() {
    let mut child = shell("exec sleep 600");
    let error = child.finish(Duration::from_millis(1)).await.unwrap_err();
    assert!(error.to_string().contains("had not ended"), "{error}");
    assert_eq!(child.id(), None);
}

/// The lines of a test file that are neither empty nor comments.
fn lines(path: &std::path::Path) -> usize {
    let text = std::fs::read_to_string(path).expect("it can be read");
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

#[test]
fn every_adapter_adopts_the_conformance_suite_in_at_most_twenty_lines() {
    let top = polywire_tests::place::tests().join("..");
    let wires = ["sockhop", "hpx", "stonyx", "socketio", "hyperhq"];
    let packages = wires.map(|wire| format!("crates/{wire}")).into_iter();
    for package in packages.chain(["examples/fifth_adapter".to_owned()]) {
        let lines = lines(&top.join(&package).join("tests/conformance.rs"));
        assert!((1..=20).contains(&lines), "{package} takes {lines} lines");
    }
}
