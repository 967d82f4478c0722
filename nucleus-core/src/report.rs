//! What a failed step tells the parent, through memory that both share: the
//! filter may leave a program nothing to write with.

use std::sync::atomic::Ordering;

use rustix::io::Errno;

use crate::sys::SharedWords;

/// Defines the system calls that steps make, with their names.
macro_rules! calls {
    ($($variant:ident $name:literal,)*) => {
        /// The system call of a step that failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub(crate) enum Call { $($variant,)* }

        impl Call {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

calls! {
    Capget "capget",
    Capset "capset",
    Chdir "chdir",
    Chmod "chmod",
    Chown "chown",
    Clone "clone3",
    CloseRange "close_range",
    Dup "dup3",
    Execve "execve",
    Fsconfig "fsconfig",
    Fsmount "fsmount",
    Fsopen "fsopen",
    Ioctl "ioctl",
    Keyctl "keyctl",
    LandlockAddRule "landlock_add_rule",
    LandlockCreateRuleset "landlock_create_ruleset",
    LandlockRestrictSelf "landlock_restrict_self",
    Mkdir "mkdirat",
    Mount "mount",
    MountOverlay "mount",
    MountSetattr "mount_setattr",
    MoveMount "move_mount",
    Open "openat",
    OpenTree "open_tree",
    Pipe "pipe2",
    PivotRoot "pivot_root",
    Poll "poll",
    Prctl "prctl",
    Prlimit "prlimit64",
    Read "read",
    Recv "recvfrom",
    Rmdir "rmdir",
    Seccomp "seccomp",
    Send "sendto",
    SendMsg "sendmsg",
    Sendfile "sendfile",
    SetGid "setresgid",
    SetGroups "setgroups",
    SetHostname "sethostname",
    SetSid "setsid",
    SetUid "setresuid",
    SetXattr "setxattr",
    Setns "setns",
    SignalFd "signalfd4",
    SigProcMask "rt_sigprocmask",
    Socket "socket",
    Splice "splice",
    Stat "stat",
    Symlink "symlinkat",
    Umount "umount2",
    Unlink "unlink",
    Unshare "unshare",
    Write "write",
}

/// Why a step failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) call: Call,
    pub(crate) errno: Errno,
}

/// Adds to an errno which call it came from.
pub(crate) trait Context<T> {
    fn call(self, call: Call) -> Result<T, Fault>;
}

impl<T> Context<T> for Result<T, Errno> {
    fn call(self, call: Call) -> Result<T, Fault> {
        self.map_err(|errno| Fault { call, errno })
    }
}

/// Who was running its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Stage {
    Init = 1,
    Program = 2,
    /// Init, once the program's process is there.
    Settle = 3,
}

/// A step that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    /// Which of the stage's steps; one past the last for what init does after
    /// its steps.
    pub(crate) step: usize,
    pub(crate) fault: Fault,
}

/// The shared memory: written once, by whoever fails first.
#[derive(Debug)]
pub(crate) struct Report(SharedWords<7>);

impl Report {
    pub(crate) fn new() -> Result<Self, Errno> {
        SharedWords::new().map(Self)
    }

    /// Records which of the places where the program might be it was found in.
    pub(crate) fn found(&self, candidate: usize) {
        let [_, _, _, _, found, ..] = self.0.words();
        let candidate = u32::try_from(candidate).unwrap_or(u32::MAX);
        found.store(candidate, Ordering::Relaxed);
    }

    /// Where the program was found, or what was looked at last.
    pub(crate) fn candidate(&self) -> usize {
        let [_, _, _, _, found, ..] = self.0.words();
        usize::try_from(found.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// Offers a descriptor of this process and waits until the parent has
    /// taken a copy. Waiting is spinning: the filter that is in force by now
    /// may forbid every call that could sleep.
    pub(crate) fn hand_over(&self, descriptor: i32) {
        let [.., offered, taken] = self.0.words();
        offered.store(descriptor.unsigned_abs() + 1, Ordering::Release);
        while taken.load(Ordering::Acquire) == 0 {
            std::hint::spin_loop();
        }
    }

    /// The descriptor that is offered, by its number in the other process.
    pub(crate) fn offered(&self) -> Option<i32> {
        let [.., offered, _taken] = self.0.words();
        let number = offered.load(Ordering::Acquire).checked_sub(1)?;
        i32::try_from(number).ok()
    }

    /// Lets the other process go on.
    pub(crate) fn taken(&self) {
        let [.., taken] = self.0.words();
        taken.store(1, Ordering::Release);
    }

    /// Records a failure. The stage is stored last, so that a reader who sees
    /// it sees the rest.
    pub(crate) fn fail(&self, failure: Failure) {
        let [stage, step, call, errno, ..] = self.0.words();
        let index = u32::try_from(failure.step).unwrap_or(u32::MAX);
        step.store(index, Ordering::Relaxed);
        call.store(failure.fault.call as u32, Ordering::Relaxed);
        let raw = failure.fault.errno.raw_os_error().unsigned_abs();
        errno.store(raw, Ordering::Relaxed);
        stage.store(failure.stage as u32, Ordering::Release);
    }

    /// The failure, if there was one.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let [stage, step, call, errno, ..] = self.0.words();
        let stage = match stage.load(Ordering::Acquire) {
            0 => return None,
            stage if stage == Stage::Init as u32 => Stage::Init,
            stage if stage == Stage::Program as u32 => Stage::Program,
            _ => Stage::Settle,
        };
        let call = usize::try_from(call.load(Ordering::Relaxed)).ok()?;
        let errno = i32::try_from(errno.load(Ordering::Relaxed)).ok()?;
        Some(Failure {
            stage,
            step: usize::try_from(step.load(Ordering::Relaxed)).ok()?,
            fault: Fault {
                call: *Call::ALL.get(call)?,
                errno: Errno::from_raw_os_error(errno),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_arrives_as_it_was_recorded() {
        let report = Report::new().unwrap();
        assert!(report.failure().is_none());
        report.fail(Failure {
            stage: Stage::Program,
            step: 7,
            fault: Fault {
                call: Call::Open,
                errno: Errno::NOSPC,
            },
        });
        let failure = report.failure().unwrap();
        assert_eq!(failure.stage, Stage::Program);
        assert_eq!(failure.step, 7);
        assert_eq!(failure.fault.call, Call::Open);
        assert_eq!(failure.fault.errno, Errno::NOSPC);
    }
}
