//! What the 2018 server answered to valid, odd and malformed input, against what we answer.
//!
//! Every row answers the same, but for those of `server_edge_differences.json`, which says what we answer and why.

use super::*;

/// A reply without what differs between two runs: `session data` or `session error CODE`, with `$S` for the session of the
/// case and `$N` for another one. Function errors keep their number; words are free.
fn plain(reply: &Value, own: &str) -> String {
    if let Some(word) = reply.as_str() {
        return word.to_owned();
    }
    let session = match reply["session"].as_str().unwrap() {
        "" => "\"\"",
        "$S" => "$S",
        session if session == own => "$S",
        _ => "$N",
    };
    if let Some(error) = reply.get("error") {
        assert_eq!(reply["data"], Value::Null);
        return format!("{session} error {}", error["code"]);
    }
    let mut data = reply["data"].clone();
    for entry in data.as_array_mut().into_iter().flatten() {
        if let Some(error) = entry.get_mut("error") {
            *error = error["code"].clone();
        }
    }
    format!("{session} {data}")
}

/// The text of a step's message with the session put in.
fn text_of(step: &Value, session: &str) -> Vec<u8> {
    wire_text(step).replace("$S", session).into_bytes()
}

/// What we answer to one step.
fn answer(engine: &mut Engine<ServerSession>, step: &Value, own: &str) -> Vec<String> {
    let bytes = if let Some(hex) = step.get("hex") {
        unhex(hex.as_str().unwrap())
    } else if let Some(several) = step.get("concat") {
        several.as_array().unwrap().iter().flat_map(|one| frame(&text_of(one, own))).collect()
    } else {
        let level = step.get("level").map_or(6, |level| level.as_u64().unwrap() as u32);
        [gzip(&text_of(&step["json"], own), level), DELIMITER.to_vec()].concat()
    };
    let piece = step.get("chunks").map_or(bytes.len(), |size| size.as_u64().unwrap() as usize);
    let cut = bytes.len() - step.get("tail").map_or(0, |tail| tail.as_u64().unwrap() as usize);
    let (head, tail) = bytes.split_at(cut);
    let mut replies = Vec::new();
    for piece in head.chunks(piece).chain([tail]) {
        if let Err(error) = engine.receive(piece) {
            replies.push(format!("closed: {error}"));
            return replies;
        }
    }
    while let Some(text) = engine.written.pop_front() {
        let reply: Value = match serde_json::from_str(&text) {
            Ok(reply) => reply,
            // serde_json holds no lone surrogates: the escapes are doubled, as the recorded file has them.
            Err(_) => serde_json::from_str(&escaped(&text)).expect("strict JSON but for lone surrogates"),
        };
        replies.push(plain(&reply, own));
    }
    replies.extend(engine.closed.as_ref().map(|reason| format!("closed: {reason}")));
    if replies.is_empty() {
        replies.push("nothing yet".to_owned());
    }
    replies
}

/// `"…\ud800…"` as the recorded files write it: `{"$escaped": "…\\ud800…"}`.
fn escaped(text: &str) -> String {
    let start = text.find("\"data\":\"").unwrap() + 7;
    let end = start + 1 + text[start + 1..].find('"').unwrap();
    let inner = text[start + 1..end].replace("\\u003c", "<").replace('\\', "\\\\");
    format!("{}{{\"$escaped\":\"{inner}\"}}{}", &text[..start], &text[end + 1..])
}

/// Runs every case of a file; gives back the answers that differ: `case#step`, what was recorded, what we answer.
fn differences(file: &str, guests: bool) -> Vec<[String; 3]> {
    let cases = vector(file);
    let mut found = Vec::new();
    for case in cases["cases"].as_array().unwrap() {
        let shared = shared(guests);
        let mut engine = desk(&shared);
        engine.written.clear();
        let mut own = "no session".to_owned();
        if case["auth"] == "guest" {
            engine.message(&json!({"session": "", "name": "probe", "data": {}}));
            own = engine.next()["session"].as_str().unwrap().to_owned();
        }
        for (number, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            let recorded: Vec<String> = step["replies"]
                .as_array()
                .unwrap()
                .iter()
                .map(|reply| plain(reply, "no session"))
                .filter(|reply| reply != "timeout")
                .collect();
            let ours = answer(&mut engine, step, &own);
            if ours != recorded {
                let row = format!("{}#{number}", case["id"].as_str().unwrap());
                found.push([row, recorded.join("; "), ours.join("; ")]);
            }
        }
    }
    found
}

fn check(file: &str, guests: bool) {
    let listed: Value = serde_json::from_str(include_str!("server_edge_differences.json")).unwrap();
    let listed: Vec<[String; 3]> = listed[file]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            assert!(row["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{row}");
            ["row", "original", "ours"].map(|key| row[key].as_str().unwrap().to_owned())
        })
        .collect();
    let found = differences(file, guests);
    let new: Vec<_> = found.iter().filter(|row| !listed.contains(row)).collect();
    let gone: Vec<_> = listed.iter().filter(|row| !found.contains(row)).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "not listed (row, recorded, ours): {new:#?}\nlisted in vain: {gone:#?}"
    );
}

#[test]
fn p07_p09_p10_answers_of_a_server_with_guests_are_those_of_the_original_or_safer() {
    check("server-edge-guests.json", true);
}

#[test]
fn p07_p15_answers_of_a_server_without_guests_are_those_of_the_original_or_safer() {
    check("server-edge-no-guests.json", false);
}
