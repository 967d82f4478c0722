//! The few messages of the D-Bus protocol that are needed here, as bytes
//! (<https://dbus.freedesktop.org/doc/dbus-specification.html>).
//!
//! Little-endian alone: sender and receiver are of one machine, and there is
//! no other kind that nucleus runs on.

/// The longest message that is read. The protocol allows 128 MiB; nothing that
/// is waited for here comes near to this.
pub(super) const LONGEST: usize = 1 << 20;

/// The part of a message that has the same length in all of them.
pub(super) const FIXED: usize = 16;

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Return,
    Error,
    Signal,
    /// One of a later version of the protocol, which is to be ignored.
    Other(u8),
}

impl Kind {
    const fn of(byte: u8) -> Self {
        match byte {
            1 => Self::Call,
            2 => Self::Return,
            3 => Self::Error,
            4 => Self::Signal,
            other => Self::Other(other),
        }
    }
}

/// Values in their order, each aligned as its type asks.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn number(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn long(&mut self, value: u64) {
        self.align(8);
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn text(&mut self, value: &str) {
        self.number(length(value.len()));
        self.0.extend(value.as_bytes());
        self.byte(0);
    }

    pub(super) fn signature(&mut self, value: &str) {
        // All that are written here are short.
        self.byte(length(value.len()).to_le_bytes()[0]);
        self.0.extend(value.as_bytes());
        self.byte(0);
    }

    /// An array whose elements `fill` writes, aligned as their type asks.
    pub(super) fn array(&mut self, align: usize, fill: impl FnOnce(&mut Self)) {
        self.number(0);
        let place = self.0.len() - 4;
        self.align(align);
        let start = self.0.len();
        fill(self);
        let bytes = length(self.0.len() - start).to_le_bytes();
        if let Some(place) = self.0.get_mut(place..place + 4) {
            place.copy_from_slice(&bytes);
        }
    }

    /// A name with a variant of this type.
    pub(super) fn property(&mut self, name: &str, kind: &str, value: impl FnOnce(&mut Self)) {
        self.align(8);
        self.text(name);
        self.signature(kind);
        value(self);
    }

    /// The bytes of a message of which this is the head.
    pub(super) fn close(mut self, body: &Self) -> Vec<u8> {
        self.align(8);
        self.0.extend(&body.0);
        self.0
    }

    pub(super) fn field(&mut self, code: u8, kind: &str, value: impl FnOnce(&mut Self)) {
        self.align(8);
        self.byte(code);
        self.signature(kind);
        value(self);
    }
}

/// Nothing that is written here is longer than a few hundred bytes.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A method to be called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method {
    pub(super) destination: &'static str,
    pub(super) path: &'static str,
    pub(super) interface: &'static str,
    pub(super) member: &'static str,
    /// The types of what it takes.
    pub(super) signature: &'static str,
}

impl Method {
    /// The message that calls it.
    pub(super) fn call(self, serial: u32, arguments: &Writer) -> Vec<u8> {
        let mut out = Writer::default();
        for byte in [b'l', 1, 0, 1] {
            out.byte(byte);
        }
        out.number(length(arguments.0.len()));
        out.number(serial);
        out.array(8, |out| {
            out.field(1, "o", |out| out.text(self.path));
            out.field(2, "s", |out| out.text(self.interface));
            out.field(3, "s", |out| out.text(self.member));
            out.field(6, "s", |out| out.text(self.destination));
            if !self.signature.is_empty() {
                out.field(8, "g", |out| out.signature(self.signature));
            }
        });
        out.close(arguments)
    }
}

/// A message that has come, as far as it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// The number of the call that it answers.
    pub(super) answers: Option<u32>,
    /// The method or the signal.
    pub(super) member: Option<String>,
    /// The name of an error.
    pub(super) error: Option<String>,
    signature: String,
    body: Vec<u8>,
}

/// How many bytes follow the fixed part; `None` if it is none.
pub(super) fn rest(fixed: &[u8; FIXED]) -> Option<usize> {
    let mut reader = Reader {
        bytes: fixed,
        at: 0,
    };
    let [endian, _kind, _flags, version] = [(); 4].map(|()| reader.byte());
    let body = usize::try_from(reader.number()?).ok()?;
    let _serial = reader.number()?;
    let fields = usize::try_from(reader.number()?).ok()?;
    let rest = fields.checked_next_multiple_of(8)?.checked_add(body)?;
    (endian == Some(b'l') && version == Some(1) && rest <= LONGEST).then_some(rest)
}

