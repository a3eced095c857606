//! `polywire fake hyperhq`, with good plugins and bad ones.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::process::Stdio;
use std::time::Duration;

use polywire_tests::install::{PYTHON_SOCKETIO, SOCKET_IO_CLIENT};
use polywire_tests::running::gone;
use polywire_tests::scratch::scratch;
use polywire_tests::{peer, place, skip};
use serde_json::{Value, json};
use tokio::process::Command;

const PLUGIN: &str = env!("CARGO_BIN_EXE_plugin-under-test");
const EXAMPLE: &str = env!("CARGO_BIN_EXE_example-plugin");

/// Exit code, standard output and standard error.
async fn fake(options: &[&str], plugin: &[&str]) -> (i32, String, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_polywire-under-test"))
        .args(["fake", "hyperhq"])
        .args(options)
        .arg("--")
        .args(plugin)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = tokio::time::timeout(Duration::from_secs(60), run).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (run.status.code().unwrap(), text(run.stdout), text(run.stderr))
}

/// Everything held, and these verdicts were among it.
async fn holds(options: &[&str], plugin: &[&str], verdicts: &[&str]) {
    let (code, output, errors) = fake(options, plugin).await;
    assert_eq!(code, 0, "{options:?} {plugin:?}:\n{output}\n{errors}");
    for verdict in verdicts {
        assert!(output.contains(&format!("  pass  {verdict}")), "{verdict} in:\n{output}");
    }
}

/// It ends with `code` and says all of this.
async fn fails(options: &[&str], plugin: &[&str], code: i32, words: &[&str]) {
    let (got, output, errors) = fake(options, plugin).await;
    assert_eq!(got, code, "{options:?} {plugin:?}:\n{output}\n{errors}");
    for words in words {
        assert!(format!("{output}{errors}").contains(words), "{words} in:\n{output}{errors}");
    }
}

