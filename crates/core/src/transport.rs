//! What carries frames: a stream of bytes, or a stream of messages.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, BytesMut};
use futures_core::Stream;
use futures_sink::Sink;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use crate::codec::{Codec, FrameError, Message, MessageCodec, StreamCodec};
use crate::outgoing::Outgoing;
use crate::session::{Close, Flush};
use crate::spare;

/// Carries the frames of codec `C` for one connection. The engine polls it from one task.
///
/// [`ByteStream`] and [`MessageStream`] are all that most wires need. One of its own is for a wire whose connection is more than
/// one stream.
pub trait Transport<C: Codec>: Send + Unpin + 'static {
    /// The next frame, decoded under the mode the codec is in now; `None` when the peer has closed.
    ///
    /// # Errors
    /// [`TransportError`]; the connection is over then.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        codec: &mut C,
    ) -> Poll<Result<Option<C::Frame>, TransportError>>;

    /// Has the peer closed? Asked while no frame is wanted. May read on, as far as a read buffer holds, and keeps what it finds for
    /// [`Transport::poll_receive`]; beyond that it cannot tell. Pending unless implemented: a transport of whole messages would
    /// have to take one.
    ///
    /// # Errors
    /// [`TransportError`]; the connection is over then.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let _ = cx;
        Poll::Pending
    }

    /// Has a frame been begun and not finished?
    fn has_partial(&self) -> bool;

    /// Memory that is kept of what was received and is no whole frame yet, in bytes, for [`Memory`](crate::Memory). 0 unless
    /// implemented.
    fn keeps(&self) -> usize {
        0
    }

    /// How much memory a slice of the frame that came last keeps, in bytes; 0 where that is just the length of the frame, and unless
    /// implemented.
    fn pins(&self) -> usize {
        0
    }

    /// Most bytes to keep of a frame that is not finished, or to take of a message that comes whole; more is a
    /// [`FrameError::TooLarge`] that names `setting`.
    fn set_partial_limit(&mut self, max: usize, setting: &'static str);

    /// Encodes `frame` at once, under the mode the codec is in now.
    ///
    /// # Errors
    /// [`FrameError`] when the wire cannot hold the frame; nothing was appended then.
    fn send(&mut self, frame: C::Frame, flush: Flush, codec: &mut C) -> Result<(), FrameError>;

    /// Bytes encoded and not yet written; more than 0 as long as a flush is needed.
    fn unsent(&self) -> usize;

    /// Writes what was encoded. Pending when the transport takes no more now.
    ///
    /// # Errors
    /// Whatever the transport reports; the connection is over then.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>>;

    /// Closes in order, after a flush.
    ///
    /// # Errors
    /// Whatever the transport reports.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>>;

    /// Does it hold memory that [`rest`](Self::rest) gives back? Whatever else is going on then decides, unless implemented.
    fn is_roomy(&self) -> bool {
        false
    }

    /// Nothing is going on: gives memory back.
    fn rest(&mut self);
}

/// Why a transport is over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The operating system or the layer below failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are no frames of this wire.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The message layer below failed, such as a WebSocket.
    #[error("{0}")]
    Layer(#[source] Box<dyn Error + Send + Sync>),
    /// The layer below has ended it, for this reason.
    #[error("{0}")]
    Ended(Close),
}

/// Room made for a read when nothing is known of what comes.
const READ_BYTES: usize = 16 << 10;
/// Most room made for one read; a buffer for it, and for what is left of the read before, is one that threads keep.
const MAX_READ_BYTES: usize = 128 << 10;
/// A buffer larger than this is of the frame that it was made for alone: what comes behind that frame keeps none of its memory.
const MAX_SHARED_BYTES: usize = spare::MAX_ROOM;
/// Most room made on a peer's word alone, before its bytes are there.
const TRUSTED_BYTES: usize = 64 << 10;

/// Most reads that are thrown away when this side closes.
const DISCARDED_READS: usize = 64;