impl Message {
    /// Reads a whole message; `None` if it is none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes, at: 1 };
        let kind = Kind::of(reader.byte()?);
        reader.at = 12;
        let fields = usize::try_from(reader.number()?).ok()?;
        let end = FIXED.checked_add(fields)?;
        let mut message = Self {
            kind,
            answers: None,
            member: None,
            error: None,
            signature: String::new(),
            body: bytes.get(end.checked_next_multiple_of(8)?..)?.to_vec(),
        };
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            let kind = reader.signature()?;
            match (code, kind.as_str()) {
                (3, "s") => message.member = Some(reader.text()?),
                (4, "s") => message.error = Some(reader.text()?),
                (5, "u") => message.answers = Some(reader.number()?),
                (8, "g") => message.signature = reader.signature()?,
                (_, "s" | "o") => drop(reader.text()?),
                (_, "u") => drop(reader.number()?),
                (_, "g") => drop(reader.signature()?),
                // No field has another type, and its length would be unknown.
                _ => return None,
            }
        }
        Some(message)
    }

    /// What it carries, if that is texts and numbers alone: the texts of it.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        let mut reader = Reader {
            bytes: &self.body,
            at: 0,
        };
        let mut texts = Vec::new();
        for kind in self.signature.chars() {
            match kind {
                's' | 'o' => texts.push(reader.text()?),
                'u' => drop(reader.number()?),
                _ => return None,
            }
        }
        Some(texts)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    const fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        self.ended(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        self.ended(length)
    }

    /// Text with a zero byte behind it.
    fn ended(&mut self, length: usize) -> Option<String> {
        let text = std::str::from_utf8(self.take(length)?).ok()?.to_owned();
        (self.byte()? == 0).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HELLO: Method = Method {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        member: "Hello",
        signature: "",
    };

    fn fixed(bytes: &[u8]) -> &[u8; FIXED] {
        bytes.first_chunk().unwrap()
    }

    /// As `strace busctl` shows it.
    #[test]
    fn a_call_is_written_as_other_clients_write_it() {
        let expected = [
            &b"l\x01\x00\x01\0\0\0\0\x01\0\0\0\x6d\0\0\0"[..],
            b"\x01\x01o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0",
            b"\x02\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0",
            b"\x03\x01s\0\x05\0\0\0Hello\0\0\0",
            b"\x06\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0",
        ]
        .concat();
        let call = HELLO.call(1, &Writer::default());
        assert_eq!(call, expected);
        assert_eq!(rest(fixed(&call)), Some(call.len() - FIXED));
        let message = Message::read(&call).unwrap();
        assert_eq!(
            (message.kind, message.member.as_deref()),
            (Kind::Call, Some("Hello"))
        );
        assert_eq!(message.texts(), Some(Vec::new()));
    }

    #[test]
    fn properties_are_aligned() {
        let mut out = Writer::default();
        out.text("x");
        out.array(8, |out| {
            out.property("Delegate", "b", |out| out.number(1));
            out.property("PIDs", "au", |out| out.array(4, |out| out.number(7)));
            out.property("TasksMax", "t", |out| out.long(u64::MAX - 1));
        });
        let expected = [
            &b"\x01\0\0\0x\0\0\0"[..],
            b"\x48\0\0\0\0\0\0\0",
            b"\x08\0\0\0Delegate\0\x01b\0\x01\0\0\0\0\0\0\0",
            b"\x04\0\0\0PIDs\0\x02au\0\0\0\0\x04\0\0\0\x07\0\0\0",
            b"\x08\0\0\0TasksMax\0\x01t\0",
            b"\xfe\xff\xff\xff\xff\xff\xff\xff",
        ]
        .concat();
        assert_eq!(out.0, expected);
    }

    #[test]
    fn what_is_no_message_is_none() {
        let call = HELLO.call(1, &Writer::default());
        for end in 0..call.len() {
            if let Some(bytes) = call.get(..end) {
                assert_eq!(Message::read(bytes), None, "{end}");
            }
        }
        let mut big_endian = call.clone();
        big_endian[0] = b'B';
        assert_eq!(rest(fixed(&big_endian)), None);
        let mut endless = call;
        endless[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(rest(fixed(&endless)), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            if let Some(message) = Message::read(&bytes) {
                let _texts = message.texts();
            }
            if let Some(fixed) = bytes.first_chunk() {
                let _rest = rest(fixed);
            }
        }
    }
}
