use std::collections::HashMap;
use std::num::NonZeroU8;
use std::sync::Arc;

use serde::Deserialize;

use super::*;
use crate::body::{Binary, Body, JsonText};
use crate::credentials::Identity;
use crate::envelope::{Due, Meta, Response};
use crate::failure::Code;
use crate::handler::{Answer, Handler};
use crate::into_handler::IntoHandler;
use crate::moment::Moment;
use crate::peer::Peer;
use crate::route::Route;

fn message(body: impl Into<Body>) -> Incoming {
    Incoming {
        meta: Meta::default().with("wire.fact", "42"),
        deadline: Some(Moment::from_start(std::time::Duration::from_secs(9))),
        ..Incoming::request(Route::from_static("the.route"), body, Peer::new(7, "wire", None, None))
    }
}

async fn call<A>(handler: impl IntoHandler<A, u32>, incoming: Incoming) -> Answer {
    handler.into_handler(&5).call(incoming).await
}

async fn refusal<A>(handler: impl IntoHandler<A, u32>, incoming: Incoming) -> (Code, String) {
    let failure = call(handler, incoming).await.unwrap_err();
    (failure.code, failure.message.into_owned())
}

#[tokio::test]
async fn every_extractor_gives_its_part_of_the_message() {
    #[allow(clippy::too_many_arguments, reason = "it takes as many as there may be")]
    async fn all(
        State(five): State<u32>,
        peer: Peer,
        route: Route,
        meta: Meta,
        deadline: Deadline,
        _progress: Progress,
        who: Option<Identity>,
        body: Body,
    ) -> Response {
        assert_eq!((five, peer.id(), &*route), (5, 7, "the.route"));
        assert_eq!(meta.get("wire.fact").map(|fact| &**fact), Some("42"));
        let nine = Moment::from_start(std::time::Duration::from_secs(9));
        assert_eq!((deadline, deadline.due()), (Deadline(Some(nine)), Due::At(nine)));
        assert_eq!(Deadline(None).due(), Due::Default);
        assert_eq!(who, None);
        body.into()
    }
    assert_eq!(call(all, message(Body::null())).await, Ok(Body::null().into()));
    assert_eq!(call(async || "none", message(Body::null())).await, Ok(Body::json("none").unwrap().into()));
    let whole = |incoming: Incoming| async move { incoming.body };
    assert_eq!(call(whole, message(Body::null())).await, Ok(Body::null().into()));
    let last_is_a_look = |_: Peer, State(five): State<u32>| async move { Json(five) };
    assert_eq!(call(last_is_a_look, message(Body::Empty)).await, Ok(Body::json(&5).unwrap().into()));
}

#[tokio::test]
async fn a_body_of_the_wrong_kind_is_refused_in_words() {
    let bytes = || Body::binary("png", "secret");
    let binary = |binary: Binary| async move { binary };
    let text = |text: JsonText| async move { text };
    let json = |Json(n): Json<Option<u8>>| async move { Json(n) };
    assert_eq!(call(binary, message(bytes())).await, Ok(bytes().into()));
    assert_eq!(call(text, message(Body::null())).await, Ok(Body::null().into()));
    assert_eq!(call(json, message(Body::null())).await, Ok(Body::null().into()));
    let says = |text: &str| (Code::InvalidArgument, text.to_owned());
    let wanted = says("this route takes bytes, but the message carries JSON");
    assert_eq!(refusal(binary, message(Body::null())).await, wanted);
    let wanted = says("this route takes JSON, but the message carries bytes");
    assert_eq!(refusal(text, message(bytes())).await, wanted);
    assert_eq!(refusal(json, message(bytes())).await, wanted);
    let wanted = says("this route takes JSON, but the message carries no body");
    assert_eq!(refusal(json, message(Body::Empty)).await, wanted, "no body is not null");
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "only its shape matters")]
struct Order {
    user: User,
    #[serde(default)]
    lines: Vec<HashMap<String, u8>>,
    #[serde(default)]
    pay: Option<Pay>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "only its shape matters")]
struct User {
    age: u8,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "only its shape matters")]
enum Pay {
    Card { number: u64 },
}

#[tokio::test]
async fn a_bad_field_is_named_by_its_pointer() {
    async fn order(_: Json<Order>) {}
    for (text, pointer, reason) in [
        (
            r#"{"user":{"age":"old"}}"#,
            "/user/age",
            "invalid type: string \"old\", expected a whole number from 0 to 255",
        ),
        (r#"{"user":{}}"#, "/user", "missing field `age`"),
        (
            r#"{"user":{"age":1},"lines":[{},{"a/b~c":-1}]}"#,
            "/lines/1/a~1b~0c",
            "invalid value: integer `-1`, expected a whole number from 0 to 255",
        ),
        (
            r#"{"user":{"age":1},"pay":{"Card":{"number":true}}}"#,
            "/pay/Card/number",
            "invalid type: boolean `true`, expected a whole number from 0 to 18446744073709551615",
        ),
        (
            r#"{"user":{"age":1},"pay":"Card"}"#,
            "/pay",
            "expected an object with one member, not a word alone",
        ),
        ("[]", "", "invalid length 0, expected an object"),
        ("7", "", "invalid type: integer `7`, expected an object"),
    ] {
        let body = JsonText::new(text, &crate::json::JsonLimits::default()).unwrap();
        let failure = call(order, message(body)).await.unwrap_err();
        let place = if pointer.is_empty() { "the root" } else { pointer };
        assert_eq!(
            (failure.code, &*failure.message),
            (Code::InvalidArgument, &*format!("at {place}: {reason}"))
        );
        let detail: HashMap<String, String> = failure.detail.unwrap().parse().unwrap();
        assert_eq!((&*detail["pointer"], &*detail["reason"]), (pointer, reason));
    }
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "only its shape matters")]
enum Shape {
    Unit,
    One(bool),
    Pair(i8, i16),
    Named { small: u16, large: i32 },
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "only its shape matters")]
struct Both(f32, bool);

