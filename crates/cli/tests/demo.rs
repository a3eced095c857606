//! `demo`, with the real binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot run has failed")]

mod support;

use polywire_core::{Adapter, Body, Client, Endpoint, Request, Response, Route, Router, Target};
use serde_json::{Value, json};
use support::{Running, polywire, start};

#[test]
fn the_demo_holds_on_every_wire_and_over_the_bridge_both_ways() {
    let ran = polywire(&["demo", "--once", "--json"]).ends(0);
    let rows: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for row in &rows {
        assert_eq!((&row["ok"], &row["failures"]), (&json!(true), &json!(0)), "{row}");
        assert!(row["calls"].as_u64().unwrap() > 0 && row["p99_us"].as_f64().unwrap() > 0.0, "{row}");
    }
    let has = |wire: &str, direction: &str| {
        rows.iter().any(|row| row["wire"] == wire && row["direction"] == direction)
    };
    let expected = [
        ("hpx", &["client asks"][..]),
        ("hyperhq", &["client asks", "server asks", "events back"]),
        ("socketio", &["client asks", "server asks", "events back"]),
        ("sockhop", &["client asks", "server asks", "events back"]),
        ("stonyx", &["client asks", "events back"]),
        ("sockhop > hpx", &["over the bridge"]),
        ("hpx > sockhop", &["over the bridge"]),
        ("stonyx > socketio", &["over the bridge"]),
        ("socketio > hyperhq", &["over the bridge"]),
        ("hyperhq > stonyx", &["over the bridge"]),
        ("hyperhq > socketio", &["server asks, bridged", "events bridged"]),
        ("sockhop > sockhop", &["events bridged"]),
        ("socketio > stonyx", &["events bridged"]),
        ("stonyx > hyperhq", &["events bridged"]),
    ];
    for (wire, directions) in expected {
        for direction in directions {
            assert!(has(wire, direction), "{wire} {direction}: {}", ran.stdout);
        }
    }
    assert_eq!(rows.len(), expected.iter().map(|(_, directions)| directions.len()).sum::<usize>());
}

#[test]
fn the_demo_prints_its_table_once_and_without_escapes_where_no_terminal_is() {
    let ran = polywire(&["demo", "--once"]).ends(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let heads = lines.iter().filter(|line| line.contains("p99")).count();
    assert!(heads == 1 && lines[0].contains("p99"), "{}", ran.stdout);
    assert!(lines.len() > 20 && lines[1..].iter().all(|line| line.starts_with(" ok ")), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\u{1b}'));
}

/// The address that the demo tells people to try `wire` at.
#[cfg(unix)]
fn tried(demo: &mut Running, wire: &str) -> String {
    let url = format!("try: polywire call {wire}://");
    let line = demo.says(&url);
    let rest = line.split_once(&url).unwrap().1;
    rest.split(' ').next().unwrap().to_owned()
}

#[cfg(unix)]
async fn dial(address: String) -> Client {
    let target = Target { address, ..Target::default() };
    let endpoint = Endpoint::new("sockhop", Router::new().build().unwrap());
    polywire_sockhop::ADAPTER.dial(target, endpoint).await.unwrap()
}

#[cfg(unix)]
fn request(route: &'static str, body: &Value) -> Request {
    Request::new(Route::from_static(route), Body::json(body).unwrap())
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_the_demo_with_0_once_what_runs_has_been_answered() {
    let mut demo = start(&["demo"]);
    let address = tried(&mut demo, "sockhop");
    let client = dial(address).await;
    let asked = json!({"ms": 700});
    let slow = client.caller().call(request("sleep", &asked));
    let (answer, ()) = tokio::join!(biased; slow, async {
        // Requests of one connection are taken in order: once this one is answered, the slow one runs.
        client.caller().call(request("echo", &Value::Null)).await.unwrap();
        demo.interrupt();
        demo.says("draining; a second signal stops at once");
    });
    assert_eq!(answer, Ok(Response::from(Body::json(&asked).unwrap())));
    assert_eq!(demo.wait().code(), Some(0));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_second_ctrl_c_waits_for_nothing() {
    let mut demo = start(&["demo"]);
    let address = tried(&mut demo, "sockhop");
    let client = dial(address).await;
    let slow = client.caller().call(request("sleep", &json!({"ms": 60_000})));
    let (answer, ()) = tokio::join!(biased; slow, async {
        client.caller().call(request("echo", &Value::Null)).await.unwrap();
        demo.interrupt();
        demo.says("draining; a second signal stops at once");
        demo.interrupt();
    });
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(demo.wait().code(), Some(0));
}

/// A terminal of this size: our end, and the end that a program writes to.
#[cfg(target_os = "linux")]
fn terminal(rows: u16, columns: u16) -> (std::fs::File, std::fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = std::fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&theirs, size).unwrap();
    (ours.into(), theirs)
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_terminal_the_table_is_redrawn_in_place_and_never_larger_than_the_window() {
    let (rows, columns) = (10, 50);
    let (ours, theirs) = terminal(rows, columns);
    let demo = support::start_on(&["demo"], theirs);
    let again = format!("\u{1b}[{}A\u{1b}[J", rows - 1);
    let mut drawings = support::read_until(ours, &again, 2);
    demo.interrupt();
    assert_eq!(demo.wait().code(), Some(0));

    let last = drawings.split_off(drawings.rfind(&again).unwrap());
    let drawings: Vec<&str> = drawings.split(&again).collect();
    assert_eq!((drawings.len(), last), (2, again));
    for drawing in drawings {
        let plain = ["\u{1b}[31m", "\u{1b}[32m", "\u{1b}[0m"]
            .iter()
            .fold(drawing.to_owned(), |text, colour| text.replace(colour, ""));
        let lines: Vec<&str> = plain.lines().collect();
        assert_eq!(lines.len(), usize::from(rows) - 1, "{plain}");
        assert!(
            lines.iter().all(|line| line.chars().count() <= usize::from(columns) && !line.contains('\u{1b}')),
            "{plain}"
        );
        assert!(lines[0].contains("direction") && lines[1].starts_with(" ok "), "{plain}");
    }
}
