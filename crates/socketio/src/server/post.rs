//! What a request brings for its session, judged as it passes: the same as a WebSocket would bring, held to the same rules.
//!
//! Packets are looked at where they begin and where they end; nothing is kept of them, and nothing is copied. What ends the session
//! becomes a body that fails, so that the library ends its part of the session, too, and refuses the request.
//!
//! JSONP (`d=…`) is none of it: the library refuses it as no packet.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use polywire_core::Clock;

use super::flood::Flood;
use super::gate::{Gate, Reading};
use super::head::Head;
use super::verdict::Verdict;

/// Stands between two packets.
const SEPARATOR: u8 = 0x1e;
/// What the end of a body is like.
const END: &[u8] = &[SEPARATOR];

/// Looks at the packets of one request.
pub(super) struct Judge {
    gate: Arc<Gate>,
    flood: Arc<Mutex<Flood>>,
    clock: Arc<dyn Clock>,
    /// The head of the packet at hand; `None` behind a separator.
    head: Option<Head>,
    /// Its rest is waited for.
    begun: bool,
}

impl Judge {
    pub(super) fn new(gate: Arc<Gate>, flood: Arc<Mutex<Flood>>, clock: Arc<dyn Clock>) -> Self {
        Self { gate, flood, clock, head: None, begun: false }
    }

    /// These bytes are handed on.
    fn look(&mut self, mut bytes: &[u8]) -> Result<(), Verdict> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.head.is_some_and(|head| head.is_over()) {
                // The payload says nothing.
                let end = memchr::memchr(SEPARATOR, bytes);
                bytes = end.and_then(|end| bytes.get(end..)).unwrap_or_default();
                if end.is_some() {
                    self.end();
                    bytes = bytes.get(1..).unwrap_or_default();
                }
                continue;
            }
            bytes = rest;
            if byte == SEPARATOR {
                self.end();
            } else {
                self.read(byte)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, byte: u8) -> Result<(), Verdict> {
        if self.head.is_none() {
            let mut flood = self.flood.lock().unwrap_or_else(PoisonError::into_inner);
            flood.packet(byte, || self.clock.now())?;
        }
        let head = self.head.get_or_insert_default();
        head.read(byte)?;
        match head.begin() {
            // The library refuses the request and reads nothing behind it, but does not end the session.
            [Some(b'5' | b'6'), _] | [Some(b'2' | b'3'), Some(b'p')] => {
                Err(Verdict::Breach("a packet of an upgrade in a request"))
            }
            _ => Ok(()),
        }
    }

    /// The packet at hand is whole.
    fn end(&mut self) {
        match self.head.take() {
            Some(head) if head.begin()[0] == Some(b'b') => self.gate.attached(),
            Some(head) if head.due() > 0 => self.gate.announce(head.due()),
            _ => {}
        }
    }

    /// Its rest is waited for.
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            self.gate.begin_request();
        }
    }

    /// What follows is replaced by this error.
    fn refuse(&self, verdict: Verdict) -> Box<dyn Error + Send + Sync> {
        tracing::debug!("a client is sent away: {verdict:?}");
        // Before the library hears of it, and tells of something else.
        self.gate.condemn(verdict);
        "a request that breaks a rule".into()
    }
}

impl Drop for Judge {
    /// Nothing more comes of this request.
    fn drop(&mut self) {
        if self.begun {
            self.gate.finish_request();
        } else {
            self.gate.tell();
        }
    }
}

/// The body of a request, and what judges it where it is said to a session.
pub(super) struct Post<B> {
    body: B,
    judge: Option<Judge>,
}

impl<B> Post<B> {
    pub(super) fn new(body: B, judge: Option<Judge>) -> Self {
        Self { body, judge }
    }
}

