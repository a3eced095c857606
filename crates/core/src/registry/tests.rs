use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::body::Body;
use crate::envelope::Event;
use crate::extract::{Json, State};
use crate::failure::{Code, Failure};
use crate::handler::{HandlerFuture, Incoming};
use crate::layer::{CatchPanic, ConcurrencyLimit, Timeout};
use crate::moment::Surroundings;
use crate::peer::Peer;

async fn one() -> &'static str {
    "one"
}

async fn two() -> &'static str {
    "two"
}

async fn name(route: Route) -> String {
    format!("fallback {}", &*route)
}

fn text(value: &str) -> Result<crate::envelope::Response, Failure> {
    Ok(Body::json(value).unwrap().into())
}

/// Puts its name in front of every text answer, so that a test sees which layers were passed and in which order.
#[derive(Clone)]
struct Tag(&'static str);

struct Tagged<H>(&'static str, H);

impl<H: Handler> Layer<H> for Tag {
    type Service = Tagged<H>;

    fn layer(&self, inner: H) -> Tagged<H> {
        Tagged(self.0, inner)
    }
}

impl<H: Handler> Handler for Tagged<H> {
    fn call(&self, incoming: Incoming) -> HandlerFuture {
        let tag = self.0;
        let inner = self.1.call(incoming);
        Box::pin(async move {
            let answer = inner.await.map_err(|failure| Failure {
                message: format!("{tag}>{}", failure.message).into(),
                ..failure
            })?;
            let Body::Json(text) = answer.body else { return Ok(answer) };
            Ok(Body::json(&format!("{tag}>{}", text.parse::<String>().unwrap())).unwrap().into())
        })
    }
}

#[tokio::test]
async fn a_duplicate_is_an_error_value_at_the_door_and_at_once() {
    let duplicate = RegistryError::Duplicate { kind: Kind::Request, route: Route::from_static("a") };
    let door = Router::new().handle("a", one).handle("b", one).handle("a", two).handle("b", two).build();
    assert_eq!(door.unwrap_err(), duplicate);
    assert_eq!(duplicate.to_string(), "route `a` has two handlers for requests; remove or rename one");

    let mut registry = Registry::<()>::new();
    assert_eq!(registry.try_handle("a", one), Ok(()));
    assert_eq!(registry.try_handle("a", two), Err(duplicate));
    assert_eq!(registry.try_on("a", two), Ok(()), "an event may have the name of a request");
    assert_eq!(
        registry.try_on(Route::from_static("a"), two),
        Err(RegistryError::Duplicate { kind: Kind::Event, route: Route::from_static("a") })
    );
    assert_eq!(registry.try_fallback(one), Ok(()));
    assert_eq!(registry.try_fallback(two), Err(RegistryError::DuplicateFallback));
    assert_eq!(registry.build().unwrap().request("a", Body::Empty).await, text("one"));
}

#[test]
fn a_name_that_is_no_route_is_an_error_value() {
    let long = "x".repeat(256);
    let error = Router::new::<()>().handle(long, one).build().unwrap_err();
    assert_eq!(error, RegistryError::Route(RouteError::TooLong(256)));
}

#[tokio::test]
async fn requests_and_events_of_one_name_have_their_own_handlers() {
    let router = Router::new().handle("a", one).on("a", two).on("b", two).build().unwrap();
    let call = |incoming| router.call(incoming);
    let a = Route::from_static("a");
    assert_eq!(call(Incoming::request(a.clone(), Body::Empty, Peer::in_memory())).await, text("one"));
    assert_eq!(call(Incoming::event(a.clone(), Body::Empty, Peer::in_memory())).await, text("two"));
    assert_eq!(router.request("b", Body::Empty).await.unwrap_err().code, Code::NotFound);
    assert_eq!(
        router.routes(),
        [(Kind::Request, a.clone()), (Kind::Event, a), (Kind::Event, Route::from_static("b"))]
    );
}

#[tokio::test]
async fn c12_a_message_without_a_handler_is_not_found_and_its_name_is_escaped() {
    let router = Router::new::<()>().build().unwrap();
    let failure = router.request("a\n\u{202e}`", Body::Empty).await.unwrap_err();
    assert_eq!(failure.code, Code::NotFound);
    assert_eq!(failure.message, "nothing here handles requests on route `a\\n\\u{202e}``");
    let failure = router.notify("", Body::Empty).await.unwrap_err();
    assert_eq!(failure.message, "nothing here handles events on route ``");
    assert!(failure.unrouted && failure.code == Code::NotFound);
    let failure = router.request("x".repeat(1 << 20), Body::Empty).await.unwrap_err();
    assert_eq!(failure.code, Code::InvalidArgument);
}

#[tokio::test]
async fn a_fallback_gets_requests_and_events_with_their_route() {
    let router = Router::new().handle("a", one).fallback(name).build().unwrap();
    assert_eq!(router.request("a", Body::Empty).await, text("one"));
    assert_eq!(router.request("b", Body::Empty).await, text("fallback b"));
    let event = Incoming::event(Route::from_static("a"), Body::Empty, Peer::in_memory());
    assert_eq!(router.call(event).await, text("fallback a"), "there is no handler for the event");
}

#[tokio::test]
async fn merge_is_all_or_nothing() {
    let mut registry = Registry::<()>::new().handle("a", one).fallback(one);
    let clash = RegistryError::Duplicate { kind: Kind::Request, route: Route::from_static("a") };
    let other = || Registry::new().handle("z", two).handle("a", two).on("y", two);
    assert_eq!(registry.try_merge(other()), Err(clash.clone()));
    assert_eq!(registry.try_merge(other().layer(Tag("l"))), Err(clash.clone()));
    assert_eq!(
        registry.try_merge(Registry::new().handle("b", two).fallback(two)),
        Err(RegistryError::DuplicateFallback)
    );
    assert!(registry.try_merge(Registry::new().handle("b", two).handle("b", two)).is_err());
    assert_eq!(registry.try_merge(Registry::new().handle("c", two).layer(Tag("l"))), Ok(()));
    assert!(registry.try_handle("c", one).is_err(), "a merged route is taken, also behind layers");
    let router = registry.build().unwrap();
    let names: Vec<_> = router.routes().into_iter().map(|(_, route)| route.to_string()).collect();
    assert_eq!(names, ["a", "c"]);
    assert_eq!(router.request("a", Body::Empty).await, text("one"));
    assert_eq!(Registry::new().handle("a", one).merge(other()).build().unwrap_err(), clash);
}

#[tokio::test]
async fn layers_wrap_the_whole_router_and_the_last_one_is_outermost() {
    let router = Router::new()
        .handle("a", one)
        .layer(Tag("inner"))
        .layer(Tag("outer"))
        .handle("late", two)
        .handle("own", two.layer(Tag("route")).layer(Tag("around")))
        .build()
        .unwrap();
    assert_eq!(router.request("a", Body::Empty).await, text("outer>inner>one"));
    assert_eq!(router.request("late", Body::Empty).await, text("outer>inner>two"));
    assert_eq!(router.request("own", Body::Empty).await, text("outer>inner>around>route>two"));
    let missing = router.request("nothing", Body::Empty).await.unwrap_err();
    assert_eq!(missing.message, "outer>inner>nothing here handles requests on route `nothing`");
}

#[tokio::test]
async fn a_merged_part_keeps_its_layers_to_itself() {
    let part = || Registry::<u8>::new().handle("p", one).layer(Tag("part"));
    let finished = Registry::new().handle("f", one).fallback(name).layer(Tag("finished")).build().unwrap();
    let plain = Registry::new().handle("plain", two).build().unwrap();
    let router = Router::new()
        .handle("a", one)
        .merge(Registry::new().handle("q", two).merge(part()))
        .merge(finished)
        .merge(plain)
        .layer(Tag("all"))
        .with_state(7)
        .unwrap();
    for (route, answer) in [
        ("a", "all>one"),
        ("q", "all>two"),
        ("p", "all>part>one"),
        ("f", "all>finished>one"),
        ("plain", "all>two"),
        ("else", "all>finished>fallback else"),
    ] {
        assert_eq!(router.request(route, Body::Empty).await, text(answer), "{route}");
    }
}

#[tokio::test]
async fn a_limit_in_a_layer_is_one_limit_for_the_whole_router() {
    let stuck = || std::future::pending::<()>();
    let router =
        Router::new().handle("a", stuck).handle("b", one).layer(ConcurrencyLimit::new(1)).build().unwrap();
    let held = router.call(Incoming::request(Route::from_static("a"), Body::Empty, Peer::in_memory()));
    assert_eq!(router.request("b", Body::Empty).await.unwrap_err().code, Code::ResourceExhausted);
    drop(held);
    assert_eq!(router.request("b", Body::Empty).await, text("one"));
}

#[tokio::test]
async fn a_router_is_a_handler_and_a_caller_of_another() {
    let inner = Router::new().handle("a", one).build().unwrap();
    let outer = Router::new().fallback(inner).build().unwrap();
    assert_eq!(outer.clone().request("a", Body::Empty).await, text("one"));
}

#[derive(Clone)]
struct Shop {
    sold: Arc<AtomicUsize>,
}

async fn buy(State(shop): State<Shop>, peer: Peer, Json(count): Json<usize>) -> Result<Json<usize>, Failure> {
    match count {
        0 => Err(Failure::new(Code::InvalidArgument, "nothing to buy")),
        99 => panic!("out of stock"),
        _ => Ok(Json(
            shop.sold.fetch_add(count, Ordering::Relaxed) + count + usize::try_from(peer.id()).unwrap(),
        )),
    }
}

async fn returned(State(shop): State<Shop>, Json(count): Json<usize>) {
    shop.sold.fetch_sub(count, Ordering::Relaxed);
}

fn slow_part() -> Registry<Shop> {
    let surroundings = Surroundings::seeded(1);
    Registry::new()
        .handle("slow", std::future::pending::<()>)
        .layer(Timeout::new(Duration::from_secs(3), &surroundings))
}

#[tokio::test(start_paused = true)]
async fn state_layers_merge_and_failures_work_together_in_memory() {
    let shop = Shop { sold: Arc::default() };
    let router = Router::new()
        .handle("buy", buy)
        .on("returned", returned)
        .merge(slow_part())
        .layer(CatchPanic)
        .with_state(shop.clone())
        .unwrap();
    let number = |n: usize| Body::json(&n).unwrap();
    assert_eq!(router.request("buy", number(3)).await, Ok(number(3).into()));
    assert_eq!(router.request("buy", number(4)).await, Ok(number(7).into()));
    assert_eq!(router.notify("returned", number(2)).await, Ok(()));
    assert_eq!(shop.sold.load(Ordering::Relaxed), 5);
    assert_eq!(router.request("buy", number(0)).await.unwrap_err().message, "nothing to buy");
    assert_eq!(router.request("buy", number(99)).await.unwrap_err().code, Code::Internal);
    let event = Event::new(Route::from_static("returned"), Body::null());
    let refused = router.notify(event.route, event.body).await.unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
    assert_eq!(router.request("slow", Body::Empty).await.unwrap_err().code, Code::DeadlineExceeded);
}
