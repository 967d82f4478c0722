//! Control messages of sendmsg(2): those that are known to be harmless, with
//! descriptors of ours in place of the caller's.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;

use super::address::{AF_INET, AF_INET6, AF_UNIX};
use super::caller::Caller;

/// `struct cmsghdr`: a length as long as a pointer, level and type.
const WORD: usize = size_of::<usize>();
const HEADER: usize = WORD + 8;

const SCM_RIGHTS: (i32, i32) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
const SCM_CREDENTIALS: (i32, i32) = (libc::SOL_SOCKET, libc::SCM_CREDENTIALS);

/// `struct in_pktinfo` begins with the index of a device, `struct in6_pktinfo`
/// ends with it (`linux/in.h`, `linux/ipv6.h`).
const PKTINFO: (i32, i32) = (libc::IPPROTO_IP, libc::IP_PKTINFO);
const PKTINFO_V6: (i32, i32) = (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);

/// What may go with a packet. Source routes are not among it: they would lead
/// it elsewhere than to the address that was judged.
const HARMLESS: &[(i32, i32)] = &[
    (libc::IPPROTO_IP, libc::IP_TOS),
    (libc::IPPROTO_IP, libc::IP_TTL),
    (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    (libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG),
    (libc::SOL_UDP, libc::UDP_SEGMENT),
    (libc::SOL_SOCKET, libc::SO_TIMESTAMPING),
    (libc::SOL_SOCKET, libc::SCM_TXTIME),
];

/// Control messages as they are sent on, with what they refer to.
#[derive(Debug, Default)]
pub(super) struct Control {
    pub(super) bytes: Vec<u8>,
    /// What the numbers in them mean, until they are sent.
    held: Vec<OwnedFd>,
}

/// Rewrites the control messages of a caller for a socket of a family.
///
/// # Errors
///
/// A message that is malformed (EINVAL), or not known to be harmless (EPERM);
/// a descriptor that the caller does not have (EBADF).
pub(super) fn rewrite(caller: &Caller<'_>, family: u16, messages: &[u8]) -> Result<Control, Errno> {
    let mut control = Control::default();
    for message in split(messages) {
        let (kind, data) = message?;
        match (family, kind) {
            // The kernel adds the sender's own: ours, with the caller's user.
            (AF_UNIX, SCM_CREDENTIALS) => {}
            (AF_UNIX, SCM_RIGHTS) => {
                let mut numbers = Vec::with_capacity(data.len());
                for number in data.chunks_exact(4) {
                    let number = number.first_chunk().map_or(0, |it| u32::from_ne_bytes(*it));
                    let fd = caller.descriptor(number)?;
                    numbers.extend(fd.as_raw_fd().to_ne_bytes());
                    control.held.push(fd);
                }
                push(&mut control.bytes, kind, &numbers);
            }
            // The address to send from, but not the device to leave by.
            (AF_INET | AF_INET6, kind @ (PKTINFO | PKTINFO_V6)) => {
                let mut info = data.to_vec();
                let index = if kind == PKTINFO { 0..4 } else { 16..20 };
                info.get_mut(index).ok_or(Errno::INVAL)?.fill(0);
                push(&mut control.bytes, kind, &info);
            }
            (AF_INET | AF_INET6, kind) if HARMLESS.contains(&kind) => {
                push(&mut control.bytes, kind, data);
            }
            _ => return Err(Errno::PERM),
        }
    }
    Ok(control)
}

/// One message after the other, as `CMSG_NXTHDR` walks them.
fn split(mut rest: &[u8]) -> impl Iterator<Item = Result<((i32, i32), &[u8]), Errno>> {
    std::iter::from_fn(move || {
        if rest.len() < HEADER {
            return None;
        }
        let (header, _) = rest.split_at(HEADER);
        let (length, kind) = header.split_at(WORD);
        let length = length
            .first_chunk()
            .map_or(0, |it| usize::from_ne_bytes(*it));
        let (level, number) = kind.split_at(4);
        let int = |bytes: &[u8]| bytes.first_chunk().map_or(0, |it| i32::from_ne_bytes(*it));
        let Some(data) = rest.get(HEADER..length) else {
            rest = &[];
            return Some(Err(Errno::INVAL));
        };
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some(Ok(((int(level), int(number)), data)))
    })
}

fn push(out: &mut Vec<u8>, (level, number): (i32, i32), data: &[u8]) {
    out.extend((HEADER + data.len()).to_ne_bytes());
    out.extend(level.to_ne_bytes());
    out.extend(number.to_ne_bytes());
    out.extend(data);
    out.resize(aligned(out.len()), 0);
}

/// `CMSG_ALIGN`.
const fn aligned(length: usize) -> usize {
    length.next_multiple_of(WORD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_are_split_as_they_are_joined() {
        let mut bytes = Vec::new();
        push(&mut bytes, SCM_RIGHTS, &[1, 0, 0, 0]);
        push(&mut bytes, SCM_CREDENTIALS, &[0; 12]);
        let found: Vec<_> = split(&bytes).map(|it| it.expect("whole")).collect();
        assert_eq!(
            found,
            [
                (SCM_RIGHTS, &[1, 0, 0, 0][..]),
                (SCM_CREDENTIALS, &[0; 12][..])
            ]
        );
    }

    #[test]
    fn a_length_that_lies_is_an_error() {
        for length in [0, HEADER - 1, HEADER + 1, usize::MAX] {
            let mut bytes = Vec::new();
            push(&mut bytes, SCM_RIGHTS, &[]);
            bytes[..WORD].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(split(&bytes).next(), Some(Err(Errno::INVAL)), "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(split(&bytes).count() <= 200);
        }
    }
}
