//! What of the host's files a sandbox shows, and what becomes of what is
//! written there: for root and for anybody else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sandbox_files {
    mod attributes;
    mod commit;
    mod copy;
    mod grants;
    mod kills;
    mod masks;
    mod modes;
    mod place;
    mod rootfs;
    mod secrets;
    mod volumes;
    mod workspace;
}
