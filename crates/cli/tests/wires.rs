//! `serve` and `call` on every wire: bodies come back as they went, and drains let calls end.

mod support;

use serde_json::json;
use support::{fed, file, polywire, serve, start};

#[test]
fn every_wire_serves_and_calls() {
    for wire in ["sockhop", "hpx"] {
        let (_running, url) = serve(&format!("{wire}://127.0.0.1:0"));
        let call = |route: &str, body: &str| polywire(&["call", &url, route, body]).ends(0).line();
        assert_eq!(call("echo", r#"{"value":[1,"two",null]}"#)["ok"], true, "{wire}");
        assert_eq!(call("add", r#"{"a":40,"b":2}"#)["body"], 42, "{wire}");
        assert_eq!(call("sleep", r#"{"ms":1}"#)["body"], json!({"ms": 1}), "{wire}");
        assert_eq!(
            call("reverse", if wire == "hpx" { r#"{"value":"abc"}"# } else { r#""abc""# })["body"],
            "cba"
        );
        let whoami = call("whoami", "{}");
        assert_eq!(whoami["body"]["wire"], wire);
        assert_eq!(whoami["body"]["guest"], true);
    }
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
