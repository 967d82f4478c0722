//! Traces of system calls, and the smallest seccomp profile that they need.
