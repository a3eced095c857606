//! What is said before anything is connected to: help, usage, secrets.

mod support;

use polywire_core::{OptionKind, OptionSpec};
use support::{file, polywire, with_variable};

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
        (&["call", "stonyx://ann@127.0.0.1:1?key=env:CARGO_PKG_NAME", "echo"], "no users, but got \"ann\""),
        (&["serve", "stonyx://127.0.0.1:0/x?key=env:CARGO_PKG_NAME"], "serves every path: leave \"/x\" out"),
        (
            &["call", "stonyx://127.0.0.1:1?key=env:CARGO_PKG_NAME&tls_ca=env:CARGO_PKG_NAME", "echo"],
            "tls_ca is of no use without tls = 1",
        ),
        (
            &["call", "socketio://127.0.0.1:1?tls=1&tls_cert=env:CARGO_PKG_NAME", "echo"],
            "tls_cert is an option of the other end, and this one dials",
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

/// The mistakes that a URL of each WebSocket wire can hold, and the one sentence that each is told by.
fn mistakes() -> Vec<(String, &'static str)> {
    let wires = [
        ("stonyx", "", "key=env:CARGO_PKG_NAME", "key"),
        ("socketio", "/realtime", "arguments=list", "auth"),
        ("hyperhq", "", "plugin=demo&challenge=env:CARGO_PKG_NAME", "challenge"),
    ];
    let mut all = vec![
        ("stonyx://127.0.0.1:1".to_owned(), "stonyx needs its shared key: key=env:NAME or key=file:PATH"),
        (
            "hyperhq://127.0.0.1:1?challenge=env:CARGO_PKG_NAME".to_owned(),
            "hyperhq needs the id of a plugin: plugin=ID",
        ),
        (
            "hyperhq://127.0.0.1:1?plugin=&challenge=env:CARGO_PKG_NAME".to_owned(),
            "hyperhq needs the id of a plugin: plugin=ID",
        ),
        (
            "hyperhq://127.0.0.1:1?plugin=demo".to_owned(),
            "hyperhq needs the challenge of a launch: challenge=env:NAME or challenge=file:PATH",
        ),
    ];
    for (wire, path, options, secret) in wires {
        for (place, told) in [
            ("127.0.0.1:http", "the port is not a number from 0 to 65535"),
            ("127.0.0.1:65536", "the port is not a number from 0 to 65535"),
            ("127.0.0.1", "the address is not host:port"),
            ("ann:hunter2@127.0.0.1:1", "a password cannot stand before the @ of a URL"),
        ] {
            all.push((format!("{wire}://{place}{path}?{options}"), told));
        }
        let url = format!("{wire}://127.0.0.1:1{path}?");
        // The option of the secret may be among the others already; then it is the one that is told twice.
        let others = if wire == "hyperhq" { "plugin=demo&" } else { "" };
        all.push((format!("{url}{options}&nope=1"), "has no option \"nope\""));
        all.push((
            format!("{url}{options}&{}", options.rsplit('&').next().unwrap_or(options)),
            "is given twice",
        ));
        for (value, told) in [
            ("env:POLYWIRE_TEST_NOT_SET", "the variable POLYWIRE_TEST_NOT_SET is not set"),
            ("env:", "env: names nothing; write env:NAME or file:PATH"),
            ("file:/no/such/secret", "cannot read the file /no/such/secret"),
            ("hunter2", "must be env:NAME or file:PATH; a secret is never taken from the command line"),
        ] {
            all.push((format!("{url}{others}{secret}={value}"), told));
        }
    }
    all
}

#[test]
fn every_verb_tells_a_wrong_url_of_every_websocket_wire_by_one_sentence() {
    for (url, told) in mistakes() {
        for verb in ["serve", "call", "emit", "listen", "bench"] {
            let args: &[&str] = if verb == "serve" { &[verb, &url] } else { &[verb, &url, "tick"] };
            let ran = polywire(args).ends(2);
            let mut lines = ran.stderr.lines();
            let sentence = lines.next().unwrap();
            assert!(sentence.starts_with("polywire: ") && sentence.contains(told), "{args:?}: {sentence}");
            // What there is besides is one line of advice.
            assert!(lines.next().is_none_or(|advice| advice.starts_with("  ")), "{args:?}: {}", ran.stderr);
            assert_eq!((lines.next(), &*ran.stdout), (None, ""), "{args:?}");
            assert!(!ran.stderr.contains("hunter2"), "{args:?}: {}", ran.stderr);
        }
    }
}

#[test]
fn a_variable_that_is_not_set_or_empty_is_named_for_every_secret_of_every_wire() {
    let registry = polywire_cli::adapters();
    let mut secrets = Vec::new();
    for wire in registry.names() {
        let options = registry.get(wire).unwrap().options().iter();
        let is_secret = |spec: &&OptionSpec| spec.takes == OptionKind::Secret;
        secrets.extend(options.filter(is_secret).map(|spec| (wire, spec.name)));
    }
    for known in [("stonyx", "key"), ("stonyx", "auth_data"), ("socketio", "auth"), ("hyperhq", "challenge")]
    {
        assert!(secrets.contains(&known), "{secrets:?}");
    }
    let variable = "POLYWIRE_TEST_VARIABLE";
    for (wire, secret) in secrets {
        let url = format!("{wire}://127.0.0.1:1?{secret}=env:{variable}");
        for (value, why) in [
            (None, format!("the variable {variable} is not set")),
            (Some(""), format!("the variable {variable} is empty")),
        ] {
            for args in [&["serve", &url][..], &["call", &url, "echo"]] {
                let ran = with_variable(variable, value, args).ends(2);
                let sentence = ran.stderr.lines().next().unwrap();
                assert_eq!(sentence, format!("polywire: {secret}: {why}"), "{args:?}");
                assert_eq!(ran.stdout, "", "{args:?}");
            }
        }
    }
}

#[test]
fn run_and_check_tell_a_wrong_endpoint_of_every_websocket_wire_by_its_line() {
    for (wire, options, told) in [
        ("stonyx", "key = \"hunter2\"", "`key` holds a secret in clear text"),
        ("stonyx", "key = \"env:POLYWIRE_TEST_NOT_SET\"", "POLYWIRE_TEST_NOT_SET is not set"),
        ("socketio", "auth = \"hunter2\"", "`auth` holds a secret in clear text"),
        ("socketio", "auth = \"file:/no/such/secret\"", "/no/such/secret"),
        ("hyperhq", "plugin = \"demo\"\nchallenge = \"hunter2\"", "`challenge` holds a secret in clear text"),
        ("hyperhq", "plugins = \"demo\"", "`plugin`"),
    ] {
        let text = format!(
            "[endpoint.out]\nprotocol = \"{wire}\"\nrole = \"client\"\naddress = \"127.0.0.1:1\"\n{options}\n"
        );
        let path = file("wrong-endpoint.toml", text.as_bytes());
        let path = path.to_str().unwrap();
        let checked = polywire(&["check", path]).ends(9);
        assert!(checked.stdout.contains(told), "{wire} {options}: {}", checked.stdout);
        assert!(checked.stdout.contains(&format!("{path}:")), "{}", checked.stdout);
        assert!(!checked.stdout.contains("hunter2"), "{}", checked.stdout);
        let ran = polywire(&["run", path]).ends(9);
        assert!(ran.stderr.contains("polywire check") && !ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
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
