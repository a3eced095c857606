//! From polling to a WebSocket, from a WebSocket to polling, and neither.

use std::time::Duration;

use polywire_core::{Body, Client, Request, Route};
use polywire_socketio::{Config, Transports};

use crate::support::{Asked, Ears, Script, client, json, settle, soon};
use crate::{OPENING, emit, failure, leave, over};

/// A session whose WebSocket is being opened: the request for that, and the GET that hangs.
async fn probing(config: Config) -> (Script, Client, Ears, Asked, Asked) {
    let mut script = Script::new().await;
    let (client, ears) = client(&script, config);
    script.next("GET").await.ok(OPENING);
    let (mut socket, mut get, mut granted) = (None, None, false);
    while socket.is_none() || get.is_none() || !granted {
        let asked = script.any().await;
        if asked.path.contains("transport=websocket") {
            assert_eq!(asked.path, "/socket.io/?EIO=4&transport=websocket&sid=s1");
            socket = Some(asked);
        } else if asked.method == "POST" {
            asked.ok("ok");
            granted = true;
        } else {
            get = Some(asked);
        }
    }
    get.unwrap().ok("40{\"sid\":\"S\"}");
    let get = script.next("GET").await;
    (script, client, ears, socket.unwrap(), get)
}

#[tokio::test]
async fn between_the_probe_and_the_upgrade_nothing_new_is_asked() {
    let (mut script, client, ears, socket, get) = probing(over(Transports::PollingFirst)).await;
    let mut socket = socket.socket().await;
    assert_eq!(socket.hear().await.as_deref(), Some("2probe"));
    // Polling goes on until the answer.
    emit(&client, "before").await;
    let post = script.next("POST").await;
    assert_eq!(post.body, "42[\"before\"]");
    get.ok("42[\"one\"]");
    assert_eq!(ears.event().await.0, "one");
    let get = script.next("GET").await;
    socket.say("3probe").await;
    settle().await;
    emit(&client, "after").await;
    settle().await;
    post.ok("ok");
    settle().await;
    assert!(script.is_silent());
    get.ok("42[\"two\"]");
    assert_eq!(socket.hear().await.as_deref(), Some("5"));
    assert_eq!(socket.hear().await.as_deref(), Some("42[\"after\"]"));
    assert_eq!(ears.event().await.0, "two");
    assert!(script.is_silent());
    socket.say("42[\"three\"]").await;
    assert_eq!(ears.event().await.0, "three");
    drop(client);
    script.deserted().await;
}

#[tokio::test]
async fn the_last_answer_by_polling_is_handed_up_before_the_websocket() {
    let (mut script, client, ears, socket, get) = probing(over(Transports::PollingFirst)).await;
    let mut socket = socket.socket().await;
    assert_eq!(socket.hear().await.as_deref(), Some("2probe"));
    socket.say("3probe").await;
    settle().await;
    emit(&client, "waits").await;
    settle().await;
    let events: Vec<_> = (0..500).map(|number| format!("42[\"n\",{number}]")).collect();
    get.ok(&events.join("\u{1e}"));
    assert_eq!(socket.hear().await.as_deref(), Some("5"));
    assert_eq!(socket.hear().await.as_deref(), Some("42[\"waits\"]"));
    socket.say("42[\"n\",500]").await;
    for number in 0..=500 {
        assert_eq!(ears.event().await, ("n".to_owned(), Body::Json(json(&number.to_string()))));
    }
    assert!(script.is_silent());
    drop(client);
    script.deserted().await;
}

#[tokio::test]
async fn h12_an_upgrade_that_fails_leaves_polling_as_it_is() {
    for way in ["refused", "wrong answer", "closed", "early packet"] {
        let (mut script, client, ears, asked, get) = probing(over(Transports::PollingFirst)).await;
        if way == "refused" {
            asked.no_socket().await;
        } else {
            let mut socket = asked.socket().await;
            assert_eq!(socket.hear().await.as_deref(), Some("2probe"));
            match way {
                "wrong answer" => socket.say("3").await,
                "early packet" => {
                    socket.say("3probe").await;
                    socket.say("42[\"early\"]").await;
                }
                _ => {}
            }
            if way != "closed" {
                assert_eq!(socket.hear().await, None, "{way}");
            }
        }
        let call = tokio::spawn({
            let caller = client.caller().clone();
            async move { caller.call(Request::new(Route::from_static("echo"), Body::Empty)).await }
        });
        let post = script.next("POST").await;
        assert_eq!(post.body, "420[\"echo\"]", "{way}");
        post.ok("ok");
        get.ok("430[]");
        assert_eq!(soon("the answer", call).await.unwrap().unwrap().body, Body::Empty, "{way}");
        let get = script.next("GET").await;
        get.ok("42[\"still\"]");
        assert_eq!(ears.event().await.0, "still", "{way}");
        let _get = script.next("GET").await;
        leave(script, client).await;
    }
}

#[tokio::test]
async fn h12_an_upgrade_that_is_never_finished_has_its_time_and_polling_goes_on() {
    for words in [None, Some("3probe")] {
        let config = Config { upgrade_timeout: Duration::from_millis(300), ..over(Transports::PollingFirst) };
        let (mut script, client, ears, asked, get) = probing(config).await;
        let mut socket = asked.socket().await;
        assert_eq!(socket.hear().await.as_deref(), Some("2probe"));
        if let Some(words) = words {
            // Polling is to stop, but the GET that hangs is never ended.
            socket.say(words).await;
        }
        assert_eq!(socket.hear().await, None, "the WebSocket is given up");
        emit(&client, "a").await;
        let post = script.next("POST").await;
        assert_eq!(post.body, "42[\"a\"]");
        post.ok("ok");
        get.ok("42[\"still\"]");
        assert_eq!(ears.event().await.0, "still");
        let _get = script.next("GET").await;
        leave(script, client).await;
    }
}

#[tokio::test]
async fn no_upgrade_is_tried_where_it_is_not_wanted_or_not_offered() {
    let without = OPENING.replace("\"websocket\"", "");
    for (transports, opening) in [(Transports::Polling, OPENING), (Transports::PollingFirst, &without)] {
        let mut script = Script::new().await;
        let (client, _) = client(&script, over(transports));
        let _get = script.begin(opening).await;
        leave(script, client).await;
    }
}

#[tokio::test]
async fn polling_is_tried_where_no_websocket_opens() {
    for hangs in [false, true] {
        let mut script = Script::new().await;
        let config =
            Config { websocket_timeout: Duration::from_millis(200), ..over(Transports::WebSocketFirst) };
        let (client, _) = client(&script, config);
        let asked = script.any().await;
        assert_eq!(asked.path, "/socket.io/?EIO=4&transport=websocket");
        let held = if hangs {
            Some(asked.never())
        } else {
            asked.no_socket().await;
            None
        };
        let _get = script.begin(OPENING).await;
        drop(held);
        leave(script, client).await;
    }
    // Neither.
    let mut script = Script::new().await;
    let (client, _) = client(&script, over(Transports::WebSocketFirst));
    script.any().await.no_socket().await;
    script.next("GET").await.with(400, "", "{\"code\":0}");
    let failure = failure(&client).await;
    assert!(
        failure.contains("it does not offer this transport (code 0); and no WebSocket before: "),
        "{failure}"
    );
    script.deserted().await;
}
