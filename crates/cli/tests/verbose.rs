//! What `-v` and `-vv` say, and what is said without them.

#![allow(clippy::unwrap_used, reason = "a test that cannot run has failed")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::{file, polywire, start};

#[test]
fn v_says_what_happens_and_without_it_only_what_an_operator_can_mend_is_said() {
    let secret = file("verbose", b"s3cret");
    let login = |user: &str, place: &str| format!("hpx://{user}@{place}?password=file:{}", secret.display());
    for verbose in [&[][..], &["-v"], &["-vv"]] {
        let mut running =
            start(&[verbose, &["serve", &login("alice", "127.0.0.1:0"), "sockhop://127.0.0.1:0"]].concat());
        let urls = [running.line(), running.line()].map(|line| line["url"].as_str().unwrap().to_owned());
        let stranger = login("mallory", urls[0].trim_start_matches("hpx://"));
        polywire(&["call", &stranger, "echo", "{}"]).ends(5);
        let mut peer = TcpStream::connect(urls[1].trim_start_matches("sockhop://")).unwrap();
        // Longer than a line may be. The other side may close before it has read all of it.
        let _ = peer.write_all(&vec![b'x'; 17 << 20]);
        let _ = peer.read_to_end(&mut Vec::new());
        if verbose.is_empty() {
            let words = running.last_words();
            assert!(!words.contains("connection") && !words.contains("let in"), "{words}");
            continue;
        }
        for words in ["connection opened", "not let in", "exceeds max_frame_bytes = 16777216"] {
            let line = running.says(words);
            assert!(line.contains("wire=") && line.contains("peer="), "{line}");
        }
        assert!(!running.last_words().contains("s3cret"));
    }
    let help = polywire(&["--help"]).ends(0).stdout;
    for words in ["-v connections, logins, refusals, limits", "-vv what the libraries"] {
        assert!(
            help.replace('\n', " ").split_whitespace().collect::<Vec<_>>().join(" ").contains(words),
            "{help}"
        );
    }
}
