//! Both ends of Parley in one program: a login, calls both ways, events, and what the wire does not carry.

use std::error::Error;

use fifth_adapter::{Config, dial, listen};
use polywire_core::{
    Body, CallError, Credentials, Endpoint, Event, Identity, Incoming, Json, Refusal, Request, Response,
    Route, Router,
};

async fn judge(shown: Credentials) -> Result<Identity, Refusal> {
    let right = shown.secret.is_some_and(|secret| secret.matches(b"s3cret"));
    shown.subject.filter(|_| right).map(Identity::user).ok_or_else(|| Refusal::new("wrong password"))
}

/// Asks the caller for its name before it answers.
async fn greet(incoming: Incoming) -> Result<Response, polywire_core::Failure> {
    let Response { body, .. } =
        incoming.peer.call(Request::new(Route::from_static("name"), Body::Empty)).await?;
    Ok(body.into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut endpoint = Endpoint::new("parley", Router::new().handle("greet", greet).build()?);
    endpoint.authenticator = Some(std::sync::Arc::new(judge));
    let server = listen("127.0.0.1:0", Config::default(), endpoint).await?;

    let (heard, mut moves) = tokio::sync::mpsc::channel(8);
    let router = Router::new().handle("name", || async { Json("Ann") }).on("moved", move |body: Body| {
        let heard = heard.clone();
        async move { drop(heard.send(body).await) }
    });
    let ann = Credentials::new("ann", "s3cret");
    let client = dial(server.address(), Config::default(), ann, Endpoint::new("parley", router.build()?))?;
    client.ready().await?;
    server.audience().broadcast(&Event::new(Route::from_static("moved"), Body::json(&[1, 2])?));
    println!("heard {:?}", moves.recv().await);

    let answer = client.caller().call(Request::new(Route::from_static("greet"), Body::Empty)).await?;
    assert_eq!(answer.body, Body::json("Ann")?);
    let bytes = Request::new(Route::from_static("greet"), Body::binary("", vec![1, 2, 3]));
    match client.caller().call(bytes).await {
        Err(CallError::NotSent(why)) => println!("as the capabilities say: {why}"),
        other => panic!("{other:?}"),
    }
    client.shutdown().await;
    server.shutdown().await;
    Ok(())
}

#[test]
fn it_runs() -> Result<(), Box<dyn Error>> {
    main()
}
