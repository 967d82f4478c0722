//! What can go wrong, one type for each kind of operation.

use std::io;

use crate::{Action, ArgTest, InstallFlags, Position, SeccompData, Syscall};

/// Why the kernel would not load a program. `at` counts instructions from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// No instruction at all.
    #[error("the program is empty; it needs at least a return")]
    Empty,
    /// More than [`MAX_INSNS`](crate::MAX_INSNS) instructions.
    #[error("the program has {len} instructions; the kernel takes at most 4096")]
    TooLong {
        /// How many it has.
        len: usize,
    },
    /// A raw program that ends inside an instruction.
    #[error("{bytes} bytes are no whole number of 8-byte instructions")]
    Torn {
        /// The length of the input.
        bytes: usize,
    },
    /// An operation that seccomp does not permit.
    #[error("instruction {at}: operation {code:#06x} is not permitted in a seccomp filter")]
    Opcode {
        /// Which instruction.
        at: usize,
        /// Its code.
        code: u16,
    },
    /// A load from outside `seccomp_data`, or across its 32-bit words.
    #[error("instruction {at}: offset {offset} is no 32-bit word of the 64 bytes of seccomp_data")]
    Offset {
        /// Which instruction.
        at: usize,
        /// Where it loads from.
        offset: u32,
    },
    /// A division by a constant 0.
    #[error("instruction {at}: division by zero")]
    DivisionByZero {
        /// Which instruction.
        at: usize,
    },
    /// A shift by a constant of 32 or more.
    #[error("instruction {at}: shift by {by}; a word has 32 bits")]
    Shift {
        /// Which instruction.
        at: usize,
        /// By how many bits.
        by: u32,
    },
    /// A scratch cell that does not exist.
    #[error("instruction {at}: scratch cell {cell}; there are cells 0 to 15")]
    Cell {
        /// Which instruction.
        at: usize,
        /// Which cell.
        cell: u32,
    },
    /// A jump past the end.
    #[error("instruction {at}: a jump over {skip} instructions leaves the program")]
    Jump {
        /// Which instruction.
        at: usize,
        /// How many it skips.
        skip: u32,
    },
    /// A scratch cell that some path reads before it is written.
    #[error("instruction {at}: scratch cell {cell} is read before every path to it has written it")]
    Unwritten {
        /// Which instruction.
        at: usize,
        /// Which cell.
        cell: u32,
    },
    /// The last instruction is no return.
    #[error("instruction {at}: the last instruction must be a return")]
    NoReturn {
        /// The last instruction.
        at: usize,
    },
}

/// Why a listing is no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListingError {
    /// A line that is no instruction.
    #[error("line {line}: {text:?}: expected {expected}")]
    Syntax {
        /// Which line, counted from 1.
        line: usize,
        /// What it says.
        text: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// Each line is an instruction, but together they are no filter.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Why the filters of a process cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// `/proc/PID/status` cannot be read.
    #[error("reading /proc/{pid}/status")]
    Status {
        /// The process.
        pid: i32,
        /// Why.
        source: io::Error,
    },
    /// The process has no filter.
    #[error("process {pid} has no seccomp filter")]
    NoFilter {
        /// The process.
        pid: i32,
    },
    /// The process is in strict mode, which is no filter.
    #[error(
        "process {pid} is in seccomp's strict mode: read, write, exit and sigreturn, no filter"
    )]
    Strict {
        /// The process.
        pid: i32,
    },
    /// A ptrace call failed.
    #[error("{step} of process {pid}; it takes the right to trace it, and no other tracer")]
    Ptrace {
        /// The process.
        pid: i32,
        /// The request.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The process ended while it was being stopped.
    #[error("process {pid} ended before its filters could be read")]
    Gone {
        /// The process.
        pid: i32,
    },
    /// EACCES from the request itself.
    #[error(
        "reading the filters of process {pid} needs CAP_SYS_ADMIN in the initial user namespace and a caller that has no seccomp filter itself; run as root on the host"
    )]
    Denied {
        /// The process.
        pid: i32,
    },
    /// EINVAL although the process has a filter.
    #[error(
        "the kernel cannot show the filters of process {pid}; it was built without CONFIG_CHECKPOINT_RESTORE"
    )]
    Unsupported {
        /// The process.
        pid: i32,
    },
    /// The kernel did not keep the classic program.
    #[error("a filter of process {pid} is kept as eBPF only and cannot be shown")]
    NotClassic {
        /// The process.
        pid: i32,
    },
    /// What came back is nothing the kernel would load.
    #[error("the kernel returned a filter of process {pid} that does not pass the loader's checks")]
    Refused {
        /// The process.
        pid: i32,
        /// Which check.
        source: LoadError,
    },
}

