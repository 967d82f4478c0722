//! How a filter is put in place.

bitflags::bitflags! {
    /// `SECCOMP_FILTER_FLAG_*` (`seccomp(2)`, `include/uapi/linux/seccomp.h`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct InstallFlags: libc::c_ulong {
        /// Every thread of the process gets the filter (3.17).
        const TSYNC = 1 << 0;
        /// Log every action but `Allow` (4.14).
        const LOG = 1 << 1;
        /// Leave the speculative store bypass mitigation off (4.17).
        const SPEC_ALLOW = 1 << 2;
        /// Return a listener for `Notify` (5.0).
        const NEW_LISTENER = 1 << 3;
        /// With `TSYNC`, a thread in the way is ESRCH (5.7). Needed to
        /// combine `TSYNC` with `NEW_LISTENER`.
        const TSYNC_ESRCH = 1 << 4;
        /// Once the listener has received a notification, only fatal signals
        /// interrupt the caller (5.19). Needs `NEW_LISTENER`.
        const WAIT_KILLABLE_RECV = 1 << 5;
    }
}
