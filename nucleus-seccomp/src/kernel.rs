//! Kernel versions, as profiles compare them.

use std::fmt;
use std::str::FromStr;

/// The first two numbers of a kernel release; nothing in a profile looks further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion {
    major: u16,
    minor: u16,
}

/// A text that is no kernel version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kernel version; write two numbers, such as 5.10")]
pub struct InvalidKernelVersion(pub String);

impl KernelVersion {
    /// Such as `new(5, 10)`.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// The running kernel's, by uname(2); `None` where it is no version of Linux.
    #[must_use]
    pub fn running() -> Option<Self> {
        let release = rustix::system::uname();
        release.release().to_str().ok()?.parse().ok()
    }
}

impl FromStr for KernelVersion {
    type Err = InvalidKernelVersion;

    /// Takes `5.10` and longer releases such as `5.10.0-8-amd64`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (major, rest) = text.split_once('.')?;
            let end = rest.bytes().position(|b| !b.is_ascii_digit());
            let (minor, _) = rest.split_at(end.unwrap_or(rest.len()));
            Some(Self::new(number(major)?, number(minor)?))
        };
        parse().ok_or_else(|| InvalidKernelVersion(text.to_owned()))
    }
}

/// Digits only: `u16::from_str` alone takes a sign.
fn number(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_releases() {
        for (text, expected) in [
            ("4.8", Some(KernelVersion::new(4, 8))),
            ("6.18.44-fc-v669", Some(KernelVersion::new(6, 18))),
            ("5.10-rc1", Some(KernelVersion::new(5, 10))),
            ("5", None),
            ("5.", None),
            (".5", None),
            ("+5.1", None),
            ("5.x", None),
            ("99999.1", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text:?}");
        }
        assert!(KernelVersion::new(4, 19) > KernelVersion::new(4, 8));
    }
}
