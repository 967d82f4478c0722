//! What will be done, as data: made by the parent, run by the child.

use std::ffi::CString;
use std::fmt;

use nucleus_seccomp::{InstallFlags, Program};

/// Everything that happens between clone and exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The steps of the init process.
    pub(crate) init: Vec<Step>,
    /// The steps of the program's process, which init makes; exec is the last.
    pub(crate) program: Vec<Step>,
    /// How init treats what it sees.
    pub(crate) reaping: Reaping,
}

/// When init ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaping {
    /// With the program: init is PID 1 of a namespace, and the kernel kills
    /// whatever else is in it.
    Namespace,
    /// With the last descendant: init is a child subreaper, and must kill
    /// what is left by itself.
    Subreaper,
}

/// One of the three standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

/// What a child does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// `PR_SET_CHILD_SUBREAPER`: orphaned descendants become init's children.
    Subreaper,
    /// Die with init: `PR_SET_PDEATHSIG` with SIGKILL.
    DieWithInit,
    /// Connect a standard stream to the descriptor that the parent prepared.
    Connect(Stream),
    /// Change the working directory.
    Chdir(CString),
    /// Find the file to execute: the first regular file that may be executed.
    Find(Vec<CString>),
    /// Close every descriptor but the standard streams.
    CloseFds,
    /// Default dispositions, empty mask.
    Signals,
    /// `PR_SET_NO_NEW_PRIVS`.
    NoNewPrivs,
    /// Tell the parent that exec is near.
    Announce,
    /// The same, then wait until the parent lets go.
    Hold,
    /// Install the seccomp filter.
    Filter(Program, InstallFlags),
    /// Execute the program.
    Exec,
}

impl Plan {
    /// The steps of init, then those of the program.
    pub fn steps(&self) -> impl Iterator<Item = impl fmt::Display> {
        self.init.iter().chain(&self.program)
    }
}

impl fmt::Display for Plan {
    /// One numbered line a step.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps().enumerate() {
            writeln!(f, "{:3} {step}", number + 1)?;
        }
        Ok(())
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdin => "standard input",
            Self::Stdout => "standard output",
            Self::Stderr => "standard error",
        })
    }
}

impl fmt::Display for Step {
    /// In the imperative, so that it can follow "could not".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subreaper => f.write_str("adopt the program's orphans"),
            Self::DieWithInit => f.write_str("tie the program's life to init's"),
            Self::Connect(stream) => write!(f, "connect {stream}"),
            Self::Chdir(folder) => write!(f, "enter the working directory {folder:?}"),
            Self::Find(candidates) => match candidates.as_slice() {
                [path] => write!(f, "find the program {path:?}"),
                _ => write!(f, "find the program in {} places", candidates.len()),
            },
            Self::CloseFds => f.write_str("close every other file descriptor"),
            Self::Signals => f.write_str("reset the signal mask and SIGPIPE"),
            Self::NoNewPrivs => f.write_str("set no_new_privs"),
            Self::Announce => f.write_str("announce the program's process number"),
            Self::Hold => f.write_str("wait until the program is released"),
            Self::Filter(program, _) => write!(
                f,
                "install the seccomp filter ({} instructions)",
                program.insns().len()
            ),
            Self::Exec => f.write_str("execute the program"),
        }
    }
}
