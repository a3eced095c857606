//! `serve` and `call` over TLS, on every wire that has it: by a certificate that the URL names, and by the authorities of the system.

#![allow(clippy::unwrap_used, reason = "a test that cannot run has failed")]

mod support;

use support::{Running, file, polywire, start, trusting};

const WIRES: [&str; 4] = ["sockhop", "hpx", "stonyx", "socketio"];

/// A server of a wire with a certificate of its own for 127.0.0.1; the URL that reaches it, and the file of the certificate.
fn served(test: &str, wire: &str) -> (Running, String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let named = |name: &str, text: &str| {
        file(&format!("{test}-{wire}-{name}"), text.as_bytes()).display().to_string()
    };
    let (cert, key) = (named("cert", &made.cert.pem()), named("key", &made.signing_key.serialize_pem()));
    let shared = match wire {
        "stonyx" => format!("&key=file:{}", named("shared", "a key of the tests, long enough")),
        _ => String::new(),
    };
    let url = format!("{wire}://127.0.0.1:0?tls=1{shared}&tls_cert=file:{cert}&tls_key=file:{key}");
    let mut running = start(&["serve", &url]);
    let address = running.line()["address"].as_str().unwrap().to_owned();
    (running, format!("{wire}://{address}?tls=1{shared}"), cert)
}

#[test]
fn a_server_with_a_certificate_is_called_by_whoever_trusts_it() {
    for wire in WIRES {
        let (_running, url, cert) = served("trusted", wire);
        let named = format!("{url}&tls_ca=file:{cert}");
        assert_eq!(
            polywire(&["call", &named, "add", r#"{"a":40,"b":2}"#]).ends(0).line()["body"],
            42,
            "{wire}"
        );
        let trusted = trusting(&cert, &["call", &url, "add", r#"{"a":40,"b":2}"#]).ends(0);
        assert_eq!(trusted.line()["body"], 42, "{wire}: by the system");
    }
}

#[test]
fn whoever_does_not_trust_the_certificate_is_told_that_nothing_was_sent() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let other = file("other-cert", made.cert.pem().as_bytes()).display().to_string();
    for wire in WIRES {
        let (_running, url, _cert) = served("other", wire);
        let named = format!("{url}&tls_ca=file:{other}");
        for ran in
            [polywire(&["call", &named, "echo", "{}"]), trusting(&other, &["call", &url, "echo", "{}"])]
        {
            let ran = ran.ends(3);
            assert_eq!(ran.line()["outcome"], "not_sent", "{wire}");
            assert!(ran.stderr.contains("certificate"), "{wire}: {}", ran.stderr);
        }
    }
}

#[test]
fn a_system_that_trusts_nobody_is_told_with_the_way_out() {
    let empty = file("no-authority", b"").display().to_string();
    let ran = trusting(&empty, &["call", "socketio://127.0.0.1:1?tls=1", "echo"]).ends(2);
    assert!(ran.stderr.contains("names no authority to trust"), "{}", ran.stderr);
    assert!(ran.stderr.contains("name some by tls_ca"), "{}", ran.stderr);
}
