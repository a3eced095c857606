//! `serve` and `call` on every wire: bodies come back as they went, and drains let calls end.

#![allow(clippy::unwrap_used, reason = "a test that cannot run has failed")]

mod support;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;

use serde_json::json;
use support::{Running, fed, file, polywire, serve, start};

/// What follows the address of a wire: where it is and what it is spoken with.
fn options(wire: &str) -> String {
    let secret = |name: &str, text: &str| format!("file:{}", file(name, text.as_bytes()).display());
    match wire {
        "stonyx" => format!("?key={}", secret("key", "a key of the tests, long enough")),
        "stonyx, plain" => format!("?key={}&encryption=off", secret("plain-key", "a key of the tests")),
        "socketio" => format!("/realtime?auth={}", secret("auth", r#"{"token":"of the tests"}"#)),
        "hyperhq" => format!("?plugin=demo&challenge={}", secret("challenge", "a challenge of the tests")),
        _ => String::new(),
    }
}

const WIRES: [&str; 6] = ["sockhop", "hpx", "stonyx", "stonyx, plain", "socketio", "hyperhq"];

/// The URL with one more option.
fn with(url: &str, option: &str) -> String {
    let first = if url.contains('?') { '&' } else { '?' };
    format!("{url}{first}{option}")
}

/// Serves the demo service on a wire; the URL to reach it, options and all.
fn served(wire: &str) -> (Running, String) {
    served_at(wire, str::to_owned)
}

/// The same at what this makes of the URL to listen at.
fn served_at(wire: &str, listening: impl Fn(&str) -> String) -> (Running, String) {
    let (scheme, options) = (wire.split(',').next().unwrap(), options(wire));
    // What a client logs in with is nothing to a server of Socket.IO.
    let theirs = options.split(if scheme == "socketio" { '?' } else { '#' }).next().unwrap();
    let mut running = start(&["serve", &listening(&format!("{scheme}://127.0.0.1:0{theirs}"))]);
    let address = running.line()["address"].as_str().unwrap().to_owned();
    (running, format!("{scheme}://{address}{options}"))
}

#[test]
fn every_wire_serves_and_calls() {
    for wire in WIRES {
        let (_running, url) = served(wire);
        let call = |route: &str, body: &str| polywire(&["call", &url, route, body]).ends(0).line();
        assert_eq!(call("echo", r#"{"value":[1,"two",null]}"#)["ok"], true, "{wire}");
        assert_eq!(call("add", r#"{"a":40,"b":2}"#)["body"], 42, "{wire}");
        assert_eq!(call("sleep", r#"{"ms":1}"#)["body"], json!({"ms": 1}), "{wire}");
        let text = if wire == "hpx" { r#"{"value":"abc"}"# } else { r#""abc""# };
        assert_eq!(call("reverse", text)["body"], "cba", "{wire}");
        let whoami = call("whoami", "{}");
        assert!(url.starts_with(whoami["body"]["wire"].as_str().unwrap()), "{wire}");
    }
}

#[test]
fn every_wire_emits_listens_and_measures() {
    for wire in WIRES {
        let (_running, url) = served(wire);
        let counted = polywire(&["bench", &url, "echo", "{}", "-n", "50", "-c", "4"]).ends(0).line();
        assert_eq!((&counted["answered"], &counted["failed"]), (&json!(50), &json!(0)), "{wire}");
        if wire == "hpx" {
            polywire(&["emit", &url, "tick", "{}"]).ends(2);
            continue;
        }
        let told = polywire(&["emit", &url, "thumbnail:created", "{}"]).ends(0);
        assert_eq!((told.line(), told.stderr.as_str()), (json!({"ok": true}), ""), "{wire}");
        // The demo service answers `emit` with events to whoever asks, so a listener that asks for nothing hears none.
        polywire(&["listen", &url, "tick", "--for", "1ms"]).ends(0);
        let ran = polywire(&["listen", &url, "tick", "-n", "1", "--for", "1ms"]).ends(4);
        assert!(ran.stderr.contains("0 of 1 events"), "{wire}: {}", ran.stderr);
    }
}

#[test]
fn a_limit_in_the_url_holds_on_every_wire_at_both_ends_and_the_dialling_ends_refusal_calls_it_by_that_name() {
    let body = format!("{{\"value\":\"{}\"}}", "x".repeat(3_000));
    for wire in WIRES {
        let (_running, url) = served(wire);
        polywire(&["call", &url, "echo", &body]).ends(0);
        let ran = polywire(&["call", &with(&url, "max_frame_bytes=2KiB"), "echo", &body]).ends(7);
        assert!(ran.stderr.contains("exceeds max_frame_bytes = 2048"), "{wire}: {}", ran.stderr);
        let ran = polywire(&["call", &with(&url, "max_frame_bytes=2"), "echo"]).ends(2);
        assert!(ran.stderr.contains("max_frame_bytes"), "{wire}: {}", ran.stderr);

        let (_running, url) = served_at(wire, |url| with(url, "max_frame_bytes=2KiB"));
        let ran = polywire(&["call", &url, "echo", &body, "--timeout", "5s"]);
        // Most wires can only hang up; Socket.IO has told its clients before.
        let told = ["the peer closed the connection", "exceeds maxPayload = 2048 of the server"];
        assert!(told.iter().any(|told| ran.stderr.contains(told)), "{wire}: {ran:?}");
        // That one alone was turned down.
        polywire(&["call", &url, "echo", r#"{"value":"small"}"#]).ends(0);
    }
}

#[test]
fn what_a_wire_takes_only_by_name_is_said() {
    let (_running, url) = served("hyperhq");
    let ran = polywire(&["listen", &url, "tick*"]).ends(2);
    assert!(ran.stderr.contains("only events that are asked for by name"), "{}", ran.stderr);
    let ran = polywire(&["emit", &url, "tick", "{}"]).ends(0);
    assert!(ran.stderr.contains("thumbnail:created, thumbnail:progress"), "{}", ran.stderr);
}

#[test]
fn a_login_that_is_refused_is_5_on_every_wire_that_has_one() {
    for (wire, wrong) in [
        ("stonyx", "another key of the tests, as long"),
        ("stonyx, plain", "another key"),
        ("hyperhq", "another challenge"),
    ] {
        let (_running, url) = served(wire);
        let path = file("wrong", wrong.as_bytes());
        let secret = url.split("file:").nth(1).unwrap().split('&').next().unwrap();
        let refused = url.replace(secret, path.to_str().unwrap());
        for verb in ["call", "emit", "bench"] {
            let ran = polywire(&[verb, &refused, "echo", "{}"]).ends(5);
            assert!(ran.stderr.contains("login refused") && !ran.stderr.contains(wrong), "{}", ran.stderr);
        }
        polywire(&["listen", &refused, "tick"]).ends(5);
        polywire(&["call", &url, "echo", "{}"]).ends(0);
    }
    let (_running, url) = served("socketio");
    let elsewhere = url.replace("/realtime", "/elsewhere");
    assert!(polywire(&["call", &elsewhere, "echo"]).ends(5).stderr.contains("Invalid namespace"));
}

#[test]
fn a_body_is_printed_byte_for_byte() {
    let text =
        r#"{"z":9007199254740993,"a":[1.0,1e2,-0.0],"s":"\u00e9\ud800 é 🙂 <EOF>","n":18446744073709551615}"#;
    let (_sockhop, url) = serve("sockhop://127.0.0.1:0");
    let expected = format!("{{\"ok\":true,\"body\":{text}}}\n");
    assert_eq!(polywire(&["call", &url, "echo", text]).ends(0).stdout, expected);
    assert_eq!(polywire(&["call", &url, "any other name", text]).ends(0).stdout, expected);
    assert_eq!(fed(&["call", &url, "echo", "-"], text.as_bytes()).ends(0).stdout, expected);
    let path = file("body.json", text.as_bytes());
    assert_eq!(polywire(&["call", &url, "echo", &format!("@{}", path.display())]).ends(0).stdout, expected);

    let (_hpx, url) = serve("hpx://127.0.0.1:0");
    let arguments = format!("{{\"value\":{text}}}");
    let printed = polywire(&["call", &url, "echo", &arguments]).ends(0).stdout;
    // `<` of the delimiter is escaped on this wire, as its framing forces.
    assert_eq!(printed.replace(r"\u003c", "<").replace(r"\u003C", "<"), expected);
}

#[test]
fn bytes_go_with_their_type_and_into_a_file() {
    let (_running, url) = serve("sockhop://127.0.0.1:0");
    let bytes: Vec<u8> = (0..=255).collect();
    let path = file("bytes", &bytes);
    let source = format!("@{}", path.display());
    let line = polywire(&["call", &url, "Pose", "--type", "Pose", "--bytes", &source]).ends(0).line();
    assert_eq!(line["binary"]["type"], "Pose");
    assert!(line["binary"]["b64"].as_str().unwrap().starts_with("AAECAwQF"));

    let output = file("output", b"");
    let name = output.to_str().unwrap();
    // On this wire the type of a message is its route, so bytes have the name of the route they are sent to.
    let args = ["call", &url, "reverse", "--bytes", &source, "--output", name];
    let line = polywire(&args).ends(0).line();
    assert_eq!((&line["bytes"], &line["type"]), (&json!(256), &json!("reverse")));
    let reversed: Vec<u8> = (0..=255).rev().collect();
    assert_eq!(std::fs::read(output).unwrap(), reversed);
}

#[test]
fn one_run_serves_several_urls() {
    let mut running = start(&["serve", "sockhop://127.0.0.1:0", "hpx://127.0.0.1:0"]);
    for wire in ["sockhop", "hpx"] {
        let line = running.line();
        assert_eq!(line["listening"], wire);
        let url = line["url"].as_str().unwrap();
        assert!(url.ends_with(line["address"].as_str().unwrap()));
        polywire(&["call", url, "echo", "{}"]).ends(0);
    }
}

#[cfg(unix)]
#[test]
fn a_socket_path_is_served_and_called() {
    let path = file("x.sock", b"");
    std::fs::remove_file(&path).unwrap();
    let (_running, url) = serve(&format!("sockhop+unix://{}", path.display()));
    assert_eq!(polywire(&["call", &url, "echo", "7"]).ends(0).line()["body"], 7);
}

#[cfg(unix)]
#[test]
fn a_signal_drains_and_the_exit_code_is_0() {
    for wire in ["sockhop", "hpx"] {
        let (running, url) = serve(&format!("{wire}://127.0.0.1:0"));
        polywire(&["call", &url, "echo", "{}"]).ends(0);
        running.terminate();
        assert_eq!(running.wait().code(), Some(0), "{wire}");
        polywire(&["call", &url, "echo", "{}"]).ends(3);
    }
}

/// A server that hears what is asked for, and hangs up.
#[test]
fn the_path_of_a_stonyx_url_is_asked_for_as_it_stands_there() {
    for (path, asked) in [
        ("", "/"),
        ("/", "/"),
        ("/chat/", "/chat/"),
        ("/a%20b/%C3%A9", "/a%20b/%C3%A9"),
        ("/a%3Fb=1", "/a?b=1"),
        ("/x%0D%0AHost:%20elsewhere", "/x%0D%0AHost:%20elsewhere"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("stonyx://{}{path}{}", listener.local_addr().unwrap(), options("stonyx"));
        let hearing = std::thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(listener.accept().unwrap().0).read_line(&mut line).unwrap();
            line
        });
        polywire(&["call", &url, "echo"]).ends(3);
        assert_eq!(hearing.join().unwrap(), format!("GET {asked} HTTP/1.1\r\n"));
    }
}

/// What an endpoint of a bridge file says where a URL has these options.
fn endpoint(wire: &str, listens: bool) -> String {
    let options = options(wire);
    let (path, query) = options.split_once('?').unwrap_or((&*options, ""));
    let mut text = format!("protocol = \"{}\"\n", wire.split(',').next().unwrap());
    if !path.is_empty() {
        text.push_str(&format!("path = \"{path}\"\n"));
    }
    for (name, value) in query.split('&').filter_map(|option| option.split_once('=')) {
        if !(listens && name == "auth") {
            text.push_str(&format!("{name} = \"{value}\"\n"));
        }
    }
    if listens && wire == "hpx" {
        text.push_str("guests = true\n");
    }
    text
}

#[test]
fn every_wire_is_checked_and_run() {
    for wire in WIRES {
        let (_upstream, url) = served(wire);
        let (scheme, rest) = url.split_once("://").unwrap();
        let address = rest.split(['/', '?']).next().unwrap();
        let (inside, outside) = (endpoint(wire, true), endpoint(wire, false));
        let text = format!(
            "[endpoint.in]\n{inside}role = \"server\"\nlisten = \"127.0.0.1:0\"\n\n\
             [endpoint.out]\n{outside}role = \"client\"\naddress = \"{address}\"\n\n\
             [[route]]\nfrom = {{ endpoint = \"in\", match = \"*\" }}\nto = {{ endpoint = \"out\" }}\n"
        );
        let path = file("every.toml", text.as_bytes());
        let path = path.to_str().unwrap();
        let checked = polywire(&["check", path]).ends(0);
        assert!(checked.stdout.contains("0 errors"), "{wire}: {}", checked.stdout);
        let mut running = start(&["run", path]);
        let line = running.line();
        assert_eq!((&line["endpoint"], &line["protocol"]), (&json!("in"), &json!(scheme)), "{wire}");
        let through = url.replace(address, line["address"].as_str().unwrap());
        let answer = polywire(&["call", &through, "add", r#"{"a":40,"b":2}"#]).ends(0).line();
        assert_eq!(answer, json!({"ok": true, "body": 42}), "{wire}");
    }
}
