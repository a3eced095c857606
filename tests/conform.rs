//! `polywire conform` with programs in another language: the sample, and the sample with one thing broken.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "support/conform_faults.rs"]
mod conform_faults;
#[path = "support/conform_run.rs"]
mod conform_run;

use std::path::PathBuf;

use conform_faults::{FAULTS, Fault};
use conform_run::{Ran, conform, file};
use polywire_tests::place;
use polywire_tests::skip::{self, Tool};
use serde_json::Value;
use tokio::process::Command;
use tokio::task::JoinSet;

/// What the sample cannot be shown to hold: Sockhop has no login, and its lines have no bytes.
const NOT_SHOWN: [&str; 3] = ["body.bytes", "body.bytes_megabyte", "login.other_secret"];

fn sample() -> PathBuf {
    place::tests().join("../examples/conform_sockhop.py")
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
    let not_shown = NOT_SHOWN.repeat(2);
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
    let mut faults = FAULTS.iter().map(is_found);
    let mut running: JoinSet<()> = faults.by_ref().take(AT_ONCE).collect();
    while let Some(found) = running.join_next().await {
        found.unwrap();
        if let Some(next) = faults.next() {
            running.spawn(next);
        }
    }
}

/// Runs at once: most of the time each waits for something.
const AT_ONCE: usize = 2;

/// This fault fails its cases, and no other.
async fn is_found(&Fault { name, good, bad, mode, fails, holds, words }: &Fault) {
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

#[test]
fn every_case_that_the_sample_shows_is_failed_by_a_fault() {
    for case in polywire_conformance::child::cases().unwrap() {
        let fails = FAULTS.iter().any(|fault| fault.fails.contains(&&*case.id));
        assert_ne!(fails, NOT_SHOWN.contains(&&*case.id), "{}", case.id);
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
    // Without a mode it is known in both, and a client of the same program has nothing to do with its service.
    let both = file("both", "body.integers\n");
    let options = ["--mode", "both", "--report", "json", "--case", "body.integers", "--known-failing", &both];
    let ran = conform(&options, &["python3", &program]).await.ends(9);
    assert_eq!(ran.with("known_failure"), ["body.integers"]);
    assert_eq!(ran.with("unexpected_pass"), ["body.integers"]);
    assert_eq!(ran.cases()[0]["mode"], "client");
    assert_eq!(ran.cases()[0]["verdict"], "unexpected_pass");
    let nonsense = file("nonsense", "body.intgers\n");
    let ran = run(&nonsense, &good).await.ends(2);
    assert!(ran.errors.contains("line 1: there is no case \"body.intgers\""), "{}", ran.errors);
    assert!(ran.errors.contains("did you mean body.integers?"), "{}", ran.errors);
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
