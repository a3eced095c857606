//! What the check of a bridge file finds: mistakes with their id, line and fix, loops, and what of a message is lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod toy;

#[allow(unreachable_pub, reason = "elsewhere it is a library's")]
#[path = "../../../tests/support/scratch.rs"]
mod scratch;

use polywire_bridge::{Config, Registry, Report, Severity, Source, check};
use polywire_core::{BinaryForm, Capabilities, Code, EmptyReply, EventForm, Particulars};
use toy::{FULL, PLAIN, Toy};

fn registry() -> Registry {
    let wordless = Capabilities { errors: polywire_core::Errors::Text, binary: BinaryForm::Plain, ..FULL };
    Registry::new()
        .with(Toy::new("full", FULL))
        .with(Toy::new("plain", PLAIN))
        .with(Toy::new("wordless", wordless))
        .with(Toy::new("small", Capabilities { max_route_bytes: 20, max_body_bytes: 1 << 10, ..FULL }))
        .with(Toy::new("odd", FULL).with(Particulars {
            client_events: EventForm::Requests,
            empty_reply: EmptyReply::Silence,
            null_client_request: "{}",
            silent_unserved: true,
            silent_refusal: true,
            code: |_| Code::Unknown,
            ..Particulars::default()
        }))
        .with(Toy::new("bare", FULL).with(Particulars {
            empty_request: Some("{}"),
            empty_push: Some("\"\""),
            null_client_request: "[]",
            ..Particulars::default()
        }))
        .with(
            Toy::new("lenient", FULL)
                .with(Particulars { alters: Some("NaN is read as null"), ..Particulars::default() }),
        )
        .with(Toy::new("choosy", FULL).with(Particulars {
            client_events: EventForm::Only(&["moved", "scanned"]),
            ..Particulars::default()
        }))
}

fn report(text: &str) -> Report {
    check(&Config::parse(Source::new("test.toml", text)), &registry())
}

/// A file in order, in which a test replaces a part.
const GOOD: &str = r#"[bridge]
node = "den-1"
drain = "30s"

[endpoint.robot]
protocol = "full"
role = "server"
listen = "127.0.0.1:50000"
mode = "auto"
ping_interval = "5s"

[endpoint.library]
protocol = "plain"
role = "client"
address = "127.0.0.1:7007"
prefix = "hpx."
connections = 4
required = true

[[route]]
name = "find"
from = { endpoint = "robot", match = "search" }
to = { endpoint = "library", call = "hpx.search_item" }
timeout = "8s"
wrap = "value"

[[route]]
name = "rest"
from = { endpoint = "robot", match = "lib.*", kind = "request" }
to = { endpoint = "library", call = "hpx.*" }
"#;

#[test]
fn a_good_file_has_no_error_and_no_warning() {
    let report = report(GOOD);
    assert_eq!((report.errors(), report.count(Severity::Warning)), (0, 0), "{}", report.to_text());
    assert_eq!((report.endpoints, report.routes.len()), (2, 2));
}

/// What is replaced by what, the finding and the line it must be in, and words that text or fix must have.
type Mistake = (&'static str, &'static str, &'static str, u32, &'static str);

