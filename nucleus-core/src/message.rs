//! What init tells the parent, one datagram each.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// A message of init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// The program's process is there; its pidfd comes along.
    Spawned,
    /// It called exit, or failed before exec and left a report.
    Exited { code: i32 },
    /// A signal ended it.
    Killed {
        signal: i32,
        dumped: bool,
        /// It had got as far as exec.
        started: bool,
    },
}

impl Message {
    /// The length of every message.
    pub(crate) const SIZE: usize = 8;

    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        let (kind, dumped, started, value) = match self {
            Self::Spawned => (1, false, false, 0),
            Self::Exited { code } => (2, false, false, code),
            Self::Killed {
                signal,
                dumped,
                started,
            } => (3, dumped, started, signal),
        };
        let [a, b, c, d] = value.to_ne_bytes();
        [kind, u8::from(dumped), u8::from(started), 0, a, b, c, d]
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::SIZE]) -> Option<Self> {
        let [kind, dumped, started, _, a, b, c, d] = bytes;
        let value = i32::from_ne_bytes([a, b, c, d]);
        match kind {
            1 => Some(Self::Spawned),
            2 => Some(Self::Exited { code: value }),
            3 => Some(Self::Killed {
                signal: value,
                dumped: dumped != 0,
                started: started != 0,
            }),
            _ => None,
        }
    }

    /// The program's status as wait(2) has it, once it has ended.
    pub(crate) fn exit_status(self) -> Option<ExitStatus> {
        match self {
            Self::Spawned => None,
            Self::Exited { code } => Some(ExitStatus::from_raw((code & 0xff) << 8)),
            Self::Killed { signal, dumped, .. } => {
                Some(ExitStatus::from_raw(signal | if dumped { 0x80 } else { 0 }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip() {
        for message in [
            Message::Spawned,
            Message::Exited { code: 255 },
            Message::Killed {
                signal: 11,
                dumped: true,
                started: false,
            },
        ] {
            assert_eq!(Message::from_bytes(message.to_bytes()), Some(message));
        }
    }

    #[test]
    fn statuses_are_those_of_wait() {
        let exited = Message::Exited { code: 7 }.exit_status().unwrap();
        assert_eq!((exited.code(), exited.signal()), (Some(7), None));
        let killed = Message::Killed {
            signal: 11,
            dumped: true,
            started: true,
        };
        let killed = killed.exit_status().unwrap();
        assert_eq!((killed.code(), killed.signal()), (None, Some(11)));
        assert!(killed.core_dumped());
    }
}
