//! Strings as the kernel takes them.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::error::LaunchError;

/// A C string, or an error that says what `value` was for.
pub(crate) fn c_string(
    what: &'static str,
    value: impl AsRef<OsStr>,
) -> Result<CString, LaunchError> {
    CString::new(value.as_ref().as_bytes()).map_err(|nul| LaunchError::Nul {
        what,
        value: OsString::from_vec(nul.into_vec()),
    })
}