/// Why a comparison has no answer. Neither "equal" nor "different" is known
/// then, and nobody may take it for "equal".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The program computes with the call's arguments in ways that no exact
    /// comparison of bounded size can follow.
    #[error(
        "the comparison needs more than {limit} decisions; the filter computes with arguments in a way that is too complex to compare exactly"
    )]
    TooComplex {
        /// Where it was given up.
        limit: usize,
    },
    /// The program multiplies or divides an input by something that is no
    /// power of two.
    #[error(
        "the filter multiplies or divides what it loads by something that is no power of two; this cannot be compared exactly"
    )]
    Arithmetic,
    /// The symbolic comparison and an evaluation contradict each other: a
    /// mistake in nucleus.
    #[error(
        "the symbolic comparison and the evaluation contradict each other on {data:?}; this is a mistake in nucleus, please report it"
    )]
    Contradiction {
        /// The call.
        data: Box<SeccompData>,
    },
}

/// Why nothing can be compared with libseccomp.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DifftestError {
    /// The library cannot be loaded.
    #[error(
        "loading libseccomp.so.2 failed; install the package libseccomp2 (Debian) or libseccomp (others)"
    )]
    NotThere,
    /// A function is missing.
    #[error("libseccomp.so.2 has no function {name}; it is older than 2.4")]
    Symbol {
        /// The function.
        name: String,
    },
    /// `seccomp_init`
    #[error("libseccomp refuses the default action {action:#x}")]
    Init {
        /// As a return value of a filter.
        action: u32,
    },
    /// `seccomp_arch_add` or `seccomp_arch_remove`
    #[error("libseccomp refuses the architecture {arch:#x} (errno {errno})")]
    Arch {
        /// libseccomp's token.
        arch: u32,
        /// What it said.
        errno: i32,
    },
    /// `seccomp_attr_set`
    #[error("libseccomp refuses to make a binary tree (errno {errno}); that takes 2.5.0")]
    Optimize {
        /// What it said.
        errno: i32,
    },
    /// `seccomp_rule_add_array`
    #[error(
        "libseccomp refuses a rule for {call} (errno {errno}); EEXIST (17) means that it contradicts another"
    )]
    Rule {
        /// The call.
        call: String,
        /// What it said.
        errno: i32,
    },
    /// `seccomp_export_bpf`
    #[error("libseccomp cannot export its filter (errno {errno})")]
    Export {
        /// What it said.
        errno: i32,
    },
    /// The export is no filter.
    #[error("libseccomp exported what the kernel would not load")]
    Load(#[from] LoadError),
    /// Our side: resolving.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Our side: compiling.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The comparison.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// Why `seccomp(2)` did not install a filter. Holds no memory of its own, so
/// that it can be made between fork and exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// EACCES: neither no_new_privs nor `CAP_SYS_ADMIN`.
    #[error(
        "installing a seccomp filter needs no_new_privs (prctl PR_SET_NO_NEW_PRIVS) or CAP_SYS_ADMIN"
    )]
    NoNewPrivsMissing,
    /// EBUSY with [`InstallFlags::NEW_LISTENER`]: one listener is the most
    /// that a process can have.
    #[error("installing a seccomp filter with a listener: the process has one already")]
    ListenerExists,
    /// ENOMEM: out of memory, or the filters of the process together are too
    /// long (32,768 instructions with 4 for each filter).
    #[error(
        "installing a seccomp filter: out of memory, or more than 32768 instructions in all filters of the process"
    )]
    TooMuch,
    /// A thread cannot take the filter because it has others.
    #[error("installing a seccomp filter on all threads: thread {tid} has filters of its own")]
    ThreadDiverged {
        /// The thread in the way.
        tid: libc::c_long,
    },
    /// ENOSYS: a kernel without seccomp filters.
    #[error("installing a seccomp filter: the kernel was built without CONFIG_SECCOMP_FILTER")]
    Unsupported,
    /// Any other errno; EINVAL mostly means a flag that the kernel is too
    /// old for, or that does not go with another.
    #[error(
        "installing a seccomp filter with flags {flags:?} failed with errno {errno}; EINVAL (22) means a flag that this kernel does not know or that does not go with another"
    )]
    Refused {
        /// What the kernel said.
        errno: i32,
        /// What was asked for.
        flags: InstallFlags,
    },
}