const MISTAKES: &[Mistake] = &[
    ("node = \"den-1\"", "node = den-1", "E-SYNTAX", 2, ""),
    ("[bridge]", "[brigde]", "E-UNKNOWN-KEY", 1, "did you mean `bridge`?"),
    ("node = \"den-1\"", "nodes = \"den-1\"", "E-UNKNOWN-KEY", 2, "did you mean `node`?"),
    ("node = \"den-1\"", "node = \"\"", "E-VALUE", 2, "1 to 64 bytes"),
    ("node = \"den-1\"", "node = 1", "E-TYPE", 2, "should be text"),
    ("drain = \"30s\"", "drain = 30", "E-UNIT", 3, "drain = \"30s\""),
    ("drain = \"30s\"", "drain = 30", "E-UNIT", 3, "drain = 30 is no time"),
    ("drain = \"30s\"", "drain = \"30 parsecs\"", "E-UNIT", 3, "no time with a unit"),
    ("drain = \"30s\"", "drain = \"3h\"", "E-VALUE", 3, "at most 600s"),
    ("drain = \"30s\"", "max_memory_bytes = 512", "E-UNIT", 3, "\"512KiB\" or \"512MiB\""),
    ("drain = \"30s\"", "max_memory_bytes = \"1MiB\"", "E-VALUE", 3, "at least 16MiB"),
    ("drain = \"30s\"", "max_memory_bytes = true", "E-TYPE", 3, "max_memory_bytes = \"16MiB\""),
    ("protocol = \"full\"", "protocl = \"full\"", "E-MISSING-KEY", 5, "write protocol instead of `protocl`"),
    ("protocol = \"full\"", "protocol = \"ful\"", "E-PROTOCOL", 6, "did you mean `full`?"),
    ("role = \"server\"", "role = \"sever\"", "E-VALUE", 7, "did you mean `server`?"),
    ("protocol = \"full\"", "protocol = \"FULL\"", "E-PROTOCOL", 6, "did you mean `full`?"),
    ("role = \"server\"", "role = \"x\"", "E-VALUE", 7, "client, server write one of these words"),
    ("role = \"server\"\n", "\n", "E-MISSING-KEY", 5, "has no `role`"),
    ("listen = \"127", "address = \"127", "E-CONFLICT", 8, "write `listen`"),
    ("listen = \"127.0.0.1:50000\"", "listen = \"127.0.0.1\"", "E-VALUE", 8, "has no port"),
    ("listen = \"127.0.0.1:50000\"", "listen = \"127.0.0.1:99999\"", "E-VALUE", 8, "0 to 65535"),
    (
        "listen = \"127.0.0.1:50000\"",
        "listen = \"full://127.0.0.1:50000\"",
        "E-VALUE",
        8,
        "a host and a port",
    ),
    ("listen = \"127.0.0.1:50000\"", "listen = 50000", "E-TYPE", 8, "listen = \"127.0.0.1:50000\""),
    ("listen = \"127.0.0.1:50000\"", "listen = \"0.0.0.0:50000\"", "W-EXPOSURE", 8, "listen at 127.0.0.1"),
    ("mode = \"auto\"", "moode = \"auto\"", "E-UNKNOWN-KEY", 9, "did you mean `mode`?"),
    ("mode = \"auto\"", "mode = \"binray\"", "E-VALUE", 9, "did you mean `binary`?"),
    ("mode = \"auto\"", "password = \"swordfish\"", "E-SECRET-LITERAL", 9, "env:NAME"),
    ("mode = \"auto\"", "password = \"env:POLYWIRE_TEST_UNSET\"", "E-SECRET", 9, "set it, or name another"),
    ("mode = \"auto\"", "password = \"file:no/such.pass\"", "E-SECRET", 9, "put it there"),
    ("mode = \"auto\"", "max_frame_bytes = 16", "E-UNIT", 9, "\"16MiB\""),
    (
        "mode = \"auto\"",
        "max_frame_bytes = \"2GiB\"",
        "E-OPTION",
        9,
        "\"2GiB\" in [endpoint.robot] is not 1 KiB to 1 GiB",
    ),
    ("mode = \"auto\"", "max_frame_size = \"1MiB\"", "E-UNKNOWN-KEY", 9, "did you mean `max_frame_bytes`?"),
    ("mode = \"auto\"", "max_in_flight = \"5\"", "E-TYPE", 9, "write max_in_flight = 5"),
    ("mode = \"auto\"", "colour = \"red\"", "E-UNKNOWN-KEY", 9, "known here: protocol"),
    ("mode = \"auto\"", "guests = \"maybe\"", "E-TYPE", 9, "true or false"),
    ("mode = \"auto\"", "users = { ann = \"env:ANN\" }", "E-SECRET", 9, "ANN"),
    ("ping_interval = \"5s\"", "ping_interval = 5", "E-UNIT", 10, "ping_interval = \"5s\""),
    ("address = \"127.0.0.1:7007\"", "address = \"127.0.0.1:0\"", "E-VALUE", 15, "port 0"),
    ("connections = 4", "connections = \"4\"", "E-TYPE", 17, "whole number"),
    ("connections = 4", "connections = 0", "E-OPTION", 17, "1 to 64"),
    ("required = true", "required = \"yes\"", "E-TYPE", 18, "true or false"),
    ("name = \"rest\"", "name = \"find\"", "E-DUPLICATE", 28, "rename"),
    (
        "{ endpoint = \"robot\", match = \"search\" }",
        "{ endpoint = \"robto\", match = \"search\" }",
        "E-REFERENCE",
        22,
        "did you mean `robot`?",
    ),
    (
        "endpoint = \"robot\", match = \"search\"",
        "endpoint = \"x\", match = \"search\"",
        "E-REFERENCE",
        22,
        "add [endpoint.x]",
    ),
    ("[endpoint.robot]\n", "[[endpoint]]\n", "E-TYPE", 5, "write [endpoint.NAME], with one pair of brackets"),
    ("match = \"search\"", "mach = \"search\"", "E-UNKNOWN-KEY", 22, "did you mean `match`?"),
    ("match = \"search\"", "match = \"a*b*\"", "E-NAME", 22, "more than one `*`"),
    ("match = \"search\"", "match = \"ToyPing\"", "E-RESERVED", 20, "protocol uses it"),
    ("match = \"search\"", "match = \"search\", kind = \"evnt\"", "E-VALUE", 22, "did you mean `event`?"),
    ("call = \"hpx.search_item\"", "call = \"search_item\"", "E-PREFIX", 23, "hpx.search_item"),
    ("call = \"hpx.search_item\"", "call = \"hpx.*\"", "E-NAME", 23, "`match` has none"),
    (
        "call = \"hpx.search_item\"",
        "emit = \"hpx.search_item\"",
        "E-DIRECTION",
        20,
        "no events can go to `library`",
    ),
    ("call = \"hpx.search_item\"", "call = \"hpx.a\", emit = \"hpx.b\"", "E-CONFLICT", 23, "both"),
    ("timeout = \"8s\"", "timeout = 8", "E-UNIT", 24, "\"8s\""),
    ("wrap = \"value\"", "binary = \"base46\"", "E-VALUE", 25, "did you mean `base64`?"),
    ("wrap = \"value\"", "wrap = \"\"", "E-VALUE", 25, "name of a member"),
    ("match = \"search\"", "match = \"*\"", "E-SHADOWED", 27, "line 20"),
    (
        "{ endpoint = \"robot\", match = \"lib.*\", kind = \"request\" }",
        "\"robot\"",
        "E-TYPE",
        29,
        "endpoint and a name",
    ),
    (
        "[[route]]\nname = \"rest\"",
        "[route.rest]\nname = \"rest\"",
        "E-UNKNOWN-KEY",
        27,
        "unknown key `rest`",
    ),
    ("to = { endpoint = \"library\", call = \"hpx.*\" }", "", "E-MISSING-KEY", 27, "has no `to`"),
    (
        "[[route]]\nname = \"find\"",
        "[endpoint.idle]\nprotocol = \"full\"\nrole = \"client\"\naddress = \"127.0.0.1:9\"\n[[route]]\nname = \"find\"",
        "W-UNUSED",
        20,
        "no route uses endpoint `idle`",
    ),
    (
        "endpoint = \"robot\", match = \"lib.*\"",
        "endpoint = \"library\", match = \"hpx.*\"",
        "E-DIRECTION",
        27,
        "no requests ever come",
    ),
];

