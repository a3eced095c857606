//! `demo`, `run` and `check`, with the real binary.

mod support;

use serde_json::{Value, json};
use support::{file, polywire, serve, start};

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
fn the_demo_prints_a_table_without_colour_where_no_terminal_is() {
    let ran = polywire(&["demo", "--once"]).ends(0);
    assert!(ran.stdout.starts_with(" wire"), "{}", ran.stdout);
    assert!(ran.stdout.contains("p99") && ran.stdout.lines().skip(1).all(|line| line.ends_with("ok")));
    assert!(!ran.stdout.contains('\u{1b}'));
}

#[cfg(unix)]
#[test]
fn the_demo_serves_on_until_a_signal() {
    let mut running = start(&["demo"]);
    while !running.text().starts_with(" hpx > sockhop") {}
    running.terminate();
    assert_eq!(running.wait().code(), Some(0));
}

fn bridge(library: &str) -> String {
    format!(
        r#"
        [endpoint.workers]
        protocol = "sockhop"
        role = "server"
        listen = "127.0.0.1:0"

        [endpoint.library]
        protocol = "hpx"
        role = "client"
        address = "{library}"

        [[route]]
        from = {{ endpoint = "workers", match = "*" }}
        to = {{ endpoint = "library" }}
        wrap = "value"
        "#
    )
}

#[cfg(unix)]
#[test]
fn run_says_where_it_listens_carries_calls_and_drains() {
    let (_library, url) = serve("hpx://127.0.0.1:0");
    let path = file("bridge.toml", bridge(url.trim_start_matches("hpx://")).as_bytes());
    let mut running = start(&["run", path.to_str().unwrap()]);
    let line = running.line();
    assert_eq!((&line["endpoint"], &line["protocol"]), (&json!("workers"), &json!("sockhop")));
    let url = format!("sockhop://{}", line["address"].as_str().unwrap());
    assert_eq!(
        polywire(&["call", &url, "echo", r#"[9007199254740993]"#]).ends(0).stdout,
        "{\"ok\":true,\"body\":[9007199254740993]}\n"
    );
    running.terminate();
    assert_eq!(running.wait().code(), Some(0));
}

#[test]
fn check_is_9_for_a_file_with_errors_and_names_line_and_fix() {
    let good = file("good.toml", bridge("127.0.0.1:7007").as_bytes());
    let ran = polywire(&["check", good.to_str().unwrap()]).ends(0);
    assert!(ran.stdout.contains("0 errors"), "{}", ran.stdout);

    let bad = bridge("127.0.0.1:7007").replace("match =", "mach =").replace("address =", "adress =");
    let path = file("bad.toml", bad.as_bytes());
    let bad = path.to_str().unwrap();
    let ran = polywire(&["check", bad]).ends(9);
    assert!(ran.stdout.contains("`match`") && ran.stdout.contains(&format!("{bad}:13")), "{}", ran.stdout);
    let ran = polywire(&["check", bad, "--json"]).ends(9);
    for line in ran.stdout.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    assert!(ran.stdout.contains("E-UNKNOWN-KEY"), "{}", ran.stdout);
    assert!(polywire(&["run", bad]).ends(9).stderr.contains("polywire check"));
}

#[test]
fn a_warning_is_an_error_when_strict() {
    let open = bridge("127.0.0.1:7007").replace("127.0.0.1:0", "0.0.0.0:0");
    let path = file("open.toml", open.as_bytes());
    polywire(&["check", path.to_str().unwrap()]).ends(0);
    polywire(&["check", path.to_str().unwrap(), "--strict"]).ends(9);
}