fn check(got: usize, (max, setting): (usize, &'static str)) -> Result<(), FrameError> {
    if got <= max {
        return Ok(());
    }
    let [got, max] = [got, max].map(|bytes| u64::try_from(bytes).unwrap_or(u64::MAX));
    Err(FrameError::TooLarge { got, max, setting })
}

/// A stream of bytes as a transport: TCP, a Unix socket, TLS, an in-memory pipe.
///
/// The read buffer exists only while bytes are in it or being read, so an idle connection holds none.
pub struct ByteStream<Io> {
    io: Io,
    input: BytesMut,
    /// All of the memory that `input` is a part of.
    buffer: usize,
    /// The same of the frame that came last.
    pins: usize,
    output: Outgoing,
    /// Room for the next read; grows while reads fill it.
    read_bytes: usize,
    partial_limit: (usize, &'static str),
}

impl<Io> ByteStream<Io> {
    /// A transport over `io`.
    pub fn new(io: Io) -> Self {
        Self {
            io,
            input: BytesMut::new(),
            buffer: 0,
            pins: 0,
            output: Outgoing::new(),
            read_bytes: READ_BYTES,
            partial_limit: (usize::MAX, "max_frame_bytes"),
        }
    }

    /// Makes room for a read. The buffer becomes larger than [`MAX_SHARED_BYTES`] only for a frame of which more than half of that
    /// is there.
    fn make_room(&mut self, room: usize) {
        if self.input.capacity() == 0 {
            self.input = spare::take();
            self.buffer = 0;
        }
        let got = self.input.len();
        if got > MAX_READ_BYTES {
            self.input.reserve(room);
        } else if !self.input.try_reclaim(room) {
            // Growing in place would keep what lies before the bytes, too.
            let twice = self.input.capacity().saturating_mul(2).min(MAX_SHARED_BYTES);
            let mut input = BytesMut::with_capacity(twice.max(got.saturating_add(room)));
            input.extend_from_slice(&self.input);
            self.input = input;
            self.buffer = 0;
        }
        // Less than all of it only while frames lie before the bytes, and then all of it was seen before.
        self.buffer = self.buffer.max(self.input.capacity());
    }

    /// Leaves the buffer to the frame that was taken off it; the rest, which is less than a read, moves to one of its own
    /// that has room for the next.
    fn leave_buffer(&mut self) {
        let rest = std::mem::take(&mut self.input);
        if !rest.is_empty() {
            self.input = BytesMut::with_capacity(rest.len().saturating_add(self.read_bytes));
            self.input.extend_from_slice(&rest);
            self.buffer = self.input.capacity();
        }
    }
}

impl<Io> fmt::Debug for ByteStream<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByteStream({} bytes in, {} out)", self.input.len(), self.output.len())
    }
}

