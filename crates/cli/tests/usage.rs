//! What is said before anything is connected to: help, usage, secrets.

mod support;

use support::{file, polywire};

#[test]
fn help_lists_verbs_targets_and_exit_codes() {
    let help = polywire(&["--help"]).ends(0);
    for verb in ["demo", "serve", "call", "emit", "listen", "run", "check", "bench", "fake", "conform"] {
        assert!(help.stdout.contains(&format!("  {verb}")), "{verb}");
    }
    for words in
        [" 0  everything", " 9  a check found problems", "70  a fault of polywire", "sockhop+unix:///"]
    {
        assert!(help.stdout.contains(words), "{words}: {}", help.stdout);
    }
    assert!(!help.stdout.contains('\u{1b}') && help.stderr.is_empty());
    assert!(polywire(&["--version"]).ends(0).stdout.starts_with("polywire "));
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_nothing_on_standard_output() {
    for (args, words) in [
        (&["frobnicate"][..], "unrecognized subcommand"),
        (&["call", "sockhop://127.0.0.1:1"], "<ROUTE>"),
        (&["call", "sokhop://127.0.0.1:1", "echo"], "did you mean sockhop?"),
        (&["call", "sockhop://127.0.0.1", "echo"], "not host:port"),
        (&["call", "sockhop://127.0.0.1:1?mod=json", "echo"], "did you mean mode?"),
        (&["call", "sockhop://127.0.0.1:1?mode=jsn", "echo"], "did you mean json?"),
        (&["call", "sockhop://127.0.0.1:1", "echo", "{\"a\":}"], "the body is not JSON"),
        (&["call", "sockhop://127.0.0.1:1", "echo", "@/no/such/file"], "/no/such/file"),
        (&["call", "sockhop://127.0.0.1:1", "echo", "--timeout", "5"], "a time has a unit"),
        (&["bench", "sockhop://127.0.0.1:1", "echo", "-c", "0"], "-c"),
        (&["call", "stonyx://127.0.0.1:1", "echo"], "key=env:NAME or key=file:PATH"),
        (
            &["call", "stonyx://127.0.0.1:1?encryption=yes", "echo"],
            "encryption = \"yes\" is not one of on, off",
        ),
        (
            &["call", "stonyx://127.0.0.1:1?heartbeat=5&key=env:CARGO_PKG_NAME", "echo"],
            "heartbeat = \"5\" is not a time with a unit",
        ),
        (
            &["call", "stonyx://127.0.0.1:1/x?key=env:CARGO_PKG_NAME", "echo"],
            "no users and no paths, but got \"/x\"",
        ),
        (&["call", "socketio://127.0.0.1:1?auth=env:CARGO_PKG_NAME", "echo"], "auth is not a JSON object"),
        (&["call", "socketio://127.0.0.1:1?transports=poling", "echo"], "did you mean polling?"),
        (
            &["emit", "socketio://127.0.0.1:1?max_attachments=0", "tick"],
            "option max_attachments = \"0\" is not 1 to 1000",
        ),
        (&["call", "hyperhq://127.0.0.1:1?challenge=env:CARGO_PKG_NAME", "echo"], "plugin=ID"),
        (&["listen", "hyperhq://127.0.0.1:1?plugin=x", "tick"], "challenge=env:NAME or challenge=file:PATH"),
        (&["bench", "hyperhq://127.0.0.1:1/plugin?plugin=x", "echo"], "see plugin and namespace"),
        (&["serve", "hyperhq://127.0.0.1:0?plugin=x&reauth=sometimes"], "both, token, challenge, none"),
        (&["serve", "socketio://127.0.0.1:0?auth=env:CARGO_PKG_NAME"], "auth is what a client shows"),
        (&["emit", "stonyx://127.0.0.1:1?key=env:CARGO_PKG_NAME", "heartBeat"], "stonyx uses it itself"),
        (
            &[
                "emit",
                "stonyx://127.0.0.1:1?key=env:CARGO_PKG_NAME",
                "x",
                "--type",
                "T",
                "--bytes",
                "@/dev/null",
            ],
            "stonyx carries no bytes",
        ),
        (&["check"], "<FILE>"),
        (&["serve"], "<URL>"),
        (&["serve", "hpx://alice@127.0.0.1:0"], "password=env:NAME"),
        (&["run", "/no/such/bridge.toml"], "/no/such/bridge.toml"),
        (&["check", "/no/such/bridge.toml"], "/no/such/bridge.toml"),
    ] {
        let ran = polywire(args).ends(2);
        assert!(ran.stderr.contains(words), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args:?}");
    }
    let long = "x".repeat(256);
    assert!(polywire(&["call", "sockhop://127.0.0.1:1", &long]).ends(2).stderr.contains("255 bytes"));
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    let secret = file("empty-secret", b"\n");
    let empty = format!("hpx://alice@127.0.0.1:1?password=file:{}", secret.display());
    for (url, words) in [
        ("hpx://alice@127.0.0.1:1?password=hunter2", "env:NAME or file:PATH"),
        ("hpx://alice:hunter2@127.0.0.1:1", "password=env:NAME"),
        ("hpx://alice@127.0.0.1:1?password=env:POLYWIRE_TEST_NOT_SET", "POLYWIRE_TEST_NOT_SET is not set"),
        ("stonyx://127.0.0.1:1?key=hunter2", "key: must be env:NAME or file:PATH"),
        ("socketio://127.0.0.1:1?auth={\"token\":\"hunter2\"}", "auth: must be env:NAME or file:PATH"),
        ("hyperhq://127.0.0.1:1?plugin=x&challenge=hunter2", "challenge: must be env:NAME or file:PATH"),
        (&*empty, "is empty"),
    ] {
        for verb in ["call", "emit", "bench"] {
            let ran = polywire(&[verb, url, "echo"]).ends(2);
            assert!(ran.stderr.contains(words), "{}", ran.stderr);
            assert!(!ran.stderr.contains("hunter2") && ran.stdout.is_empty(), "{}", ran.stderr);
        }
        assert!(!polywire(&["serve", url]).ends(2).stderr.contains("hunter2"));
        assert!(!polywire(&["listen", url]).ends(2).stderr.contains("hunter2"));
    }
}

#[test]
fn nobody_reading_standard_error_changes_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_polywire"));
    let ended = command.args(["check", "/no/such/file.toml"]).stderr(writer).status().unwrap();
    assert_eq!(ended.code(), Some(2));
}

#[test]
fn serve_takes_guests_from_other_machines_only_where_that_is_said() {
    let ran = polywire(&["serve", "hpx://0.0.0.0:0"]).ends(2);
    assert!(ran.stderr.contains("0.0.0.0:0 is reached from others"), "{}", ran.stderr);
    assert!(ran.stderr.contains("guests=1") && ran.stdout.is_empty(), "{}", ran.stderr);
}