#[test]
fn every_seeded_mistake_is_found_with_its_line_and_a_fix() {
    for (good, bad, id, line, words) in MISTAKES {
        let text = GOOD.replacen(good, bad, 1);
        assert_ne!(text, GOOD, "{good}");
        let report = report(&text);
        let found =
            report.findings.iter().find(|finding| finding.problem.id() == *id && finding.line == *line);
        let shown = report.to_text();
        let Some(found) = found else { panic!("{bad}: no {id} in line {line}\n{shown}") };
        let place = format!("test.toml:{line}: ");
        assert!(shown.lines().any(|shown| shown.contains(&place) && shown.contains(id)), "{bad}: {shown}");
        assert!(!found.fix.is_empty() && !found.text.is_empty());
        assert!(format!("{} {}", found.text, found.fix).contains(words), "{bad}: {found:?}");
    }
}

#[test]
fn b17_a_file_that_is_no_toml_is_told_in_a_few_lines() {
    let lines = report(&"=\n".repeat(1 << 19));
    assert_eq!(lines.findings.len(), 21);
    assert!(lines.to_text().contains("more places where the TOML is broken"), "{}", lines.to_text());
    let line = report(&"=".repeat(1 << 20));
    let told: Vec<&str> = line.findings.iter().map(|finding| &*finding.text).collect();
    let once =
        ["extra `=`, expected nothing", "unquoted keys cannot be empty, expected letters, numbers, `-`, `_`"];
    assert_eq!(told, once, "the same is told once of a line");
}

