//! What a wait status means.

/// Why wait(2) reported a tracee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// `PTRACE_EVENT_SECCOMP`: a filter answered `SECCOMP_RET_TRACE`.
    Seccomp,
    /// A stop of `PTRACE_SYSCALL`, at entry or exit.
    Syscall,
    /// It made a process or thread; `lends` says that it waits until that one
    /// has ended or executed a program (vfork).
    NewChild { lends: bool },
    /// `PTRACE_EVENT_EXEC`.
    Exec,
    /// `PTRACE_EVENT_EXIT`.
    Exit,
    /// A signal is about to be delivered.
    Signal(i32),
    /// The whole process is stopped by a signal and must stay so.
    Group,
    /// `PTRACE_EVENT_STOP` for another reason: a new tracee's first stop, the
    /// end of a group-stop, or an interrupt.
    Trap,
    /// It is gone, with this wait status.
    Ended,
}

impl Stop {
    /// Decodes a status (`PTRACE_O_TRACESYSGOOD` and `PTRACE_SEIZE` in effect).
    pub(crate) const fn of(status: i32) -> Self {
        if !libc::WIFSTOPPED(status) {
            return Self::Ended;
        }
        let signal = libc::WSTOPSIG(status);
        match status >> 16 {
            0 if signal == libc::SIGTRAP | 0x80 => Self::Syscall,
            0 => Self::Signal(signal),
            libc::PTRACE_EVENT_SECCOMP => Self::Seccomp,
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_CLONE => Self::NewChild { lends: false },
            libc::PTRACE_EVENT_VFORK => Self::NewChild { lends: true },
            libc::PTRACE_EVENT_EXEC => Self::Exec,
            libc::PTRACE_EVENT_EXIT => Self::Exit,
            libc::PTRACE_EVENT_STOP
                if matches!(
                    signal,
                    libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU
                ) =>
            {
                Self::Group
            }
            _ => Self::Trap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: i32, expected: Stop) {
        assert_eq!(Stop::of(status), expected, "status {status:#x}");
    }

    #[test]
    fn every_kind_of_status_is_told_apart() {
        let stopped = |signal: i32, event: i32| 0x7f | signal << 8 | event << 16;
        check(0, Stop::Ended);
        check(libc::SIGKILL, Stop::Ended);
        check(stopped(libc::SIGTRAP, 7), Stop::Seccomp);
        check(stopped(libc::SIGTRAP | 0x80, 0), Stop::Syscall);
        check(stopped(libc::SIGTRAP, 0), Stop::Signal(libc::SIGTRAP));
        check(stopped(libc::SIGSTOP, 0), Stop::Signal(libc::SIGSTOP));
        check(stopped(libc::SIGSTOP, 128), Stop::Group);
        check(stopped(libc::SIGTTOU, 128), Stop::Group);
        check(stopped(libc::SIGTRAP, 128), Stop::Trap);
        check(stopped(libc::SIGTRAP, 1), Stop::NewChild { lends: false });
        check(stopped(libc::SIGTRAP, 2), Stop::NewChild { lends: true });
        check(stopped(libc::SIGTRAP, 3), Stop::NewChild { lends: false });
        check(stopped(libc::SIGTRAP, 4), Stop::Exec);
        check(stopped(libc::SIGTRAP, 6), Stop::Exit);
    }
}
