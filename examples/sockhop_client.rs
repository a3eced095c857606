//! A Sockhop client: calls a route, sends typed bytes, and says what a failed call means.
//!
//! It calls the server given, such as `127.0.0.1:50000` where `polywire serve sockhop://127.0.0.1:50000` runs.

use std::error::Error;
use std::time::Duration;

use polywire_core::{Body, CallError, Endpoint, Request, Route, Router};
use polywire_sockhop::{Config, dial};

async fn run(address: &str) -> Result<(), Box<dyn Error>> {
    // The peer may call back: this router would answer it.
    let router = Router::new().build()?;
    let endpoint = Endpoint::new("sockhop", router);
    let client = dial(address, Config::default(), endpoint)?;
    client.ready().await?;

    let request = Request::new(Route::from_static("add"), Body::json(&serde_json::json!({"a": 40, "b": 2}))?);
    let sum = client.caller().call(request.timeout(Duration::from_secs(2))).await?;
    println!("40 + 2 is {:?}", sum.body);

    let pose = Body::binary("Pose", vec![0, 1, 2, 255]);
    let answer = client.caller().call(Request::new(Route::from_static("Pose"), pose.clone())).await?;
    assert_eq!(answer.body, pose);

    match client.caller().call(Request::new(Route::from_static("fail"), Body::Empty)).await {
        Ok(response) => println!("it worked: {:?}", response.body),
        Err(CallError::Failure(failure)) => println!("the peer said no: {failure}"),
        Err(CallError::NotSent(why)) => println!("it never left, so it is safe to try again: {why}"),
        Err(CallError::Unknown(why)) => println!("it left, and the peer may have acted: {why}"),
    }
    client.shutdown().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run(&std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:50000".to_owned())).await
}

#[cfg(test)]
#[tokio::test]
async fn it_calls() -> Result<(), Box<dyn Error>> {
    use polywire_core::{Code, Failure};

    let echo = Router::new().fallback(|body: Body| async { body });
    let router = echo.handle("fail", || async { Failure::new(Code::NotFound, "as asked") }).build()?;
    let endpoint = Endpoint::new("sockhop", router);
    let server = polywire_sockhop::listen("127.0.0.1:0", Config::default(), endpoint).await?;
    run(server.address()).await
}