#[test]
fn nothing_of_a_file_that_is_no_toml_is_called_in_order() {
    let broken = report(&GOOD.replacen("listen = \"127.0.0.1:50000\"", "listen = 127.0.0.1:50000", 1));
    assert!(broken.unreadable);
    let text = broken.to_text();
    assert!(text.starts_with("test.toml: not read any further than its TOML\n"), "{text}");
    assert!(!text.contains(" ok ") && text.contains(" unknown  references"), "{text}");
    let mut json = Vec::new();
    broken.write_json(&mut json).unwrap();
    assert!(String::from_utf8(json).unwrap().contains("\"unreadable\":true"));
    let missing = report("");
    assert!(!missing.unreadable && missing.to_text().contains(" ok       secrets"));
}

#[test]
fn an_endpoint_is_not_called_unused_while_a_route_cannot_be_read() {
    let unread = report(&GOOD.replace("endpoint = \"library\", call", "endpont = \"library\", call"));
    assert!(unread.errors() >= 2 && unread.routes.is_empty(), "no route can be read: {}", unread.to_text());
    assert_eq!(unread.count(Severity::Warning), 0, "{}", unread.to_text());
}

#[test]
fn bad_syntax_and_a_file_that_is_not_there_are_told_apart() {
    let ids = |text| report(text).findings.iter().map(|finding| finding.problem.id()).collect::<Vec<_>>();
    assert_eq!(ids("[[route"), ["E-SYNTAX"]);
    assert_eq!(ids(""), ["E-MISSING-KEY", "E-MISSING-KEY"]);
    let missing = Source::read("no/such/bridge.toml".as_ref()).unwrap_err();
    assert!(missing.to_string().starts_with("cannot read no/such/bridge.toml: "));
}

#[test]
fn b17_a_broken_line_that_is_repeated_ten_thousand_times_is_told_and_ends_nothing() {
    let table = "[[route]]\nfrom = { endpoint = \"a\", kind b\"\n\n";
    for (line, found) in [(table, 194), ("a = { b = [ } c\n", 65), ("a = [ }\n", 65), ("[", 1), ("a={", 1)] {
        let report = report(&line.repeat(10_000));
        let [finding] = &report.findings[..] else { panic!("{}", report.to_text()) };
        assert_eq!((finding.problem.id(), finding.line), ("E-SYNTAX", found), "{line:?}");
        assert!(finding.text.contains("more than 64 brackets are open"), "{}", finding.text);
    }
    let text = format!("x = \"{}\" # {}\n", "{".repeat(100), "[".repeat(100));
    assert!(!report(&text).to_text().contains("brackets"), "text and comments open nothing");
}

