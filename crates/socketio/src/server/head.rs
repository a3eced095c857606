//! What a text of Engine.IO says before its payload: what it is, how many attachments it announces, and what the library would take
//! without a word though it is none.
//!
//! Observed with socketioxide 0.18.9: an event whose id 64 bits do not hold is taken for one that wants no answer, so whoever sent it
//! waits in vain, and what stands behind a DISCONNECT is passed over.

use super::verdict::Verdict;
use crate::packet::MAX_ID;

/// The longest number that is read: no id is longer, and no count.
const MOST_DIGITS: u8 = 16;
/// The longest namespace that is read; nobody is served in a longer one.
const MOST_NAMESPACE: u16 = 256;

/// The head of one text, read byte by byte, over all its frames or chunks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    place: Place,
    /// Its first two bytes, as far as they have come.
    begin: [Option<u8>; 2],
    /// Attachments that it announces.
    due: u32,
    /// The number at hand, and the bytes of the number or the namespace.
    number: u64,
    digits: u8,
    namespace: u16,
}

/// Where in it the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// The type in Engine.IO.
    #[default]
    Type,
    /// The type in Socket.IO.
    Kind,
    Count,
    /// Behind what stands before a namespace, which may be there.
    Behind,
    Namespace,
    Id,
    /// Nothing more of it says anything.
    Over,
}

impl Head {
    /// That of a message which is no text: there is nothing to be read.
    pub(super) fn none() -> Self {
        Self { place: Place::Over, ..Self::default() }
    }

    /// Reads the next byte.
    ///
    /// # Errors
    /// How it breaks the protocol.
    pub(super) fn read(&mut self, byte: u8) -> Result<(), Verdict> {
        self.place = match self.place {
            Place::Type => {
                self.begin[0] = Some(byte);
                // Behind a ping or a pong stands whether it is one of an upgrade.
                if matches!(byte, b'2'..=b'4') { Place::Kind } else { Place::Over }
            }
            Place::Kind => {
                self.begin[1] = Some(byte);
                match (self.begin[0], byte) {
                    (Some(b'4'), b'1'..=b'3') => Place::Behind,
                    (Some(b'4'), b'5' | b'6') => Place::Count,
                    _ => Place::Over,
                }
            }
            Place::Count => match byte {
                b'0'..=b'9' => self.digit(byte)?,
                b'-' => {
                    self.due = u32::try_from(std::mem::take(&mut self.number)).unwrap_or(u32::MAX);
                    self.digits = 0;
                    Place::Behind
                }
                // The library refuses it.
                _ => Place::Over,
            },
            Place::Behind if byte == b'/' => Place::Namespace,
            Place::Namespace if byte == b',' => Place::Id,
            Place::Namespace if self.namespace >= MOST_NAMESPACE => Place::Over,
            Place::Namespace => {
                self.namespace += 1;
                Place::Namespace
            }
            Place::Behind | Place::Id if self.begin[1] == Some(b'1') => {
                return Err(Verdict::Breach("a DISCONNECT with a payload"));
            }
            Place::Behind | Place::Id if byte.is_ascii_digit() => {
                self.digit(byte)?;
                if self.number > MAX_ID {
                    return Err(Verdict::Breach("an id above 2^53 - 1"));
                }
                Place::Id
            }
            Place::Behind | Place::Id | Place::Over => Place::Over,
        };
        Ok(())
    }

    /// One more digit of the number at hand, which goes on where it stands.
    fn digit(&mut self, digit: u8) -> Result<Place, Verdict> {
        if self.digits == MOST_DIGITS {
            return Err(Verdict::Breach("a number of more than 16 digits"));
        }
        self.digits += 1;
        self.number = self.number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
        Ok(self.place)
    }

    /// Nothing more of it says anything.
    pub(super) fn is_over(&self) -> bool {
        self.place == Place::Over
    }

    /// Its first two bytes, as far as they have come.
    pub(super) fn begin(&self) -> [Option<u8>; 2] {
        self.begin
    }

    /// Is it a CONNECT?
    pub(super) fn is_connect(&self) -> bool {
        self.begin == [Some(b'4'), Some(b'0')]
    }