#[tokio::test]
async fn a_good_plugin_passes_every_check() {
    let every = [
        "it logs in (",
        "it answers `initialize` (",
        "it answers `test` (",
        "it answers `execute` (",
        "it answers `shutdown` (",
        "it ends after its shutdown, with code 0",
    ];
    holds(&["--execute", r#"{"action":"sync"}"#], &[PLUGIN], &every).await;
    holds(&[], &[EXAMPLE], &every).await;
    let Some(package) = skip::package("a_good_plugin_passes_every_check", &SOCKET_IO_CLIENT) else { return };
    let program = peer::hyperhq_plugin(&package).display().to_string();
    let node = ["node", &program, "--scenario", "serve", "--events", "gameLaunched"];
    holds(&["--execute", r#"{"action":"echo"}"#], &node, &every).await;
}

#[tokio::test]
async fn the_example_is_seen_to_ask_to_tell_of_its_progress_and_to_hear_its_event() {
    let (code, output, errors) = fake(&[], &[EXAMPLE]).await;
    assert_eq!(code, 0, "{output}{errors}");
    for line in [
        r#"<-   requestData {"method":"getSystems""#,
        r#"<-   statusUpdate {"message":"asking for the systems","status":"syncing"}"#,
        r#"->   hyperHqEvent {"type":"gameLaunched""#,
        r#"err  launched: {"gameId":"game-1"}"#,
    ] {
        assert!(output.contains(line), "{line} in:\n{output}");
    }
}

#[tokio::test]
async fn misbehaviour_on_demand_is_survived_by_a_good_plugin() {
    let sync = ["--execute", r#"{"action":"sync"}"#];
    let with = |fault| [&[fault], &sync[..]].concat();
    holds(&with("--duplicate"), &[PLUGIN], &["it answers `execute`", "it ends after its shutdown"]).await;
    holds(&with("--disconnect"), &[PLUGIN], &["it comes back and logs in again", "it answers `execute`"])
        .await;
}

#[tokio::test]
async fn what_is_malformed_is_sent_where_that_is_asked_for_and_a_good_plugin_answers_all_the_same() {
    // An event without an argument has no more than its name.
    let all = vec![
        json!(["request", null]),
        json!(["request", "not an object"]),
        json!(["request", { "method": "execute" }]),
        json!(["hyperHqEvent", null]),
        json!(["noSuchEvent", { "a": [1, { "b": null }] }]),
    ];
    for (fault, broken) in [(None, vec![]), (Some("--malformed"), all)] {
        let options = ["--json", "--execute", r#"{"action":"sync"}"#];
        let (code, output, errors) = fake(&[&options[..], fault.as_slice()].concat(), &[PLUGIN]).await;
        assert_eq!(code, 0, "{output}{errors}");
        let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let said = lines.filter(|line| line["from"] == "host");
        let is_whole = |line: &Value| match line["event"].as_str().unwrap() {
            "request" => line["argument"]["id"].is_string(),
            "hyperHqEvent" => line["argument"]["type"].is_string(),
            event => ["authenticated", "eventsSubscribed"].contains(&event),
        };
        let said = said.filter(|line| !is_whole(line)).map(|line| json!([line["event"], line["argument"]]));
        assert_eq!(said.collect::<Vec<_>>(), broken, "{output}");
        assert_eq!(passed(&output, "plugin", "response").len(), 4, "{output}");
    }
}

#[tokio::test]
async fn a_plugin_that_does_not_come_back_is_told() {
    let told =
        ["FAIL  it comes back and logs in again: not within 1s; it did not log in again", "sessionToken"];
    fails(&["--disconnect", "--timeout", "1s"], &[PLUGIN, "--no-return"], 9, &told).await;
}

/// When this message passed, in seconds, and whether it did at all.
fn passed(output: &str, from: &str, event: &str) -> Vec<f64> {
    let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let those = lines.filter(|line| line["from"] == from && line["event"] == event);
    those.map(|line| line["at"].as_f64().unwrap()).collect()
}

#[tokio::test]
async fn a_plugin_that_asks_for_nothing_is_tried_by_lateness_too() {
    for plugin in [PLUGIN, EXAMPLE] {
        let began = std::time::Instant::now();
        let (code, output, errors) = fake(&["--late=300ms", "--json"], &[plugin]).await;
        assert_eq!(code, 0, "{output}{errors}");
        let login =
            passed(&output, "host", "authenticated")[0] - passed(&output, "plugin", "authenticate")[0];
        // What is printed is printed a little after the moment that counts.
        assert!(login >= 0.2, "the answer to the login came after {login} s");
        // Four requests, the first of them behind the answer to the login; the example asks for data besides.
        let least = if plugin == EXAMPLE { 5 } else { 4 } * Duration::from_millis(300);
        assert!(began.elapsed() >= least, "{plugin}: {:?}", began.elapsed());
        let answers = passed(&output, "host", "dataResponse");
        for (asked, answered) in passed(&output, "plugin", "requestData").iter().zip(&answers) {
            assert!(answered - asked >= 0.2, "data came after {} s", answered - asked);
        }
        assert_eq!(answers.len(), usize::from(plugin == EXAMPLE));
    }
}

#[tokio::test]
async fn every_request_comes_twice_where_that_is_asked_for() {
    let (code, output, errors) = fake(&["--duplicate", "--json"], &[PLUGIN]).await;
    assert_eq!(code, 0, "{output}{errors}");
    assert_eq!(passed(&output, "host", "authenticated").len(), 2);
    assert_eq!(passed(&output, "host", "request").len(), 8);
}

#[tokio::test]
async fn a_login_that_is_not_answered_is_tried_again() {
    let patient = ["--silent=login", "--timeout", "1s"];
    let words =
        ["it logs in: not within 1s; it asked once to be let in", "as --silent=login asks", "connect again"];
    fails(&patient, &[PLUGIN], 9, &words).await;
    let plugin = [PLUGIN, "--login-timeout-ms=300"];
    holds(&["--silent=login"], &plugin, &["it logs in (", "it answers `test`", "it ends after"]).await;
}

#[tokio::test]
async fn a_timeout_beyond_every_limit_of_a_login_is_nobodys_fault() {
    for long in ["2min", "30min", "2h"] {
        holds(&["--timeout", long], &[EXAMPLE], &["it logs in ("]).await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_short_timeout_is_for_the_verdict_and_not_for_the_connection() {
    // It is told that the login took too long, and nothing else has cut it before.
    let script = "sleep 0.6; exec \"$0\"";
    let plugin = ["sh", "-c", script, PLUGIN];
    fails(&["--timeout", "300ms"], &plugin, 9, &["it logs in: not within 300ms"]).await;
    let challenge = ["--timeout", "10s", "--execute", r#"{"action":"sync"}"#];
    holds(&challenge, &plugin, &["it logs in (", "it answers `execute`"]).await;
}

#[tokio::test]
async fn an_answer_that_never_comes_is_told() {
    // The example asks for data before it answers.
    let told = ["getSystems is not answered, as --silent asks", "not within 1s", "answer with {error"];
    fails(&["--silent", "--timeout", "1s"], &[EXAMPLE], 9, &told).await;
    let slow = ["--timeout", "500ms", "--execute", r#"{"action":"silent","answerAfterMs":20000}"#];
    let told = ["FAIL  it answers `execute`: not within 500ms", "emit `response`"];
    fails(&slow, &[PLUGIN], 9, &told).await;
    let unknown = ["--execute", r#"{"action":"nope"}"#];
    fails(&unknown, &[PLUGIN], 9, &["FAIL  it answers `execute`: with an error: Unknown action: nope"]).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_plugin_that_does_not_come_is_told() {
    let shell = |script| ["sh", "-c", script];
    fails(&[], &shell("echo oh >&2; exit 3"), 9, &["err  oh", "no, it ended with code 3 before that"]).await;
    let late = &["--timeout", "300ms"];
    fails(
        late,
        &shell("exec sleep 60"),
        9,
        &["not within 300ms; nothing came from it", "HYPERHQ_SOCKET_PORT"],
    )
    .await;
    let no_program = scratch("plugin.py");
    std::fs::write(&no_program, "").unwrap();
    let started = no_program.display().to_string();
    fails(&[], &[&started], 2, &["cannot start", "needs its interpreter, such as `-- python3 plugin.py`"])
        .await;
    fails(&[], &["/no/such/program"], 2, &["cannot start /no/such/program", "after -- is a program"]).await;
    fails(&[], &[], 2, &["which program is the plugin?"]).await;
    fails(&["--plugin", "/no/such/folder"], &["x"], 2, &["/no/such/folder is no folder"]).await;
    fails(&["--execute", "{"], &["x"], 2, &["--execute"]).await;
}

#[tokio::test]
async fn an_authors_mistakes_are_told_in_words() {
    let Some(package) = skip::package("an_authors_mistakes_are_told_in_words", &SOCKET_IO_CLIENT) else {
        return;
    };
    let (program, folder) = (place::tests().join("drivers/flawed_plugin.mjs"), package.display().to_string());
    let program = program.display().to_string();
    let flawed = |flaw| ["node", &*program, &*folder, flaw];
    let refused = "FAIL  it logs in: no, the login was refused: Invalid challenge; then it ended with code 1";
    fails(&[], &flawed("challenge"), 9, &[refused, "HYPERHQ_AUTH_CHALLENGE"]).await;
    let told =
        ["FAIL  it answers `initialize`: not within 5s", "answers without the `id` of a request: 1; copy it"];
    fails(&["--timeout", "5s"], &flawed("id"), 9, &told).await;
    holds(
        &[],
        &flawed("test"),
        &["it answers `test` with false, which tells its user that the test failed ("],
    )
    .await;
    // As plugins on the C# helper: it has done what it was asked for.
    let left = ["it leaves on `shutdown`, without an answer", "it ends after its shutdown, with code 0"];
    holds(&[], &flawed("leaves"), &left).await;
}

#[tokio::test]
async fn a_plugin_that_asks_for_a_file_without_its_token_is_told_and_may_do_so_on_request() {
    let name = "a_plugin_that_asks_for_a_file_without_its_token_is_told_and_may_do_so_on_request";
    let Some(package) = skip::package(name, &SOCKET_IO_CLIENT) else { return };
    let folder = scratch("tokenless");
    std::fs::create_dir_all(&folder).unwrap();
    let manifest = r#"{"id":"tokenless","name":"T","version":"1","type":"executable","executable":"none"}"#;
    std::fs::write(folder.join("plugin.json"), manifest).unwrap();
    let (program, installed) =
        (place::tests().join("drivers/flawed_plugin.mjs"), package.display().to_string());
    let (program, folder) = (program.display().to_string(), folder.display().to_string());
    let plugin = ["node", &*program, &*installed, "tokenless"];
    let options = ["--plugin", &*folder, "--execute", "{}"];
    let told = [
        "FAIL  it answers `execute`: with an error: Session token required",
        "it asked for a file without its `sessionToken`",
        "--no-file-token",
    ];
    fails(&options, &plugin, 9, &told).await;
    let lenient = [&options[..], &["--no-file-token"]].concat();
    let (code, output, errors) = fake(&lenient, &plugin).await;
    assert_eq!(code, 0, "{output}{errors}");
    assert!(output.contains("pass  it answers `execute` (") && !output.contains("without its"), "{output}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_plugin_that_crashes_is_told_where() {
    let shell = |script| ["sh", "-c", script];
    fails(
        &[],
        &shell("echo oh >&2; kill -KILL $$"),
        9,
        &["err  oh", "no, it crashed or was killed before that"],
    )
    .await;
    let told = ["FAIL  it answers `execute`: no, it crashed or was killed before that"];
    fails(&["--execute", r#"{"action":"crash"}"#], &[PLUGIN], 9, &told).await;
}

#[tokio::test]
async fn plugins_in_other_languages_are_told_what_broke_them() {
    let name = "plugins_in_other_languages_are_told_what_broke_them";
    let sync = ["--execute", r#"{"action":"sync"}"#];
    let with = |fault| [&[fault], &sync[..]].concat();
    if let Some(package) = skip::package(name, &SOCKET_IO_CLIENT) {
        let program = peer::hyperhq_plugin(&package).display().to_string();
        // It reads members of whatever comes.
        let told = ["TypeError", "FAIL  it answers `execute`: no, it ended with code 1 before that"];
        fails(&with("--malformed"), &["node", &program], 9, &told).await;
    }
    let Some(package) = skip::package(name, &PYTHON_SOCKETIO) else { return };
    let path = format!("PYTHONPATH={}", package.display());
    let program = place::tests().join("peers/hyperhq/plugin.py").display().to_string();
    let python = ["env", &path, "PYTHONDONTWRITEBYTECODE=1", "python3", &program];
    let answers = ["it answers `execute` (", "it ends after its shutdown, with code 0"];
    for fault in ["--late=300ms", "--malformed", "--disconnect"] {
        holds(&with(fault), &python, &answers).await;
    }
    let (code, output, errors) = fake(&with("--duplicate"), &python).await;
    assert_eq!(code, 0, "{output}{errors}");
    assert!(output.contains("more than once (execute, initialize, shutdown, test)"), "{output}");
}

#[cfg(unix)]
#[tokio::test]
async fn what_a_plugin_has_started_ends_with_it_and_hides_no_end() {
    for (script, told) in [
        ("sleep 1000 & echo child $!; exit 3", "no, it ended with code 3 before that"),
        ("sleep 1000 & echo child $!; wait", "not within 3s; nothing came from it"),
    ] {
        let (code, output, errors) = fake(&["--timeout", "3s"], &["sh", "-c", script]).await;
        assert!(code == 9 && output.contains(told), "{output}{errors}");
        let child = output.split("child ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
        gone(child).await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_or_a_closed_terminal_leaves_nothing_running() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    for signal in ["-INT", "-TERM", "-HUP"] {
        let mut fake = Command::new(env!("CARGO_BIN_EXE_polywire-under-test"))
            .args(["fake", "hyperhq", "--", "sh", "-c", "sleep 1000 & echo child $!; wait"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(fake.stdout.take().unwrap()).lines();
        let child = loop {
            let line = lines.next_line().await.unwrap().expect("the plugin prints");
            if let Some((_, id)) = line.split_once("child ").filter(|_| line.contains("out")) {
                break id.to_owned();
            }
        };
        let id = fake.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
        while lines.next_line().await.unwrap().is_some() {}
        let end = tokio::time::timeout(Duration::from_secs(30), fake.wait()).await.expect("it ends");
        assert_eq!(end.unwrap().code(), Some(9), "{signal}");
        gone(&child).await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn no_secret_is_shown() {
    let script = "echo $HYPERHQ_AUTH_CHALLENGE; echo $HYPERAI_PLUGIN_CHALLENGE >&2; exec \"$0\"";
    for options in [&[][..], &["--json"]] {
        let (_, output, errors) = fake(options, &["sh", "-c", script, PLUGIN]).await;
        assert!(output.contains('…'), "{output}");
        assert!(output.contains("it printed what looks like its challenge or token"), "{output}");
        let hex = |byte: &u8| byte.is_ascii_hexdigit();
        for text in [output, errors] {
            let longest = text.as_bytes().split(|byte| !hex(byte)).map(<[u8]>::len).max();
            assert!(longest < Some(32), "{text}");
        }
    }
}

#[tokio::test]
async fn a_script_reads_every_line() {
    let (code, output, _) = fake(&["--json", "--execute", r#"{"action":"sync"}"#], &[PLUGIN]).await;
    assert_eq!(code, 0, "{output}");
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!((last["checks"].as_u64(), last["failed"].as_u64()), (Some(6), Some(0)));
    let messages = |from: &str, event: &str| {
        lines.iter().filter(|line| line["from"] == from && line["event"] == event).count()
    };
    assert_eq!(messages("plugin", "authenticate"), 1);
    assert_eq!(messages("host", "request"), 4);
    assert_eq!(messages("plugin", "response"), 4);
    assert!(
        lines
            .iter()
            .all(|line| line.get("check").is_some() || line.get("checks").is_some() || line["at"].is_f64())
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_with_a_manifest_says_what_to_start() {
    let folder = scratch("plugin");
    std::fs::create_dir_all(&folder).unwrap();
    let manifest = |executable: &str| {
        let text = format!(
            r#"{{"id":"from-manifest","name":"M","version":"1","type":"executable","executable":"{executable}"}}"#
        );
        std::fs::write(folder.join("plugin.json"), text).unwrap();
    };
    let path = folder.display().to_string();
    let options = ["--plugin", path.as_str(), "--execute", r#"{"action":"sync"}"#];
    std::os::unix::fs::symlink(PLUGIN, folder.join("run")).unwrap();
    manifest("run");
    let (code, output, errors) = fake(&options, &[]).await;
    assert_eq!(code, 0, "{output}{errors}");
    assert!(output.contains("as from-manifest"), "{output}");
    manifest("../run");
    fails(&options, &[], 2, &["which is not below its folder"]).await;
    manifest("nothing");
    fails(&options, &[], 2, &["plugin.json: executable"]).await;
}