fn both_ways(routes: &str) -> Report {
    let text = format!(
        r#"
[endpoint.a]
protocol = "full"
role = "server"
listen = "127.0.0.1:1"
[endpoint.b]
protocol = "full"
role = "client"
address = "127.0.0.1:2"
[endpoint.c]
protocol = "full"
role = "client"
address = "localhost:1"
{routes}"#
    );
    report(&text)
}

fn loops(routes: &str) -> Vec<String> {
    let report = both_ways(routes);
    let found = report.findings.into_iter().filter(|finding| finding.problem.id() == "E-LOOP");
    found.map(|finding| finding.text).collect()
}

#[test]
fn b01_routes_that_form_a_loop_are_an_error_that_prints_the_way_round() {
    let one = "[[route]]\nfrom = { endpoint = \"a\", match = \"*\" }\nto = { endpoint = \"b\" }\n";
    let back = "[[route]]\nfrom = { endpoint = \"b\", match = \"x.*\" }\nto = { endpoint = \"a\" }\n";
    let other = back
        .replace("x.*", "y")
        .replace("to = { endpoint = \"a\" }", "to = { endpoint = \"a\", emit = \"z\" }");
    let only_x = one.replace("\"*\"", "\"x.1\"");
    assert_eq!(loops(one), [""; 0]);
    assert_eq!(
        loops(&format!("{one}{back}")),
        ["messages go round: a * (line 14) -> b x.* (line 17) -> a * (line 14)"]
    );
    assert_eq!(loops(&format!("{only_x}{other}")), [""; 0]);
    assert_eq!(loops(&format!("{one}allow_loop = true\n{back}")), [""; 0]);
    // Requests there, events back: no message goes round.
    let requests = one.replace("\"*\"", "\"*\", kind = \"request\"");
    let events = back.replace("\"x.*\"", "\"x.*\", kind = \"event\"");
    assert_eq!(loops(&format!("{requests}{events}")), [""; 0]);
    // `c` dials `a` of the same file: what leaves there comes in here.
    let own = "[[route]]\nfrom = { endpoint = \"a\", match = \"*\" }\nto = { endpoint = \"c\" }\n";
    assert_eq!(loops(own), ["messages go round: a * (line 14) -> a * (line 14)"]);
}

#[test]
fn losses_are_told_for_each_route_from_the_capabilities_of_both_ends() {
    let text = r#"
[endpoint.full]
protocol = "full"
role = "server"
listen = "127.0.0.1:0"
[endpoint.wordless]
protocol = "wordless"
role = "server"
listen = "127.0.0.1:0"
[endpoint.plain]
protocol = "plain"
role = "client"
address = "127.0.0.1:7007"
[[route]]
from = { endpoint = "full", match = "*" }
to = { endpoint = "plain" }
binary = "base64"
[[route]]
from = { endpoint = "wordless", match = "*" }
to = { endpoint = "full" }
"#;
    let report = report(text);
    assert_eq!((report.errors(), report.count(Severity::Warning)), (0, 0), "{}", report.to_text());
    let ids = |line: u32| {
        let found = report.findings.iter().filter(move |finding| finding.line == line);
        found.map(|finding| finding.problem.id()).collect::<Vec<_>>()
    };
    assert_eq!(ids(14), ["D-KIND", "D-ARGUMENTS", "D-BINARY", "D-CONCURRENCY"]);
    assert_eq!(ids(18), ["D-BINARY-TYPE", "D-ERRORS"]);
    let shown = report.to_text();
    assert!(shown.contains("bytes as base64: +33 %, 768 KiB usable [D-BINARY]"), "{shown}");
}

/// The findings of one route between two wires, each with its text.
fn between(from: &str, to: &str, matched: &str) -> Vec<String> {
    across((from, "a"), (to, "b"), matched)
}