impl<Io, C> Transport<C> for ByteStream<Io>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    C: StreamCodec,
{
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        codec: &mut C,
    ) -> Poll<Result<Option<C::Frame>, TransportError>> {
        loop {
            let mut room = self.read_bytes;
            if !self.input.is_empty() {
                let held = self.input.capacity();
                if let Some(frame) = codec.decode(&mut self.input)? {
                    self.pins = self.buffer;
                    if held > MAX_SHARED_BYTES {
                        self.leave_buffer();
                    }
                    return Poll::Ready(Ok(Some(frame)));
                }
                check(self.input.len(), self.partial_limit)?;
                let trusted = codec.missing(&self.input).min(TRUSTED_BYTES.max(self.input.len()));
                room = room.max(trusted);
            }
            self.make_room(room);
            // No more than that, so that little comes behind a large frame.
            match poll_read_buf(Pin::new(&mut self.io), cx, &mut (&mut self.input).limit(room)) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(read)) => {
                    if read == room {
                        self.read_bytes = (self.read_bytes * 2).min(MAX_READ_BYTES);
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {
                    if self.input.is_empty() {
                        spare::give(std::mem::take(&mut self.input));
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        while let room @ 1.. = READ_BYTES.min(self.partial_limit.0).saturating_sub(self.input.len()) {
            self.make_room(room);
            match poll_read_buf(Pin::new(&mut self.io), cx, &mut (&mut self.input).limit(room)) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => break,
            }
        }
        if self.input.is_empty() {
            spare::give(std::mem::take(&mut self.input));
        }
        Poll::Pending
    }

    fn has_partial(&self) -> bool {
        !self.input.is_empty()
    }

    /// All of a buffer that is of one frame alone; of one that many frames share what is in it.
    fn keeps(&self) -> usize {
        let held = self.input.capacity();
        if held > MAX_SHARED_BYTES { held } else { self.input.len() }
    }

    fn pins(&self) -> usize {
        self.pins
    }

    fn set_partial_limit(&mut self, max: usize, setting: &'static str) {
        self.partial_limit = (max, setting);
    }

    fn send(&mut self, frame: C::Frame, flush: Flush, codec: &mut C) -> Result<(), FrameError> {
        if flush == Flush::Alone {
            self.output.fence();
        }
        codec.encode(frame, &mut self.output)?;
        if flush != Flush::Coalesce {
            self.output.fence();
        }
        Ok(())
    }

    fn unsent(&self) -> usize {
        self.output.len()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.output.poll_write_to(Pin::new(&mut self.io), cx).map_err(TransportError::Io)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        // A TCP socket that is dropped with bytes unread is reset, and the peer may lose what was written last.
        self.input = BytesMut::new();
        for _ in 0..DISCARDED_READS {
            self.input.clear();
            self.input.reserve(READ_BYTES);
            if !matches!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.input), Poll::Ready(Ok(1..))) {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn rest(&mut self) {
        self.read_bytes = READ_BYTES;
    }
}

/// A stream of messages as a transport: a WebSocket, the channel pair behind a server library's socket.
#[derive(Debug)]
pub struct MessageStream<Io> {
    io: Io,
    output: VecDeque<Message>,
    unsent: usize,
    /// Something was handed to `io` or is about to be, and `io` has not said since that it is gone.
    unflushed: bool,
    limit: (usize, &'static str),
}

impl<Io> MessageStream<Io> {
    /// A transport over `io`.
    pub fn new(io: Io) -> Self {
        let limit = (usize::MAX, "max_frame_bytes");
        Self { io, output: VecDeque::new(), unsent: 0, unflushed: false, limit }
    }
}

impl<Io, C, E> Transport<C> for MessageStream<Io>
where
    Io: Stream<Item = Result<Message, E>> + Sink<Message, Error = E> + Send + Unpin + 'static,
    E: Error + Send + Sync + 'static,
    C: MessageCodec,
{
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        codec: &mut C,
    ) -> Poll<Result<Option<C::Frame>, TransportError>> {
        loop {
            match ready!(Pin::new(&mut self.io).poll_next(cx)) {
                None => return Poll::Ready(Ok(None)),
                Some(Err(error)) => return Poll::Ready(Err(TransportError::Layer(Box::new(error)))),
                Some(Ok(message)) => {
                    check(message.len(), self.limit)?;
                    if let Some(frame) = codec.decode(message)? {
                        return Poll::Ready(Ok(Some(frame)));
                    }
                }
            }
        }
    }

    fn has_partial(&self) -> bool {
        false
    }

    fn set_partial_limit(&mut self, max: usize, setting: &'static str) {
        self.limit = (max, setting);
    }

    fn send(&mut self, frame: C::Frame, _flush: Flush, codec: &mut C) -> Result<(), FrameError> {
        codec.encode(frame, &mut |message| {
            self.unflushed = true;
            self.unsent = self.unsent.saturating_add(message.len());
            self.output.push_back(message);
        })
    }

    fn unsent(&self) -> usize {
        self.unsent.saturating_add(usize::from(self.unflushed))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let layer = |error: E| TransportError::Layer(Box::new(error));
        while !self.output.is_empty() {
            ready!(Pin::new(&mut self.io).poll_ready(cx)).map_err(layer)?;
            if let Some(message) = self.output.pop_front() {
                self.unsent = self.unsent.saturating_sub(message.len());
                Pin::new(&mut self.io).start_send(message).map_err(layer)?;
            }
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx)).map_err(layer)?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Pin::new(&mut self.io).poll_close(cx).map_err(|error| TransportError::Layer(Box::new(error)))
    }

    fn rest(&mut self) {
        if self.output.is_empty() {
            self.output = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bytes::Bytes;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// Frames of four bytes that say how long the rest is.
    struct Long;

    impl Codec for Long {
        type Frame = Bytes;
        type Mode = ();

        fn set_read_mode(&mut self, (): ()) {}

        fn set_write_mode(&mut self, (): ()) {}
    }

    impl StreamCodec for Long {
        fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
            let Some(size) = input.first_chunk().map(|size| u32::from_le_bytes(*size) as usize) else {
                return Ok(None);
            };
            Ok((input.len() >= 4 + size).then(|| input.split_to(4 + size).freeze()))
        }

        fn encode(&mut self, frame: Bytes, out: &mut Outgoing) -> Result<(), FrameError> {
            out.put_bytes(frame);
            Ok(())
        }
    }

    fn write(far: &mut DuplexStream, bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(Pin::new(far).poll_write(&mut cx, bytes), Poll::Ready(Ok(_))));
    }

    fn receive(stream: &mut ByteStream<DuplexStream>) -> Option<Bytes> {
        match stream.poll_receive(&mut Context::from_waker(Waker::noop()), &mut Long) {
            Poll::Ready(frame) => Some(frame.unwrap().unwrap()),
            Poll::Pending => None,
        }
    }

    fn holds_none(stream: &ByteStream<DuplexStream>) -> bool {
        stream.input.capacity() == 0
    }

    #[test]
    fn a_read_buffer_is_lent_while_bytes_are_in_it_and_then_serves_the_next_connection() {
        let (near, mut far) = duplex(1_000);
        let (other, mut beyond) = duplex(1_000);
        let (mut stream, mut other) = (ByteStream::new(near), ByteStream::new(other));
        assert!(receive(&mut stream).is_none() && holds_none(&stream));
        assert_eq!(spare::kept(), 1, "nothing came, so the first buffer is free again");
        write(&mut far, b"\x02\0\0\0a");
        assert!(receive(&mut stream).is_none() && !holds_none(&stream), "a part of a frame stays");
        assert_eq!(spare::kept(), 0, "in the only buffer there is");
        write(&mut far, b"b");
        assert_eq!(receive(&mut stream).as_deref(), Some(&b"\x02\0\0\0ab"[..]));
        assert!(receive(&mut stream).is_none() && holds_none(&stream));
        assert_eq!(spare::kept(), 1, "and is given back with the last byte");
        write(&mut beyond, b"\x02\0\0\0c");
        assert!(receive(&mut other).is_none() && !holds_none(&other));
        assert_eq!(spare::kept(), 0, "the next connection takes it and asks for no other");
    }

    fn long(size: usize) -> Vec<u8> {
        let mut frame = u32::try_from(size).unwrap().to_le_bytes().to_vec();
        frame.resize(4 + size, 7);
        frame
    }

    /// The frames of a stream that is there as a whole, and how much was read behind each.
    fn frames(sizes: &[usize]) -> Vec<(Bytes, usize)> {
        let bytes: Vec<u8> = sizes.iter().flat_map(|size| long(*size)).collect();
        let (near, mut far) = duplex(bytes.len());
        write(&mut far, &bytes);
        let mut stream = ByteStream::new(near);
        let mut cx = Context::from_waker(Waker::noop());
        let mut next = || match stream.poll_receive(&mut cx, &mut Long) {
            Poll::Ready(frame) => (frame.unwrap().unwrap(), stream.input.len()),
            Poll::Pending => panic!("the bytes are there"),
        };
        let frames: Vec<_> = sizes.iter().map(|_| next()).collect();
        assert!(frames.iter().zip(sizes).all(|((frame, _), size)| frame.len() == 4 + size));
        frames
    }

    #[test]
    fn what_comes_behind_a_large_frame_keeps_none_of_its_memory() {
        let frames = frames(&[4 << 20, 33 << 10, 40 << 10, 5 << 20, 33 << 10, 33 << 10, 33 << 10]);
        for (large, small) in [(0, 1), (3, 4)] {
            let (large, small) = (&frames[large].0, &frames[small].0);
            assert_ne!(large.as_ptr_range().end, small.as_ptr(), "one allocation");
        }
    }

    #[test]
    fn what_comes_behind_a_large_frame_moves_once() {
        for rest in [1, 10 << 10, 100 << 10] {
            let bytes = [long(4 << 20), long(1 << 20)[..rest].to_vec()].concat();
            let (near, mut far) = duplex(bytes.len());
            write(&mut far, &bytes);
            let mut stream = ByteStream::new(near);
            let mut cx = Context::from_waker(Waker::noop());
            assert!(stream.poll_receive(&mut cx, &mut Long).is_ready(), "the large frame");
            let place = stream.input.as_ptr();
            assert!(stream.poll_receive(&mut cx, &mut Long).is_pending(), "a part of the next");
            assert_eq!((stream.input.len(), stream.input.as_ptr()), (rest, place));
        }
    }

    #[test]
    fn behind_each_large_frame_there_is_less_than_a_read_to_move() {
        for size in [200 << 10, 1 << 20] {
            let rests: Vec<_> = frames(&[size; 16]).into_iter().map(|(_, rest)| rest).collect();
            assert!(rests.iter().all(|rest| *rest < MAX_READ_BYTES), "{rests:?}");
        }
    }

    #[test]
    fn a_buffer_for_many_frames_is_no_larger_than_is_shared() {
        // Reads of every size, and a rest of every size behind them.
        for part in [33 << 10, 47 << 10, 100 << 10, 120 << 10] {
            let (near, mut far) = duplex(1 << 20);
            let mut stream = ByteStream::new(near);
            let frames = long(part).repeat(40);
            for piece in frames.chunks(190 << 10) {
                write(&mut far, piece);
                while let Poll::Ready(frame) =
                    stream.poll_receive(&mut Context::from_waker(Waker::noop()), &mut Long)
                {
                    assert_eq!(frame.unwrap().unwrap().len(), 4 + part);
                    assert!(stream.input.capacity() <= MAX_SHARED_BYTES);
                }
                assert!(stream.input.capacity() <= MAX_SHARED_BYTES, "{}", stream.input.capacity());
            }
        }
    }

    #[test]
    fn a_slice_keeps_all_of_the_buffer_that_its_frame_came_in() {
        let (near, mut far) = duplex(1 << 20);
        let mut stream = ByteStream::new(near);
        let pins = |stream: &ByteStream<DuplexStream>| Transport::<Long>::pins(stream);
        write(&mut far, &[long(100), long(100)].concat());
        for _ in 0..2 {
            receive(&mut stream).unwrap();
            assert_eq!(pins(&stream), READ_BYTES, "the first and the second of one buffer");
        }
        assert!(receive(&mut stream).is_none());
        let large = 300 << 10;
        write(&mut far, &[long(large), long(100)].concat());
        let held = receive(&mut stream).unwrap();
        assert!((held.len()..=4 * held.len()).contains(&pins(&stream)), "{}", pins(&stream));
        receive(&mut stream).unwrap();
        assert!(
            pins(&stream) <= MAX_SHARED_BYTES,
            "what comes behind a large frame keeps none of its memory"
        );
    }

    #[test]
    fn of_many_read_buffers_at_once_a_few_are_kept() {
        let mut pipes: Vec<_> =
            (0..20).map(|_| duplex(1_000)).map(|(near, far)| (ByteStream::new(near), far)).collect();
        for bytes in [&b"\x02\0\0\0a"[..], b"b"] {
            for (stream, far) in &mut pipes {
                write(far, bytes);
                receive(stream);
            }
        }
        assert!(pipes.iter_mut().all(|(stream, _)| receive(stream).is_none() && holds_none(stream)));
        assert_eq!(spare::kept(), 4);
    }
}
