//! Profiles as files: read once, checked, ready to be compiled.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, ensure};
use nucleus_seccomp::Profile;
use sha2::{Digest, Sha256};

/// The SHA-256 that a profile must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

impl FromStr for Fingerprint {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        ensure!(
            text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "a SHA-256 has 64 hexadecimal digits, as sha256sum prints them"
        );
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits)?, 16)?;
        }
        Ok(Self(bytes))
    }
}

/// Reads the profile at `path`. What is parsed are the bytes that were hashed.
pub(crate) fn read(path: &Path, expected: Option<Fingerprint>) -> anyhow::Result<Profile> {
    let bytes =
        fs::read(path).with_context(|| format!("cannot read the profile {}", path.display()))?;
    if let Some(Fingerprint(expected)) = expected {
        let found: [u8; 32] = Sha256::digest(&bytes).into();
        ensure!(
            found == expected,
            "the profile {} has another SHA-256 than --seccomp-profile-sha256 says: {}; \
             look at what changed before you trust it",
            path.display(),
            hex(&found)
        );
    }
    Profile::from_json(&bytes).with_context(|| format!("cannot use the profile {}", path.display()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