/// The same, each wire with the endpoint that it is: `a` listens, `b` dials.
fn across(from: (&str, &str), to: (&str, &str), matched: &str) -> Vec<String> {
    let ((from, source), (to, target)) = (from, to);
    let (a, b) = if source == "a" { (from, to) } else { (to, from) };
    let report = report(&format!(
        r#"
[endpoint.a]
protocol = "{a}"
role = "server"
listen = "127.0.0.1:0"
[endpoint.b]
protocol = "{b}"
role = "client"
address = "127.0.0.1:7007"
[[route]]
from = {{ endpoint = "{source}", {matched} }}
to = {{ endpoint = "{target}" }}
"#
    ));
    report.findings.iter().map(|finding| format!("{} {}", finding.problem, finding.text)).collect()
}

#[test]
fn what_a_wire_does_besides_is_told_too() {
    let all = "match = \"*\"";
    assert_eq!(
        between("full", "odd", all),
        [
            "D-EMPTY request: null becomes {}",
            "D-EVENTS event: odd takes them for requests, and their answers come back as events",
            "D-EMPTY reply: a reply without a body never comes: the caller waits until its deadline",
            "D-ERRORS errors: of the codes, the other wire tells only unknown",
            "D-ERRORS errors: a name that nobody serves there is not answered: the caller waits until its deadline",
            "D-ERRORS errors: a wrong secret of ours is refused there without a word, as if the connection were lost",
        ]
    );
    assert_eq!(
        between("odd", "full", all),
        [
            "D-EMPTY reply: a reply without a body becomes null",
            "D-ERRORS errors: of the codes, only unknown reach the caller",
        ]
    );
    assert_eq!(
        between("odd", "full", "match = \"*\", kind = \"event\""),
        ["E-DIRECTION no events ever come from `a`: those of odd clients arrive as requests",]
    );
    let requests = "match = \"*\", kind = \"request\"";
    let [empty, null] =
        ["D-EMPTY request: a missing body becomes {}", "D-EMPTY request: null becomes []"].map(str::to_owned);
    assert_eq!(between("full", "bare", requests), [empty.clone(), null]);
    assert_eq!(between("bare", "full", requests), [""; 0], "they have become it on the way to the bridge");
    let back = across(("full", "b"), ("bare", "a"), requests);
    assert_eq!(back, [empty], "clients are asked with null as it is");
    let (events, told) = ("match = \"*\", kind = \"event\"", "D-EMPTY event: a missing body becomes");
    assert_eq!(
        between("full", "bare", events),
        [format!("{told} {{}}")],
        "those of who dials are as requests"
    );
    assert_eq!(across(("full", "b"), ("bare", "a"), events), [format!("{told} \"\"")]);
    assert_eq!(between("bare", "full", events), [""; 0]);
    assert_eq!(between("bare", "bare", events), [""; 0], "they have become it on the way to the bridge");
    assert_eq!(across(("bare", "b"), ("full", "a"), events), [""; 0]);
    let choosy = "D-EVENT-NAMES event: only these are heard over choosy: moved, scanned";
    for (matched, found) in [
        (all, vec![choosy]),
        ("match = \"ticked\", kind = \"event\"", vec![choosy]),
        ("match = \"moved\", kind = \"event\"", vec![]),
    ] {
        assert_eq!(between("full", "choosy", matched), found, "{matched}");
    }
}

#[test]
fn what_is_too_large_for_the_other_wire_is_told() {
    let (bodies, names) = ("bodies above 1 KiB are refused", "names above 20 bytes are refused");
    let request = |what: &str| format!("D-SIZE request: {what}");
    assert_eq!(between("full", "small", "match = \"*\""), [request(bodies), request(names)]);
    assert_eq!(between("full", "small", "match = \"exact\""), [request(bodies)]);
    assert_eq!(between("small", "full", "match = \"*\""), [format!("D-SIZE reply: {bodies}")]);
}

