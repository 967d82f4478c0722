//! Seccomp user notification: listener, requests, replies, handlers.