    /// How many attachments it announces, as far as is known.
    pub(super) fn due(&self) -> u32 {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::packet::{Kind, Packet, PacketLimits, Parsed};
    use crate::tests::vectors::load;

    fn read(text: &str) -> Result<Head, Verdict> {
        let mut head = Head::default();
        text.bytes().try_for_each(|byte| head.read(byte)).map(|()| head)
    }

    #[test]
    fn h06_attachments_are_announced_once_their_count_is_whole_and_not_before() {
        for (text, whole, due) in [
            ("451-[\"a\"]", 4, 1),
            ("4612-/n,7[]", 5, 12),
            ("4500000002-", 11, 2),
            ("459999999999-", 13, u32::MAX),
            ("450-[\"a\"]", 0, 0),
            ("45-1-[\"a\"]", 0, 0),
            ("45[\"a\",1-]", 0, 0),
            ("451e3-", 0, 0),
            ("42[\"5\",1-]", 0, 0),
            ("42", 0, 0),
            ("551-", 0, 0),
            ("b451-", 0, 0),
        ] {
            for end in 0..=text.len() {
                let head = read(&text[..end]).unwrap();
                assert_eq!(head.due(), if end < whole { 0 } else { due }, "{}", &text[..end]);
            }
        }
    }

    #[test]
    fn h05_ids_that_the_library_drops_and_disconnects_with_more_are_breaches_at_their_first_byte_too_many() {
        let long = format!("421{}", "0".repeat(16));
        for (text, breach) in [
            (&*long, "a number of more than 16 digits"),
            ("429007199254740992", "an id above 2^53 - 1"),
            ("42/news,9007199254740992", "an id above 2^53 - 1"),
            ("452-9007199254740992", "an id above 2^53 - 1"),
            ("4612-/n,9999999999999999", "an id above 2^53 - 1"),
            ("4500000000000000001", "a number of more than 16 digits"),
            ("41{", "a DISCONNECT with a payload"),
            ("411", "a DISCONNECT with a payload"),
            ("41/news,[", "a DISCONNECT with a payload"),
        ] {
            assert!(read(&text[..text.len() - 1]).is_ok(), "{text} without its last byte");
            assert_eq!(read(text).err(), Some(Verdict::Breach(breach)), "{text}");
        }
        for text in [
            "429007199254740991[\"a\",99999999999999999999]",
            "42/n,9007199254740991[\"a\"]",
            "4310[99999999999999999999]",
            "42[99999999999999999999]",
            "42-99999999999999999999",
            "40{\"a\":99999999999999999999}",
            "299999999999999999999",
            "41",
            "41/news",
            "41/news,",
            "1{",
        ] {
            assert!(read(text).is_ok(), "{text}");
        }
    }

    /// The head of a text that the parser takes, of which both say the same.
    fn agreed(text: &str) -> Option<Head> {
        let (packet, due) = match Packet::parse(&Bytes::from(text.to_owned()), &PacketLimits::default()) {
            Ok(Parsed::Whole(packet)) => (packet, 0),
            Ok(Parsed::Awaits(packet, due)) => (packet, u32::try_from(due).unwrap()),
            // Most of that is left to others.
            Err(_) => return None,
        };
        let id = match packet.kind {
            Kind::Event { id, .. } | Kind::Ack { id, .. } | Kind::Beyond { id, .. } => id,
            Kind::Connect(_) | Kind::Disconnect | Kind::ConnectError(_) => None,
        };
        let Ok(head) = read(&format!("4{text}")) else {
            assert_eq!(text, "112", "a DISCONNECT with an id, of which only the head makes anything");
            return None;
        };
        assert_eq!((head.due(), (head.digits > 0).then_some(head.number)), (due, id), "{text}");
        Some(head)
    }

    #[test]
    fn it_says_of_recorded_packets_what_the_parser_says() {
        let files = ["encode", "decode", "decode-invalid", "decode-quirks"];
        let vectors = files.into_iter().flat_map(|file| load(&format!("socketio-{file}")));
        let frames = vectors.flat_map(|vector| vector["frames"].as_array().cloned().unwrap_or_default());
        let heads: Vec<_> = frames.filter_map(|frame| agreed(frame["text"].as_str()?)).collect();
        let with_id = heads.iter().filter(|head| head.digits > 0).count();
        let binary = heads.iter().filter(|head| head.due() > 0).count();
        assert!(heads.len() > 50 && with_id > 5 && binary > 5, "{} {with_id} {binary}", heads.len());
    }

    #[test]
    fn it_is_over_where_nothing_more_says_anything() {
        for (text, length) in [
            ("b451-", 1),
            ("6", 1),
            ("3x", 2),
            ("2probe", 2),
            ("40{}", 2),
            ("42[\"a\"]", 3),
            ("4217[\"a\"]", 5),
            ("42/n,17[\"a\"]", 8),
            ("4612-/n,7[]", 10),
        ] {
            for end in 0..=text.len() {
                assert_eq!(read(&text[..end]).unwrap().is_over(), end >= length, "{}", &text[..end]);
            }
        }
        let long = format!("42/{}", "n".repeat(300));
        assert!(read(&long).unwrap().is_over(), "nobody is served there");
        let longest = format!("42/{},9007199254740992", "n".repeat(255));
        assert!(read(&longest).is_err());
        assert!(Head::none().is_over());
    }
}