#[test]
fn values_that_an_option_changes_are_told_where_they_come_in() {
    let all = "match = \"*\"";
    assert_eq!(between("full", "lenient", all), ["D-VALUES reply: on b NaN is read as null"]);
    assert_eq!(between("lenient", "full", all), ["D-VALUES request: on a NaN is read as null"]);
}

#[test]
fn strict_makes_warnings_errors_and_json_lines_carry_the_ids() {
    let text = GOOD.replace("127.0.0.1:50000", "0.0.0.0:50000");
    let lax = report(&text);
    assert_eq!(lax.errors(), 0);
    let strict = lax.strict();
    assert_eq!(strict.errors(), 1);
    let mut out = Vec::new();
    strict.write_json(&mut out).unwrap();
    let lines: Vec<serde_json::Value> =
        String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let exposure = lines.iter().find(|line| line["id"] == "W-EXPOSURE").unwrap();
    assert_eq!(exposure["line"], 8);
    assert_eq!(exposure["severity"], "error");
    assert_eq!(lines.last().unwrap()["errors"], 1);
}

#[cfg(unix)]
#[test]
fn b17_a_secret_that_others_may_read_is_a_warning_and_never_shown() {
    use std::os::unix::fs::PermissionsExt;
    let file = scratch::scratch("robot.pass");
    let folder = file.parent().unwrap();
    std::fs::write(&file, "swordfish\n").unwrap();
    let text = GOOD.replace("mode = \"auto\"", "password = \"file:robot.pass\"");
    let checked = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let source = Source::new("test.toml", text.as_str()).in_folder(folder);
        check(&Config::parse(source), &registry())
    };
    let open = checked(0o644);
    let closed = checked(0o600);
    assert_eq!((open.errors(), open.count(Severity::Warning)), (0, 1), "{}", open.to_text());
    assert_eq!((closed.errors(), closed.count(Severity::Warning)), (0, 0), "{}", closed.to_text());
    assert!(open.to_text().contains("mode 0644") && !open.to_text().contains("swordfish"));
}

#[test]
fn b17_a_large_file_is_checked_in_linear_time_or_refused_by_a_limit() {
    let ends = GOOD.split("[[route]]").next().unwrap();
    let routes = |count: usize| {
        let route = |n| {
            format!(
                "[[route]]\nfrom = {{ endpoint = \"robot\", match = \"r{n}\" }}\nto = {{ endpoint = \"library\", call = \"hpx.r{n}\" }}\n"
            )
        };
        (0..count).map(route).collect::<String>()
    };
    let many = report(&format!("{ends}{}", routes(10_000)));
    assert_eq!((many.errors(), many.routes.len()), (0, 10_000));
    let more = report(&format!("{ends}{}", routes(10_001)));
    assert!(more.findings.iter().any(|finding| finding.problem.id() == "E-LIMIT"));
    let deep = format!("x = {}", "[".repeat(100_000));
    assert!(report(&deep).errors() > 0);
}

#[test]
fn the_file_on_the_front_page_is_a_good_one() {
    let page = include_str!("../src/lib.rs");
    let inside = page.lines().skip_while(|line| *line != "//! ```toml").skip(1);
    let lines = inside.take_while(|line| *line != "//! ```").map(|line| line.trim_start_matches("//!"));
    let text: Vec<&str> = lines.collect();
    let adapters = Registry::new().with(Toy::new("sockhop", FULL)).with(Toy::new("hpx", PLAIN));
    let report = check(&Config::parse(Source::new("page.toml", text.join("\n"))), &adapters);
    let ids: Vec<&str> = report.findings.iter().map(|finding| finding.problem.id()).collect();
    assert!(ids.contains(&"E-SECRET"), "the password is not beside this test: {}", report.to_text());
    assert_eq!((report.errors(), report.count(Severity::Warning)), (1, 0), "{}", report.to_text());
}
