//! Sources of seccomp events: ptrace, audit netlink and the kernel log, each with a completeness verdict.
