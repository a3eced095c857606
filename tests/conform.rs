//! `polywire conform` with programs in other languages: the sample, the sample with one thing broken, and programs that are none.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "support/conform_faults.rs"]
mod conform_faults;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use conform_faults::{FAULTS, Fault};
use polywire_tests::place;
use polywire_tests::skip::{self, Tool};
use serde_json::Value;
use tokio::process::Command;

/// A run that has ended: exit code, standard output and standard error.
struct Ran {
    code: i32,
    output: String,
    errors: String,
}

impl Ran {
    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.output, self.errors);
        self
    }

    /// The lines of a JSON report, without the counts.
    fn cases(&self) -> Vec<Value> {
        let lines = self.output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line.get("case").is_some()).collect()
    }

    /// The names of cases with this verdict.
    fn with(&self, verdict: &str) -> Vec<String> {
        let cases = self.cases();
        let with = cases.iter().filter(|case| case["verdict"] == verdict);
        with.map(|case| case["case"].as_str().unwrap().to_owned()).collect()
    }
}

async fn conform(options: &[&str], program: &[&str]) -> Ran {
    let run = Command::new(env!("CARGO_BIN_EXE_polywire-under-test"))
        .arg("conform")
        .args(options)
        .arg("--")
        .args(program)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = tokio::time::timeout(Duration::from_secs(300), run).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: run.status.code().unwrap(), output: text(run.stdout), errors: text(run.stderr) }
}

fn sample() -> PathBuf {
    place::tests().join("../examples/conform_sockhop.py")
}

