//! HyperHQ messages: Socket.IO events with one argument, an object whose members are picked out as they are spelled.

use bytes::{BufMut, Bytes, BytesMut};
use polywire_core::json::{self, Members};
use polywire_core::{Body, JsonLimits, JsonText, Part};
use polywire_socketio::{Args, Kind, Packet};

/// One event that came: its name, its first argument and what is beside it.
pub(crate) struct Message {
    pub(crate) name: String,
    argument: Bytes,
    args: Args,
    /// Of the buffer that the text of the arguments lies in.
    pins: usize,
}

/// Longest id of a request that is kept until its answer, in bytes of JSON text.
pub(crate) const MAX_ID_BYTES: usize = 255;

impl Message {
    /// The event in a packet, which lies in a buffer of `pins` bytes; `None` when it is none, or has a name that no text can hold.
    pub(crate) fn of(packet: Packet, pins: usize) -> Option<Self> {
        let Kind::Event { args, .. } = packet.kind else { return None };
        let place = args.place(0)?;
        let name = args.text().get(place)?;
        let name = match json::as_string(name) {
            Some(name) => name.into_owned(),
            None if name.starts_with(b"\"") => return None,
            None => String::from_utf8(name.to_vec()).ok()?,
        };
        let argument = args.place(1).map_or_else(Bytes::new, |place| args.text().slice(place));
        let pins = pins.max(args.text().len());
        Some(Self { name, argument, args, pins })
    }

    /// A member of the argument; `None` where it is absent or the argument is no object.
    pub(crate) fn member(&self, name: &str) -> Option<JsonText> {
        part(&self.argument, name, self.pins)
    }

    /// The id of a request; `None` where it is absent or too long to be kept.
    pub(crate) fn id(&self, name: &str) -> Option<JsonText> {
        self.member(name).filter(|id| id.as_bytes().len() <= MAX_ID_BYTES)
    }

    /// Is the argument an object, or a text in its place? None at all and `null` are an empty one.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self.argument.first(), None | Some(b'{' | b'"' | b'n'))
    }

    /// The argument as it is spelled; bytes where it is a placeholder, empty where there is none.
    pub(crate) fn whole(&self) -> Body {
        if self.argument.is_empty() {
            return Body::Empty;
        }
        let value = JsonText::from_part(Part::of(&self.argument, &self.argument, self.pins));
        match self.attachment(&value) {
            Some(bytes) => Body::binary("", bytes),
            None => Body::Json(value),
        }
    }

    /// The names in a subscription, in any of the forms in which plugins write one: a list, a list as the member `events`, or
    /// each as an argument of its own.
    pub(crate) fn names(&self) -> Option<Vec<String>> {
        match self.argument.first() {
            None => Some(Vec::new()),
            Some(b'[') => JsonText::from_validated(self.argument.clone()).parse().ok(),
            Some(b'{') => self.member("events")?.parse().ok(),
            Some(_) => {
                let all: Vec<String> = JsonText::from_validated(self.args.text().clone()).parse().ok()?;
                Some(all.into_iter().skip(1).collect())
            }
        }
    }

    /// A member that is text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        json::as_string(self.member(name)?.as_bytes()).map(|text| text.into_owned())
    }

    /// Is this member `true`?
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.member(name).is_some_and(|value| value.as_bytes() == b"true")
    }

    /// A member as a body: bytes where a placeholder stands for an attachment, empty where it is absent.
    pub(crate) fn body(&self, name: &str) -> Body {
        let Some(value) = self.member(name) else { return Body::Empty };
        match self.attachment(&value) {
            Some(bytes) => Body::binary("", bytes),
            None => Body::Json(value),
        }
    }

    /// The attachment that this value stands for.
    fn attachment(&self, value: &JsonText) -> Option<Bytes> {
        let text = value.to_bytes();
        let mark = (!self.args.attachments().is_empty()).then(|| member(&text, "_placeholder"))??;
        let number = member(&text, "num").filter(|_| mark.as_bytes() == b"true")?;
        self.args.attachments().get(number.as_str().parse::<usize>().ok()?).cloned()
    }
}

/// A member of an object as it is spelled; of two with one name, the last.
pub(crate) fn member(object: &Bytes, name: &str) -> Option<JsonText> {
    part(object, name, 0)
}

/// The same of an object that lies in a text of `pins` bytes.
fn part(object: &Bytes, name: &str, pins: usize) -> Option<JsonText> {
    let limits = JsonLimits::default();
    let mut walk = Members::new(object, &limits).ok()?;
    let mut found = None;
    while let Some((key, place)) = walk.next().ok()? {
        if key.is(name) {
            found = object.get(place).map(|value| JsonText::from_part(Part::of(object, value, pins)));
        }
    }
    found
}

/// An object being written.
pub(crate) struct Object {
    text: BytesMut,
    attachments: Vec<Bytes>,
}

impl Object {
    pub(crate) fn new() -> Self {
        Self { text: BytesMut::from(&b"{"[..]), attachments: Vec::new() }
    }

    fn key(&mut self, name: &str) {
        if self.text.len() > 1 {
            self.text.put_u8(b',');
        }
        json::write_string(&mut self.text, name);
        self.text.put_u8(b':');
    }

    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        self.key(name);
        json::write_string(&mut self.text, value);
        self
    }

    /// A member that is JSON already.
    pub(crate) fn raw(mut self, name: &str, value: &[u8]) -> Self {
        self.key(name);
        self.text.put_slice(value);
        self
    }

    /// A member that is a body; `empty` stands for none.
    pub(crate) fn body(mut self, name: &str, body: Body, empty: &[u8]) -> Self {
        match body {
            Body::Empty => self.raw(name, empty),
            Body::Json(value) => self.raw(name, value.as_bytes()),
            Body::Binary(binary) => {
                self.attachments.push(binary.bytes);
                self.raw(name, b"{\"_placeholder\":true,\"num\":0}")
            }
        }
    }

    /// The object as JSON; it has no bytes beside it.
    pub(crate) fn json(mut self) -> JsonText {
        self.text.put_u8(b'}');
        JsonText::from_validated(self.text.freeze())
    }

    /// The event of this name with the object as its argument.
    pub(crate) fn event(mut self, name: &str) -> Packet {
        self.text.put_u8(b'}');
        event(name, &self.text, self.attachments)
    }
}

/// An event with one argument.
pub(crate) fn event(name: &str, argument: &[u8], attachments: Vec<Bytes>) -> Packet {
    let mut text = BytesMut::with_capacity(name.len() + argument.len() + 8);
    text.put_u8(b'[');
    json::write_string(&mut text, name);
    text.put_u8(b',');
    text.put_slice(argument);
    text.put_u8(b']');
    let args = Args::written(text.freeze(), attachments);
    Packet::main(Kind::Event { id: None, args })
}