impl<B> Body for Post<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx).map_err(Into::into);
        let Some(judge) = &mut this.judge else { return polled };
        let judged = match &polled {
            Poll::Pending => {
                judge.begin();
                return match judge.gate.poll_read(cx) {
                    Poll::Ready(Reading::Cut) => Poll::Ready(Some(Err("the session has ended".into()))),
                    _ => Poll::Pending,
                };
            }
            Poll::Ready(Some(Ok(frame))) => judge.look(frame.data_ref().map_or(END, |data| data)),
            Poll::Ready(None) => judge.look(END),
            Poll::Ready(Some(Err(_))) => Ok(()),
        };
        match judged {
            Ok(()) => polled,
            Err(verdict) => Poll::Ready(Some(Err(judge.refuse(verdict)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        // Its last packet is whole only once its end has been seen.
        self.judge.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> fmt::Debug for Post<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Post")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::task::Waker;

    use polywire_core::TokioClock;

    use super::*;

    /// A body in these chunks, which may come to no end.
    struct Chunks(VecDeque<Bytes>, bool);

    impl Body for Chunks {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.pop_front() {
                Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
                None if self.1 => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    struct Session(Arc<Gate>, Arc<Mutex<Flood>>);

    impl Session {
        fn new() -> Self {
            Self(Arc::default(), Arc::new(Mutex::new(Flood::new(3))))
        }

        fn post(&self, text: &str, size: usize, ends: bool) -> Post<Chunks> {
            let chunks = text.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
            let judge = Judge::new(Arc::clone(&self.0), Arc::clone(&self.1), Arc::new(TokioClock));
            Post::new(Chunks(chunks, ends), Some(judge))
        }

        /// Whether something is waited for once all of it has been read.
        fn reads(&self, text: &str, size: usize) -> bool {
            let mut post = self.post(text, size, true);
            assert_eq!(passed(&mut post), Poll::Ready(Ok(text.to_owned())), "{size} of {text:?}");
            drop(post);
            self.0.has_begun()
        }
    }

    /// What passes, or why nothing more does; pending where the rest is waited for.
    fn passed(post: &mut Post<Chunks>) -> Poll<Result<String, String>> {
        let mut all = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match Pin::new(&mut *post).poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => all.extend(frame.into_data().unwrap()),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.to_string())),
                Poll::Ready(None) => return Poll::Ready(Ok(String::from_utf8(all).unwrap())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    #[test]
    fn h06_what_requests_announce_is_waited_for_until_it_has_come_wherever_they_are_cut() {
        for size in 1..20 {
            let session = Session::new();
            for (text, waits) in [
                ("42[\"451-\"]\u{1e}40\u{1e}450-[\"a\"]", false),
                ("3\u{1e}452-[\"a\"]", true),
                ("b", true),
                ("beA==", false),
                ("461-/n,7[]\u{1e}beA==", false),
                // Nobody announced it: the library refuses it.
                ("beA==", false),
                ("4512-[\"b\",\"b\"]\u{1e}", true),
                (&["b"; 11].join("\u{1e}"), true),
                ("b\u{1e}42[\"a\"]", false),
                ("", false),
            ] {
                assert_eq!(session.reads(text, size), waits, "{size} of {text:?}");
            }
        }
    }

    #[test]
    fn h06_the_rest_of_a_request_is_waited_for_until_nobody_wants_it() {
        let session = Session::new();
        let (mut half, mut other) = (session.post("42[\"a", 2, false), session.post("451-[", 9, false));
        assert!(!session.0.has_begun());
        assert_eq!(passed(&mut half), Poll::Pending);
        assert_eq!(passed(&mut other), Poll::Pending);
        assert!(session.0.has_begun());
        assert!(session.reads("42[]", 9), "others are waited for all the same");
        // The stream of an upgrade tells of its own messages alone.
        session.0.set_begun(false, false);
        assert!(session.0.has_begun());
        drop(other);
        assert!(session.0.has_begun());
        session.0.cut();
        assert_eq!(passed(&mut half), Poll::Ready(Err("the session has ended".to_owned())));
        drop(half);
        assert!(!session.0.has_begun(), "what was announced was not whole");
        let unread = session.post("42[]", 9, true);
        session.0.set_begun(true, false);
        drop(unread);
        assert!(session.0.has_begun(), "a request that nobody reads says nothing of the stream");
    }

    /// The only request of a session passes or fails, in chunks of every size.
    fn judged(text: &str, verdict: Option<Verdict>) {
        for size in 1..20 {
            let session = Session::new();
            let read = passed(&mut session.post(text, size, true));
            let ends = Poll::Ready(
                verdict.map_or(Ok(text.to_owned()), |_| Err("a request that breaks a rule".to_owned())),
            );
            assert_eq!((read, session.0.verdict()), (ends, verdict), "{size} of {text:?}");
        }
    }

    #[test]
    fn h05_packets_of_an_upgrade_and_disconnects_with_more_fail_wherever_they_are_cut() {
        for (text, breach) in [
            ("3\u{1e}6", Some("a packet of an upgrade in a request")),
            ("2probe", Some("a packet of an upgrade in a request")),
            ("40\u{1e}41{}", Some("a DISCONNECT with a payload")),
            ("42[\"41{}\"]\u{1e}41", None),
        ] {
            judged(text, breach.map(Verdict::Breach));
        }
    }

    #[test]
    fn h10_more_pings_in_a_second_than_allowed_fail_wherever_they_are_cut() {
        judged("2\u{1e}3\u{1e}42[]\u{1e}2\u{1e}40", None);
        judged("2\u{1e}3\u{1e}42[]\u{1e}2x\u{1e}3", Some(Verdict::Flood(3)));
        let session = Session::new();
        for few in ["2\u{1e}2", "3"] {
            session.reads(few, 9);
        }
        assert!(matches!(passed(&mut session.post("2", 9, true)), Poll::Ready(Err(_))), "over requests");
    }
}