/// A file of this test run.
fn file(name: &str, content: &str) -> String {
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("conform-{}-{name}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

/// The sample with one thing done otherwise.
fn broken(name: &str, good: &str, bad: &str) -> String {
    let text = std::fs::read_to_string(sample()).unwrap();
    assert_eq!(text.matches(good).count(), 1, "{good}");
    file(&format!("{name}.py"), &text.replace(good, bad))
}

/// A language that has only values does not pass for one that hands on text.
#[tokio::test]
async fn a_program_that_reports_values_is_compared_by_value_and_its_cases_on_text_are_refused() {
    let test = "a_program_that_reports_values_is_compared_by_value_and_its_cases_on_text_are_refused";
    if !skip::have(test, &[Tool::Python]) {
        return;
    }
    let values =
        broken("by-value", "return data\n        body", "return json.dumps(json.loads(data))\n        body");
    let text = std::fs::read_to_string(values).unwrap();
    let honest = file("honest.py", &text.replace("{\"hello\": 1,", "{\"hello\": 1, \"bodies\": \"values\","));
    let on_text = ["body.integers", "body.numbers", "body.key_order", "body.escapes"];
    let ran = run("server", &honest, &[&["body.plain", "body.unicode"], &on_text[..]].concat()).await.ends(0);
    assert_eq!(ran.with("refused"), on_text);
    assert_eq!(ran.with("held"), ["body.plain", "body.unicode"]);
    assert!(ran.errors.contains("compared as doubles and without order"), "{}", ran.errors);
    let wrong =
        file("wrong.py", &std::fs::read_to_string(&honest).unwrap().replace("json.loads(data))\n", "{})\n"));
    run("server", &wrong, &["body.integers"]).await.ends(9);
}

/// Runs these cases, or all, in one mode, with a report as JSON.
async fn run(mode: &str, program: &str, cases: &[&str]) -> Ran {
    let mut options = vec!["--mode", mode, "--report", "json"];
    options.extend(cases.iter().flat_map(|case| ["--case", *case]));
    conform(&options, &["python3", program]).await
}

#[tokio::test]
async fn the_sample_in_python_holds_every_case_in_both_modes() {
    if !skip::have("the_sample_in_python_holds_every_case_in_both_modes", &[Tool::Python]) {
        return;
    }
    let path = sample().display().to_string();
    let ran = conform(&["--mode", "both", "--report", "json"], &["python3", &path]).await.ends(0);
    let every = polywire_conformance::child::cases().unwrap().len();
    assert_eq!(ran.cases().len(), 2 * every);
    let not_shown = ["body.bytes", "body.bytes_megabyte", "login.other_secret"];
    let not_shown = [&not_shown[..], &["hostile.gone"], &not_shown].concat();
    assert_eq!(ran.with("not_shown"), not_shown);
    assert_eq!(ran.with("held").len(), 2 * every - not_shown.len());
    let last: Value = serde_json::from_str(ran.output.lines().last().unwrap()).unwrap();
    assert_eq!(last["cases"], 2 * every);
    assert_eq!((&last["failed"], &last["unexpected_passes"]), (&0.into(), &0.into()));
    assert_eq!((&last["refused"], &last["not_shown"]), (&0.into(), &not_shown.len().into()));
}

/// What a program does not name is not asked of it, from either end.
#[tokio::test]
async fn a_program_that_names_less_than_its_wire_has_does_not_fail_and_those_cases_are_not_shown() {
    let test = "a_program_that_names_less_than_its_wire_has_does_not_fail_and_those_cases_are_not_shown";
    if !skip::have(test, &[Tool::Python]) {
        return;
    }
    let program = broken("modest", "[\"client_events\", \"push\", \"server_calls\", \"give_up\"]", "[]");
    let without =
        ["event.from_client", "event.from_server", "back.answer", "back.many", "give_up.call", "cut.events"];
    for mode in ["client", "server"] {
        let ran = run(mode, &program, &[&["call.answer"], &without[..]].concat()).await.ends(0);
        assert_eq!(ran.with("held"), ["call.answer"], "{mode}");
        let mut not_shown = ran.with("not_shown");
        not_shown.sort_unstable();
        let mut wanted = without.to_vec();
        wanted.sort_unstable();
        assert_eq!(not_shown, wanted, "{mode}");
        assert!(ran.errors.contains("the program says it has no push"), "{}", ran.errors);
    }
}

#[tokio::test]
async fn a_sample_with_one_thing_broken_fails_the_cases_about_that_thing() {
    if !skip::have("a_sample_with_one_thing_broken_fails_the_cases_about_that_thing", &[Tool::Python]) {
        return;
    }
    for Fault { name, good, bad, mode, fails, holds, words } in FAULTS {
        let program = broken(name, good, bad);
        let ran = run(mode, &program, &[fails, &[holds]].concat()).await.ends(9);
        let mut wanted = fails.to_vec();
        let mut failed = ran.with("failed");
        wanted.sort_unstable();
        failed.sort_unstable();
        assert_eq!(failed, wanted, "{name}: {}", ran.errors);
        assert_eq!(ran.with("held"), [holds], "{name}: {}", ran.errors);
        assert!(ran.errors.contains(words), "{name}: {}", ran.errors);
    }
}

#[tokio::test]
async fn what_is_known_to_fail_does_not_fail_the_run_and_what_holds_after_all_does() {
    let test = "what_is_known_to_fail_does_not_fail_the_run_and_what_holds_after_all_does";
    if !skip::have(test, &[Tool::Python]) {
        return;
    }
    let program =
        broken("rounds", "return data\n        body", "return data.replace('993', '992')\n        body");
    let known = file("known", "# since the first day\nserver:body.integers\n");
    let cases = ["--case", "body.integers", "--case", "call.answer"];
    let with = |known: &str| {
        [&["--mode", "server", "--report", "json", "--known-failing", known], &cases[..]]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let run = async |known: &str, program: &str| {
        let options = with(known);
        conform(&options.iter().map(String::as_str).collect::<Vec<_>>(), &["python3", program]).await
    };
    let ran = run(&known, &program).await.ends(0);
    assert_eq!(ran.with("known_failure"), ["body.integers"]);
    let good = sample().display().to_string();
    let ran = run(&known, &good).await.ends(9);
    assert_eq!(ran.with("unexpected_pass"), ["body.integers"]);
    assert!(ran.errors.contains("take it off the list"), "{}", ran.errors);
    // Known in the other mode, it is not known here; and what was not shown has not passed.
    let other = file("other", "client:body.integers\n");
    assert_eq!(run(&other, &program).await.ends(9).with("failed"), ["body.integers"]);
    let login = file("login", "login.other_secret\n");
    let options = ["--mode", "server", "--report", "json", "--case", "login.other_secret"];
    let options = [&options[..], &["--known-failing", &login]].concat();
    let ran = conform(&options, &["python3", &good]).await.ends(0);
    assert_eq!(ran.with("not_shown"), ["login.other_secret"]);
    let nonsense = file("nonsense", "body.intgers\n");
    let ran = run(&nonsense, &good).await.ends(2);
    assert!(ran.errors.contains("line 1: there is no case \"body.intgers\""), "{}", ran.errors);
    assert_eq!(ran.output, "");
}

#[tokio::test]
async fn a_trace_shows_what_passed_and_the_reports_can_be_read() {
    let test = "a_trace_shows_what_passed_and_the_reports_can_be_read";
    if !skip::have(test, &[Tool::Python]) {
        return;
    }
    let program = broken("traced", "return data\n        body", "return '\"<&>\"'\n        body");
    let xml = file("report.xml", "");
    let options = ["--mode", "server", "--trace", "--case", "call.answer", "--case", "login.other_secret"];
    let junit = [&options[..], &["--report", "junit", "--output", &xml]].concat();
    let ran = conform(&junit, &["python3", &program]).await.ends(9);
    assert_eq!(ran.output, "");
    assert!(ran.errors.contains("{\"type\":\"echo\",\"data\":{\"n\":1},\"id\":"), "{}", ran.errors);
    assert!(ran.errors.contains("{\"type\":\"Object\",\"data\":\"<&>\",\"callback_id\":"), "{}", ran.errors);
    // A reader of XML that is not ours.
    let read = "import sys, xml.etree.ElementTree as t; s = t.parse(sys.argv[1]).getroot().find('testsuite'); \
                print(s.get('name'), s.get('tests'), s.get('failures'), s.get('skipped'), \
                [c.get('name') for c in s], s[0].find('failure').get('message'))";
    let read = Command::new("python3").args(["-c", read, &xml]).output().await.unwrap();
    let shown = String::from_utf8(read.stdout).unwrap();
    assert!(
        shown.starts_with("polywire.server 2 1 1 ['call.answer', 'login.other_secret'] step 1: "),
        "{shown}"
    );
    assert!(shown.contains("got the answer \"<&>\""), "{shown}");
    let json = [&options[..], &["--report", "json"]].concat();
    let ran = conform(&json, &["python3", &program]).await.ends(9);
    let case = &ran.cases()[0];
    assert_eq!((&case["case"], &case["mode"]), (&"call.answer".into(), &"server".into()));
    assert!(case["why"].as_str().unwrap().contains("expected the answer {\"n\":1}"), "{case}");
    assert!(case["trace"].as_str().unwrap().contains("#1 >"), "{case}");
    assert!(case["seconds"].is_f64(), "{case}");
}

#[cfg(unix)]
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

#[cfg(unix)]
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
        ("echo '{\"id\":77,\"outcome\":\"done\"}'; sleep 60", "it answered ask 77, which is not open"),
        ("echo nonsense; sleep 60", "a line of its standard output is no answer"),
        ("echo '{\"id\":1,\"outcome\":\"perhaps\"}'; sleep 60", "unknown variant `perhaps`"),
        ("echo '{\"id\":1,\"outcome\":\"answer\"}'; sleep 60", "it says `answer` of a dial"),
    ] {
        let script = format!("{hello}{then}");
        let options = ["--mode", "client", "--report", "json", "--case", "call.answer"];
        let ran = conform(&options, &["sh", "-c", &script]).await.ends(9);
        let case = &ran.cases()[0];
        assert!(case["why"].as_str().unwrap().contains(words), "{then}: {case}");
    }
}

/// One that crashes once its steps held has failed, and a run that ends in its second mode reports the first.
#[tokio::test]
async fn a_crash_at_the_end_fails_the_case_and_a_run_that_stops_reports_what_there_is() {
    let test = "a_crash_at_the_end_fails_the_case_and_a_run_that_stops_reports_what_there_is";
    if !skip::have(test, &[Tool::Python]) {
        return;
    }
    let program = broken("crashes", "                break\n", "                os._exit(7)\n");
    let ran = run("client", &program, &["call.answer"]).await.ends(9);
    let case = &ran.cases()[0];
    assert!(
        case["why"].as_str().unwrap().contains("its steps held; told to end, it ended with code 7"),
        "{case}"
    );
    let program = broken(
        "only-dials",
        "            self.server = await",
        "            sys.exit(1)\n            self.server = await",
    );
    let ran = run("both", &program, &["call.answer"]).await.ends(8);
    assert_eq!(ran.with("held"), ["call.answer"]);
    let last: Value = serde_json::from_str(ran.output.lines().last().unwrap()).unwrap();
    assert_eq!((&last["cases"], &last["held"]), (&1.into(), &1.into()));
}

#[cfg(unix)]
#[tokio::test]
async fn the_secret_of_a_launch_is_shown_nowhere() {
    let script = "echo $POLYWIRE_SECRET >&2; echo \"say $POLYWIRE_SECRET\"";
    let ran = conform(&["--mode", "server"], &["sh", "-c", script]).await.ends(8);
    assert!(ran.errors.contains("say …"), "{}", ran.errors);
    let digits = |text: &str| text.as_bytes().split(|byte| !byte.is_ascii_hexdigit()).map(<[u8]>::len).max();
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
#[cfg(unix)]
#[tokio::test]
async fn the_secret_of_a_login_in_plain_text_is_not_in_the_trace() {
    let program = env!("CARGO_BIN_EXE_conform-under-test");
    // It crashes when it is told to end, so its case fails with a trace.
    let script = format!("{program} hpx; exit 3");
    let options = ["--mode", "server", "--trace", "--report", "json", "--case", "call.answer"];
    let ran = conform(&options, &["sh", "-c", &script]).await.ends(9);
    let trace = ran.cases()[0]["trace"].as_str().unwrap().to_owned();
    assert!(trace.contains("tester") && trace.contains('…'), "{trace}");
    let digits = |text: &str| text.as_bytes().split(|byte| !byte.is_ascii_hexdigit()).map(<[u8]>::len).max();
    assert!(digits(&ran.output).max(digits(&ran.errors)) < Some(32), "{}{}", ran.output, ran.errors);
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_ends_the_run_and_the_program_with_it() {
    use polywire_tests::process::Process;

    let mut command = Command::new(env!("CARGO_BIN_EXE_polywire-under-test"));
    let script = "echo $$ > \"$0\"; exec sleep 60";
    let number = file("number", "");
    command.args(["conform", "--mode", "server", "--", "sh", "-c", script, &number]);
    let mut run = Process::start("polywire conform", command).unwrap();
    let limit = Duration::from_secs(10);
    run.wait_for_error_line(|line| line.ends_with("as server"), limit).await.unwrap();
    let program = tokio::time::timeout(limit, async {
        loop {
            let text = std::fs::read_to_string(&number).unwrap();
            if text.ends_with('\n') {
                return text.trim().to_owned();
            }
            tokio::task::yield_now().await;
        }
    });
    let program = program.await.expect("it starts");
    // One that has ended may still wait for somebody to look at its end.
    let runs = |id: &str| {
        let state = std::process::Command::new("ps").args(["-o", "stat=", "-p", id]).output().unwrap().stdout;
        !state.trim_ascii().is_empty() && !state.starts_with(b"Z")
    };
    assert!(runs(&program));
    let terminate =
        std::process::Command::new("kill").args(["-TERM", &run.id().unwrap().to_string()]).status();
    assert!(terminate.unwrap().success());
    assert_eq!(run.finish(limit).await.unwrap().code(), Some(9));
    let gone = tokio::time::timeout(limit, async {
        while runs(&program) {
            tokio::task::yield_now().await;
        }
    });
    gone.await.expect("the program is ended too");
}
