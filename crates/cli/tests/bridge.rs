//! `run` and `check`, with the real binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot run has failed")]

mod support;

use serde_json::{Value, json};
use support::{file, polywire, serve, start};

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

/// A bridge to a library where `alice` has the password of this file.
#[cfg(unix)]
fn bridge_of(library: &str, password: &std::path::Path) -> String {
    let login = format!("role = \"client\"\nuser = \"alice\"\npassword = \"file:{}\"", password.display());
    bridge(library.trim_start_matches("hpx://")).replace("role = \"client\"", &login)
}

#[cfg(unix)]
fn password(name: &str, text: &str) -> std::path::PathBuf {
    let path = file(name, text.as_bytes());
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

#[cfg(unix)]
#[test]
fn run_tells_the_operator_and_its_callers_that_an_upstream_refuses_the_login() {
    let (right, wrong) = (password("right", "s3cret"), password("wrong", "guessed-wr0ng"));
    let (_library, url) = serve(&format!("hpx://alice@127.0.0.1:0?password=file:{}", right.display()));
    let text = bridge_of(&url, &wrong).replace("wrap =", "timeout = \"300ms\"\nwrap =");
    let path = file("refused.toml", text.as_bytes());
    let mut running = start(&["run", path.to_str().unwrap()]);
    let url = format!("sockhop://{}", running.line()["address"].as_str().unwrap());
    let line = running.says("endpoint out");
    for words in ["WARN", "login refused: ", "; tries again within 30s", "endpoint=library"] {
        assert!(line.contains(words), "{line}");
    }
    assert!(!line.contains("guessed-wr0ng"), "{line}");
    let told = polywire(&["call", &url, "echo", "{}"]).ends(4).line();
    assert_eq!((&told["outcome"], &told["retry"]), (&json!("failure"), &json!("safe")), "{told}");
    let message = told["message"].as_str().unwrap();
    assert!(message.ends_with("is not connected, it refuses the login of the bridge"), "{message}");
}

#[cfg(unix)]
#[test]
fn run_tells_when_an_upstream_is_lost_and_when_it_is_back() {
    let right = password("key", "s3cret");
    let serving = |place: &str| serve(&format!("hpx://alice@{place}?password=file:{}", right.display()));
    let (library, at) = serving("127.0.0.1:0");
    let path = file("lost.toml", bridge_of(&at, &right).as_bytes());
    let mut running = start(&["-v", "run", path.to_str().unwrap()]);
    let url = format!("sockhop://{}", running.line()["address"].as_str().unwrap());
    polywire(&["call", &url, "echo", "{}"]).ends(0);
    drop(library);
    let line = running.says("endpoint out");
    assert!(line.contains("WARN") && line.contains("tries again within 30s"), "{line}");
    let (_library, _) = serving(at.trim_start_matches("hpx://"));
    let line = running.says("endpoint back after");
    assert!(line.contains("WARN") && line.contains("endpoint=library"), "{line}");
    polywire(&["call", &url, "echo", "{}"]).ends(0);
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
    let one = bridge("127.0.0.1:7007").replace("match =", "match = \"x\", mach =");
    let ran = polywire(&["check", file("one.toml", one.as_bytes()).to_str().unwrap()]).ends(9);
    assert!(ran.stderr.ends_with(" has 1 error\n"), "{}", ran.stderr);
}

#[test]
fn the_bridge_file_of_the_demo_is_sound_on_its_own_and_a_wrong_option_of_any_wire_is_named() {
    let key = file("demo-key", b"a key of the tests, long enough\n");
    #[cfg(unix)]
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let text = include_str!("../../../examples/demo.toml");
    let text = text.replace("env:POLYWIRE_DEMO_KEY", &format!("file:{}", key.display()));
    let checked = |text: &str| {
        let path = file("demo.toml", text.as_bytes());
        polywire(&["check", path.to_str().unwrap(), "--strict"])
    };
    assert!(checked(&text).ends(0).stdout.contains("0 errors, 0 warnings"));
    for (right, wrong, words) in [
        ("errors_in_reply = true", "encryption = \"yes\"", "encryption = \"yes\" is not one of: on, off"),
        ("events    = \"pose\"", "aliases = \"often\"", "`aliases` is text, which should be true or false"),
        (
            "address  = \"127.0.0.1:3000\"",
            "address = \"127.0.0.1:3000\"\ntransport = \"polling\"",
            "`transports`",
        ),
        ("guests   = true", "guest = true", "`guests`"),
        ("key      = \"file:", "key = \"", "holds a secret in clear text"),
    ] {
        let ran = checked(&text.replacen(right, wrong, 1)).ends(9);
        assert!(ran.stdout.contains(words), "{wrong}: {}", ran.stdout);
    }
}

#[test]
fn the_pairs_are_told_as_a_table_and_as_lines() {
    let table = polywire(&["check", "--pairs"]).ends(0).stdout;
    assert_eq!(table.lines().count(), 2 + 25, "{table}");
    let lines = polywire(&["check", "--pairs", "--json"]).ends(0).stdout;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 25 * 4);
    let of = |from: &str, to: &str, way: &str| {
        lines.iter().find(|line| line["from"] == from && line["to"] == to && line["way"] == way).unwrap()
    };
    assert_eq!(of("socketio", "socketio", "events")["lost"], json!([]));
    let lost = json!(["event: a missing body becomes {} [D-EMPTY]"]);
    assert_eq!(of("socketio", "sockhop", "events")["lost"], lost);
    let why = of("sockhop", "hpx", "events");
    assert_eq!(
        (&why["carried"], why["why"].as_str()),
        (&json!(false), Some("no events can go to `out`: hpx carries none that way"))
    );
    polywire(&["check", "--pairs", "bridge.toml"]).ends(2);
}

#[test]
fn a_warning_is_an_error_when_strict() {
    let open = bridge("127.0.0.1:7007").replace("127.0.0.1:0", "0.0.0.0:0");
    let path = file("open.toml", open.as_bytes());
    polywire(&["check", path.to_str().unwrap()]).ends(0);
    polywire(&["check", path.to_str().unwrap(), "--strict"]).ends(9);
}
