//! Sessions of requests, by the names under which their clients know them.
//!
//! The library has one id for a session and for the client in it, and programs show the latter to others (`socket.id`). Whoever
//! names a session in a request speaks for it, so requests know it by another name, to which nothing leads. A session that began
//! as a WebSocket has no such name: no request speaks for it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Collected, Full};
use polywire_core::Random;

use super::door::Answer;
use super::flood::Flood;
use super::gate::Gate;

/// The letters of a name: as many as an id of the library has, 96 random bits.
const NAME_LETTERS: usize = 16;
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// An id that no session has, because it is none: the library refuses whoever names it.
pub(super) const NO_SESSION: &str = "none";

/// The sessions of requests.
pub(super) struct Sessions {
    named: Mutex<HashMap<String, Named>>,
    random: Arc<dyn Random>,
    max_control: u32,
}

struct Named {
    /// The library's id.
    id: String,
    gate: Weak<Gate>,
    flood: Arc<Mutex<Flood>>,
}

/// A session of requests that is known.
pub(super) struct Found {
    /// The library's id.
    pub(super) id: String,
    pub(super) gate: Arc<Gate>,
    /// What its requests have brought that is sent only to be seen.
    pub(super) flood: Arc<Mutex<Flood>>,
}

impl Sessions {
    /// Sessions that may each bring `max_control` packets a second that are sent only to be seen.
    pub(super) fn new(random: Arc<dyn Random>, max_control: u32) -> Self {
        Self { named: Mutex::default(), random, max_control }
    }

    /// A name for the session `id`, known for as long as its gate is there.
    fn name(&self, id: String, gate: &Arc<Gate>) -> String {
        let mut bytes = [0; NAME_LETTERS];
        self.random.fill(&mut bytes);
        let letters = bytes.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 64)));
        let name: String = letters.map(|letter| char::from(*letter)).collect();
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() == named.capacity() {
            named.retain(|_, session| session.gate.strong_count() > 0);
        }
        let flood = Arc::new(Mutex::new(Flood::new(self.max_control)));
        named.insert(name.clone(), Named { id, gate: Arc::downgrade(gate), flood });
        name
    }

    /// The session of this name; `None` for one that this side has ended.
    pub(super) fn find(&self, name: &str) -> Option<Found> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let Named { id, gate, flood } = named.get(name)?;
        let gate = gate.upgrade().filter(|gate| !gate.is_cut())?;
        Some(Found { id: id.clone(), gate, flood: Arc::clone(flood) })
    }

    /// The answer that opens a session of requests, with a name of ours in the place of the library's id.
    pub(super) async fn rename(&self, response: Response<Answer>, gate: &Arc<Gate>) -> Response<Answer> {
        const BEFORE: &[u8] = b"\"sid\":\"";
        let (head, body) = response.into_parts();
        // The library has it whole, so nothing fails.
        let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
        let start = body.windows(BEFORE.len()).position(|part| part == BEFORE).map(|at| at + BEFORE.len());
        let id = start.and_then(|start| body.get(start..start + NAME_LETTERS));
        let Some((start, id)) = start.zip(id.and_then(|id| std::str::from_utf8(id).ok())) else {
            return Response::from_parts(head, whole(body));
        };
        let name = self.name(id.to_owned(), gate);
        let mut text = BytesMut::from(&*body);
        text.get_mut(start..start + NAME_LETTERS)
            .into_iter()
            .for_each(|id| id.copy_from_slice(name.as_bytes()));
        Response::from_parts(head, whole(text.freeze()))
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

/// Names the session as the library does, instead of as its client does.
pub(super) fn set_session<B>(request: &mut Request<B>, id: &str) {
    let parts = request.uri().query().into_iter().flat_map(|query| query.split('&'));
    let query = parts.map(|part| match part.split_once('=') {
        Some(("sid", _)) => format!("sid={id}"),
        _ => part.to_owned(),
    });
    let query = query.collect::<Vec<_>>().join("&");
    let uri = format!("{}?{query}", request.uri().path()).parse();
    // It was one before, and an id has no letter that would make it another; a path that nobody serves, if it were.
    *request.uri_mut() = uri.unwrap_or(Uri::from_static("/"));
}

fn whole(body: Bytes) -> Answer {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use polywire_core::SystemRandom;

    use super::*;

    #[test]
    fn a_session_is_named_in_every_place_of_the_query_and_nowhere_else() {
        let mut request = Request::new(());
        *request.uri_mut() = "/socket.io/?EIO=4&sid=a&side=b&sid=&t=sid=c&sid".parse().unwrap();
        set_session(&mut request, "ID");
        assert_eq!(request.uri(), "/socket.io/?EIO=4&sid=ID&side=b&sid=ID&t=sid=c&sid");
    }

    #[tokio::test]
    async fn a_name_is_known_for_as_long_as_its_session_and_leads_to_it_alone() {
        let sessions = Sessions::new(Arc::new(SystemRandom), 100);
        let gate = Arc::<Gate>::default();
        let text = "0{\"sid\":\"ABCDEFGHIJKLMNOP\",\"upgrades\":[]}";
        let opened = sessions.rename(Response::new(whole(text.into())), &gate).await;
        let told = opened.into_body().collect().await.unwrap().to_bytes();
        let name = std::str::from_utf8(&told[9..25]).unwrap();
        assert_eq!(std::str::from_utf8(&told).unwrap(), text.replace("ABCDEFGHIJKLMNOP", name));
        assert_eq!(sessions.find(name).unwrap().id, "ABCDEFGHIJKLMNOP");
        assert!(sessions.find("ABCDEFGHIJKLMNOP").is_none(), "its id is no name");
        assert_ne!(name, sessions.name("ABCDEFGHIJKLMNOP".to_owned(), &gate), "nor are two names alike");
        let kept = sessions.name("ABCDEFGHIJKLMNOP".to_owned(), &gate);
        assert!(sessions.find(&kept).is_some());
        gate.cut();
        assert!(sessions.find(&kept).is_none(), "one that this side has ended");
        drop(gate);
        assert!(sessions.find(name).is_none());
        for refused in ["", "{\"code\":1}", "0{\"sid\":\"short"] {
            let answer = sessions.rename(Response::new(whole(refused.into())), &Arc::default()).await;
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), refused);
        }
    }
}