#[derive(Deserialize)]
#[serde(tag = "kind")]
#[allow(dead_code, reason = "only its shape matters")]
enum Inside {
    One { n: u8 },
}

#[derive(Deserialize)]
#[serde(untagged)]
#[allow(dead_code, reason = "only its shape matters")]
enum Either {
    Number(u8),
    Text(String),
}

#[tokio::test]
async fn a_refusal_names_what_json_calls_it_and_no_type_of_ours() {
    async fn take<T: Send + 'static>(_: Json<T>) {}
    async fn said<T: serde::de::DeserializeOwned + Send + 'static>(text: &str) -> String {
        let body = JsonText::new(text.to_owned(), &crate::json::JsonLimits::default()).unwrap();
        call(take::<T>, message(body)).await.unwrap_err().message.into_owned()
    }
    for (said, wanted) in [
        (said::<Shape>(r#"{"Pair":7}"#).await, "an array"),
        (said::<Shape>(r#"{"Pair":[7]}"#).await, "an array of 2 elements"),
        (said::<Shape>(r#"{"Pair":[700,1]}"#).await, "a whole number from -128 to 127"),
        (said::<Shape>(r#"{"Named":7}"#).await, "an object"),
        (said::<Shape>(r#"{"Named":{"small":"x"}}"#).await, "a whole number from 0 to 65535"),
        (said::<Both>("{}").await, "an array"),
        (said::<Both>(r#"["x",true]"#).await, "a number"),
        (said::<Both>("[1,1]").await, "a boolean"),
        (said::<Inside>("7").await, "an object"),
        (said::<Vec<u8>>("{}").await, "an array"),
        (said::<HashMap<String, u8>>("[]").await, "an object"),
        (said::<()>("1.5").await, "null"),
        (said::<(u8, u8)>("[1]").await, "an array of 2 elements"),
        (said::<[u8; 2]>("[1]").await, "an array of length 2"),
        (said::<NonZeroU8>("0").await, "a whole number from 0 to 255 other than 0"),
        (said::<Inside>(r#"{"kind":7}"#).await, "a word"),
    ] {
        let (_, expected) = said.rsplit_once(", expected ").unwrap();
        assert_eq!(expected, wanted, "{said}");
    }
    for (said, wanted) in [
        (said::<Shape>("7").await, "expected a word, or an object with one member"),
        (said::<(u8, u8)>("[1,2,3]").await, "the array has more elements than are taken"),
        (said::<Either>("true").await, "it has none of the shapes that are taken here"),
        (said::<u128>("true").await, "expected a whole number"),
        (said::<i128>("1.5").await, "expected a whole number"),
        (said::<[u128; 1]>("[1.5]").await, "the array has more elements than are taken"),
        (said::<Shape>(r#""One""#).await, "expected an object with one member, not a word alone"),
        (said::<Shape>(r#""Pair""#).await, "expected an object with one member, not a word alone"),
        (said::<Shape>(r#""Named""#).await, "expected an object with one member, not a word alone"),
    ] {
        assert_eq!(said, format!("at the root: {wanted}"));
    }
    let objects = ["object, expected an array", "array, expected an object", "number `1.5`, expected null"];
    let said =
        [said::<Vec<u8>>("{}").await, said::<HashMap<String, u8>>("[]").await, said::<()>("1.5").await];
    for (said, wanted) in said.iter().zip(objects) {
        assert_eq!(*said, format!("at the root: invalid type: {wanted}"));
    }
}

#[tokio::test]
async fn c10_a_refusal_repeats_only_little_of_a_large_body() {
    async fn numbers(_: Json<HashMap<String, u8>>) {}
    let long = "é".repeat(1 << 20);
    let body = Body::json(&HashMap::from([(&long, &long)])).unwrap();
    let failure = call(numbers, message(body)).await.unwrap_err();
    assert!(failure.message.len() < 600, "{} bytes", failure.message.len());
    assert!(failure.detail.unwrap().as_bytes().len() < 700);
}

#[tokio::test]
async fn c10_text_no_string_can_hold_is_refused_at_its_place() {
    async fn names(_: Json<Vec<String>>) {}
    let body = JsonText::new(r#"["ok","\ud800"]"#, &crate::json::JsonLimits::default()).unwrap();
    let (code, words) = refusal(names, message(body)).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(words.starts_with("at /1: "), "{words}");
}

#[tokio::test]
async fn an_identity_is_the_speaker_or_whoever_logged_in() {
    let who = |who: Identity| async move { who.subject.to_string() };
    let refused = (Code::Unauthenticated, "this route needs a login".to_owned());
    assert_eq!(refusal(who, message(Body::Empty)).await, refused);
    let incoming = message(Body::Empty);
    incoming.peer.identify(Identity::user("ann"));
    assert_eq!(call(who, incoming.clone()).await, Ok(Body::json("ann").unwrap().into()));
    let incoming = Incoming { speaker: Some(Arc::new(Identity::user("bob"))), ..incoming };
    assert_eq!(call(who, incoming).await, Ok(Body::json("bob").unwrap().into()));
}

#[tokio::test]
async fn a_rejected_argument_keeps_the_handler_from_running() {
    async fn never(_: Identity, _: Body) {
        panic!("must not run")
    }
    assert_eq!(refusal(never, message(Body::Empty)).await.0, Code::Unauthenticated);
}
