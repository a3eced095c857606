//! Whom the requests of one session go to: the paths with their parameters, and the cookies.

use std::fmt::{self, Write};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE, COOKIE, HOST, HeaderMap, SET_COOKIE};
use hyper::{Method, Request};

use super::http::HttpError;

/// Most cookies of one session, and most bytes of one; what is beyond is not kept.
const MAX_COOKIES: usize = 32;
const MAX_COOKIE_BYTES: usize = 4 << 10;

/// One server, and what it wants to be told again in every request of a session.
pub(crate) struct Site {
    /// The server's name with its port.
    host: String,
    path: String,
    /// What the user adds to the query.
    query: String,
    /// The session's id in percent form, once there is one.
    sid: Option<String>,
    /// Different in every request, so that no cache between here and there answers.
    stamp: u64,
    cookies: Vec<(String, String)>,
}

impl Site {
    /// A server whose sessions begin at `path`; `stamp` is where the changing parameter starts.
    pub(crate) fn new(host: &str, path: &str, query: &str, stamp: u64) -> Self {
        Self {
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            sid: None,
            stamp,
            cookies: Vec::new(),
        }
    }

    /// The session has this id.
    pub(crate) fn enter(&mut self, sid: &str) {
        let mut encoded = String::with_capacity(sid.len());
        for byte in sid.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                // Writing to a string cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
        self.sid = Some(encoded);
    }

    /// Asks for what the server has to say; without a session, for a session.
    pub(crate) fn get(&mut self) -> Result<Request<Full<Bytes>>, HttpError> {
        self.request(Method::GET, Bytes::new())
    }

    /// Says something.
    pub(crate) fn post(&mut self, body: Bytes) -> Result<Request<Full<Bytes>>, HttpError> {
        self.request(Method::POST, body)
    }

    fn request(&mut self, method: Method, body: Bytes) -> Result<Request<Full<Bytes>>, HttpError> {
        self.stamp = self.stamp.wrapping_add(1);
        let stamp = format!("&t={:x}", self.stamp);
        let mut request = Request::builder().uri(self.path_of("polling", &stamp)).header(HOST, &self.host);
        if method == Method::POST {
            // Read in source: engine.io refuses other types.
            request = request.header(CONTENT_TYPE, "text/plain;charset=UTF-8");
        }
        request = request.header(ACCEPT, "*/*");
        if let Some(cookies) = self.cookies() {
            request = request.header(COOKIE, cookies);
        }
        request
            .method(method)
            .body(Full::new(body))
            .map_err(|error| HttpError::Broken(format!("the request cannot be made: {error}")))
    }

    /// The path of the WebSocket that takes the session over.
    pub(crate) fn websocket_path(&self) -> String {
        self.path_of("websocket", "")
    }

    /// Recorded: `/socket.io/?EIO=4&transport=polling&t=…&sid=…`.
    fn path_of(&self, transport: &str, stamp: &str) -> String {
        let mut path = format!("{}?EIO=4&transport={transport}{stamp}", self.path);
        if let Some(sid) = &self.sid {
            path.push_str("&sid=");
            path.push_str(sid);
        }
        if !self.query.is_empty() {
            path.push('&');
            path.push_str(&self.query);
        }
        path
    }

    /// The value of the `Cookie` header; `None` without cookies.
    pub(crate) fn cookies(&self) -> Option<String> {
        let pairs: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// Keeps the cookies of an answer for the requests that follow, which go to the same server under the same path: attributes
    /// say nothing then, except that one is to be forgotten.
    pub(crate) fn learn(&mut self, headers: &HeaderMap) {
        for cookie in headers.get_all(SET_COOKIE) {
            let Ok(cookie) = cookie.to_str() else { continue };
            let mut parts = cookie.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            let (name, value) = (name.trim(), value.trim());
            if name.is_empty() || name.len() + value.len() > MAX_COOKIE_BYTES {
                continue;
            }
            let over = parts.any(|attribute| {
                let (key, age) = attribute.split_once('=').unwrap_or_default();
                key.eq_ignore_ascii_case("max-age") && (age == "0" || age.starts_with('-'))
            });
            self.cookies.retain(|(have, _)| have != name);
            if !over && self.cookies.len() < MAX_COOKIES {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}

/// Who knows the id of a session or its cookies can speak as this client: neither is shown.
impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("host", &self.host).field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn site() -> Site {
        Site::new("h:1", "/socket.io/", "room=7", 0xabc)
    }

    #[test]
    fn every_request_names_the_version_the_transport_and_the_session_and_differs_from_the_last() {
        let mut site = site();
        let first = site.get().unwrap();
        assert_eq!(first.uri(), "/socket.io/?EIO=4&transport=polling&t=abd&room=7");
        assert!(first.headers().get(CONTENT_TYPE).is_none());
        site.enter("BLUMXXH2uFLwxU1o-_AA");
        let post = site.post("40".into()).unwrap();
        assert_eq!(post.uri(), "/socket.io/?EIO=4&transport=polling&t=abe&sid=BLUMXXH2uFLwxU1o-_AA&room=7");
        assert_eq!((post.headers()[HOST].as_bytes(), post.method()), (&b"h:1"[..], &Method::POST));
        assert_eq!(
            site.websocket_path(),
            "/socket.io/?EIO=4&transport=websocket&sid=BLUMXXH2uFLwxU1o-_AA&room=7"
        );
    }

    #[test]
    fn h02_an_odd_session_id_stays_inside_its_parameter() {
        let mut site = site();
        site.enter("a b&x=1\r\nX: y/é#?%");
        let uri = site.get().unwrap().uri().to_string();
        assert!(uri.ends_with("&sid=a%20b%26x%3D1%0D%0AX%3A%20y%2F%C3%A9%23%3F%25&room=7"), "{uri}");
    }

    #[test]
    fn cookies_are_shown_again_until_they_are_over() {
        let mut site = site();
        let mut learn = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(SET_COOKIE, HeaderValue::from_str(line).unwrap());
            }
            site.learn(&headers);
            let shown =
                site.get().unwrap().headers().get(COOKIE).map(|shown| shown.to_str().unwrap().to_owned());
            assert_eq!(shown, site.cookies());
            shown
        };
        assert_eq!(learn(&[]), None);
        assert_eq!(
            learn(&["io=abc; Path=/; HttpOnly; SameSite=Lax", "route=n1; Max-Age=60"]).unwrap(),
            "io=abc; route=n1"
        );
        assert_eq!(learn(&["io=def=2; secure", "odd", "=x"]).unwrap(), "route=n1; io=def=2");
        assert_eq!(learn(&["route=; Max-Age=0"]).unwrap(), "io=def=2");
    }

    #[test]
    fn h02_a_flood_of_cookies_is_not_kept() {
        let mut site = site();
        for number in 0..1_000 {
            let mut headers = HeaderMap::new();
            headers.append(SET_COOKIE, HeaderValue::from_str(&format!("c{number}=v")).unwrap());
            site.learn(&headers);
        }
        assert_eq!(site.cookies.len(), MAX_COOKIES);
        let mut headers = HeaderMap::new();
        headers.append(SET_COOKIE, HeaderValue::from_str(&format!("c0={}", "v".repeat(5_000))).unwrap());
        site.learn(&headers);
        assert_eq!(site.cookies.first(), Some(&("c0".to_owned(), "v".to_owned())));
        assert!(!format!("{site:?}").contains("c0"));
    }
}