impl InstallError {
    pub(crate) const fn from_errno(errno: i32, flags: InstallFlags) -> Self {
        match errno {
            libc::EACCES => Self::NoNewPrivsMissing,
            libc::EBUSY => Self::ListenerExists,
            libc::ENOMEM => Self::TooMuch,
            libc::ENOSYS => Self::Unsupported,
            _ => Self::Refused { errno, flags },
        }
    }

    /// The errno that stands for it, to pass it through a pipe.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::NoNewPrivsMissing => libc::EACCES,
            Self::ListenerExists => libc::EBUSY,
            Self::TooMuch => libc::ENOMEM,
            Self::ThreadDiverged { .. } => libc::ESRCH,
            Self::Unsupported => libc::ENOSYS,
            Self::Refused { errno, .. } => errno,
        }
    }
}

/// Why a text is no seccomp profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// No JSON, or a key, a word or a value that no profile has there.
    #[error("{at}: {problem}")]
    Json {
        /// Where reading stopped: at the offending word or right after it.
        at: Position,
        /// What is wrong, with the text and what would be right.
        problem: String,
    },
}

/// Why a profile means nothing on a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// A notification for every call would stop the supervisor itself.
    #[error("SCMP_ACT_NOTIFY cannot be the default action; name the calls to be notified of")]
    NotifyByDefault,
    /// Two rules that say different things of the same arguments.
    #[error(
        "two rules for {call} ({}) where {}: {} and {}; remove one",
        .call.arch(), all(.tests), .actions[0], .actions[1]
    )]
    Conflict {
        /// The call.
        call: Syscall,
        /// The arguments.
        tests: Vec<ArgTest>,
        /// What the two say.
        actions: [Action; 2],
    },
}

fn all(tests: &[ArgTest]) -> String {
    let tests: Vec<String> = tests.iter().map(ToString::to_string).collect();
    tests.join(" and ")
}

/// Why a policy is no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// More than [`MAX_INSNS`](crate::MAX_INSNS) instructions.
    #[error(
        "the program has {len} instructions; the kernel takes at most 4096. The most are for the arguments of {}",
        sizes(.largest)
    )]
    TooLong {
        /// How many it has.
        len: usize,
        /// The calls whose argument tests are longest, with the number of
        /// instructions, the longest first.
        largest: Vec<(Syscall, usize)>,
    },
    /// The compiler made something that the kernel refuses: a bug.
    #[error("the compiler made an invalid program; please report this")]
    Invalid(#[from] LoadError),
}

fn sizes(largest: &[(Syscall, usize)]) -> String {
    let parts = largest
        .iter()
        .map(|(call, size)| format!("{call} ({}): {size}", call.arch()));
    parts.collect::<Vec<_>>().join(", ")
}

/// Why profiles cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// No profile, or none with an architecture that all have.
    #[error("there is nothing to merge")]
    Nothing,
    /// A union would let the calls of one pass on the architectures of another.
    #[error("{origin} is for other architectures than the first; a union needs the same")]
    DifferentArches {
        /// The profile.
        origin: String,
    },
    /// No OCI profile says what the merged rules would have to say.
    #[error(
        "the rules for {call} cannot be merged: an OCI profile tests an argument once in a rule and has one action where no test holds"
    )]
    Inexpressible {
        /// The call.
        call: Syscall,
    },
}

/// Why a profile has no form for another tool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The Kubernetes object has no default errno; it is EPERM there.
    #[error("the object has no place for the default errno {errno}; Kubernetes takes EPERM (1)")]
    DefaultErrno {
        /// The profile's.
        errno: u16,
    },
    /// The Kubernetes API has 64-bit signed numbers.
    #[error(
        "the object has no place for the operand {operand:#x}; Kubernetes takes numbers up to i64::MAX"
    )]
    Operand {
        /// The profile's.
        operand: u64,
    },
    /// An action that needs a listener or a tracer.
    #[error("systemd has no word for the action {action}")]
    Action {
        /// The profile's.
        action: Action,
    },
}
