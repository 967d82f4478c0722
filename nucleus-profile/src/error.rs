//! What can go wrong.

use std::io;
use std::path::PathBuf;

use nucleus_seccomp::{Arch, Syscall};

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The trace could not be read to its end.
    #[error("cannot read line {line} of the trace")]
    Read {
        /// Counted from 1.
        line: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The trace holds nothing.
    #[error("the trace is empty; record one with `nucleus trace -o FILE -- COMMAND`")]
    Empty,
    /// A line is longer than any that nucleus writes.
    #[error("line {line} is longer than {limit} bytes: this is no trace")]
    LineTooLong {
        /// Counted from 1.
        line: u64,
        /// In bytes.
        limit: usize,
    },
    /// A line is not text.
    #[error("line {line} is not UTF-8 from byte {valid_up_to} on: this is no trace")]
    NotUtf8 {
        /// Counted from 1.
        line: u64,
        /// Counted from 0.
        valid_up_to: usize,
    },
    /// The last line ends in its middle.
    #[error("line {line} ends in its middle: the trace was cut; record it again")]
    Cut {
        /// Counted from 1.
        line: u64,
    },
    /// A line is not what a trace consists of.
    #[error(
        "line {line} is not a line of a trace, which is a JSON object such as \
         {{\"syscall\":257,\"name\":\"openat\",\"count\":3}}"
    )]
    NotALine {
        /// Counted from 1.
        line: u64,
        /// What the JSON parser said.
        source: serde_json::Error,
    },
    /// A line lacks a field.
    #[error("line {line} has no field {field:?}: the trace was damaged or is of another tool")]
    MissingField {
        /// Counted from 1.
        line: u64,
        /// The field's name.
        field: &'static str,
    },
    /// A line names an architecture that nucleus has no table for.
    #[error("line {line} cannot be understood")]
    UnknownArch {
        /// Counted from 1.
        line: u64,
        /// The name.
        source: nucleus_seccomp::UnknownArch,
    },
    /// A name does not belong to its number.
    #[error(
        "line {line} calls number {number} {said:?}, but on {arch} it is {known}: \
         the trace is from another architecture; its lines need a field \"arch\""
    )]
    NameMismatch {
        /// Counted from 1.
        line: u64,
        /// `seccomp_data.nr`.
        number: u32,
        /// The name in the trace.
        said: String,
        /// What the number means.
        known: Syscall,
        /// On this architecture.
        arch: Arch,
    },
    /// An x32 number lacks bit 30, or another number has it.
    #[error("line {line} has number {number:#x}, which is not one of {arch}")]
    WrongNumber {
        /// Counted from 1.
        line: u64,
        /// `seccomp_data.nr`.
        number: u32,
        /// The architecture that the line names.
        arch: Arch,
    },
    /// A call has two lines.
    #[error(
        "line {line} counts {syscall} ({arch}) again: \
         to join traces, name each file by itself",
        arch = syscall.arch()
    )]
    Repeated {
        /// Counted from 1.
        line: u64,
        /// The call.
        syscall: Syscall,
    },
    /// A call was made no time at all.
    #[error("line {line} has a count of 0: the trace was damaged; record it again")]
    ZeroCount {
        /// Counted from 1.
        line: u64,
    },
    /// The numbers of calls do not fit into 64 bits.
    #[error("the counts add up to more than 64 bits: the trace was damaged; record it again")]
    CountOverflow,
    /// There are more different calls than any system has.
    #[error("line {line} is the call number {limit}: no system has so many")]
    TooManyCalls {
        /// Counted from 1.
        line: u64,
        /// The most that are taken.
        limit: usize,
    },
    /// The remembered arguments contradict each other or the call.
    #[error("line {line} has arguments that do not belong to {syscall}: record the trace again")]
    WrongArguments {
        /// Counted from 1.
        line: u64,
        /// The call.
        syscall: Syscall,
    },
    /// Something follows the last line.
    #[error(
        "line {line} follows the verdict, which ends a trace: \
         to join traces, name each file by itself"
    )]
    AfterVerdict {
        /// Counted from 1.
        line: u64,
    },
    /// The verdict is neither of the two.
    #[error("line {line} has the verdict {verdict:?}; known are \"complete\" and \"incomplete\"")]
    UnknownVerdict {
        /// Counted from 1.
        line: u64,
        /// What it says.
        verdict: String,
    },
    /// The format is newer than this program.
    #[error("the trace is of format {found}, this nucleus knows {known}: update nucleus")]
    Format {
        /// Of the trace.
        found: u64,
        /// The newest known.
        known: u64,
    },
    /// Lines are missing, or were added.
    #[error(
        "the trace holds {found} calls, its verdict says {said}: \
         lines were lost or changed; record it again"
    )]
    Miscounted {
        /// The sum of the counts.
        found: u64,
        /// What the verdict says.
        said: u64,
    },
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A profile cannot be made of nothing.
    #[error("there is no call to make a profile of: the trace holds none")]
    NothingToAllow,
    /// A trace does not hold every call.
    #[error(
        "trace {trace} is incomplete ({why}): a profile made of it would deny what was missed; \
         record it again, or pass --allow-incomplete"
    )]
    Incomplete {
        /// Position among the traces, from 1.
        trace: usize,
        /// The reasons of its verdict.
        why: String,
    },
    /// A trace was recorded on another machine.
    #[error(
        "trace {trace} was recorded on {found}, the profile is for {wanted}: \
         pass --arch {found} to make one for {found}"
    )]
    OtherArch {
        /// Position among the traces, from 1.
        trace: usize,
        /// Of the trace.
        found: Arch,
        /// Of the profile.
        wanted: Arch,
    },
    /// The default action would allow what the trace does not hold.
    #[error(
        "{0} as the default action allows every call, so the profile would forbid nothing; \
         take SCMP_ACT_ERRNO, SCMP_ACT_TRAP, SCMP_ACT_KILL_PROCESS or SCMP_ACT_LOG"
    )]
    PermissiveDefault(nucleus_seccomp::Action),
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The path names no file.
    #[error("cannot write to {path:?}: it does not end in a file name")]
    NoFileName {
        /// As given.
        path: PathBuf,
    },
    /// The directory is not there, or cannot be searched.
    #[error(
        "cannot open the directory {directory:?} to write {name:?} into; create it first, or take one that is yours to write to"
    )]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// The file.
        name: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What stands in the place is a link, a directory or a device.
    #[error(
        "cannot write to {path:?}: there is {kind} in its place, \
         and only a regular file is replaced; name another file"
    )]
    NotRegular {
        /// As given.
        path: PathBuf,
        /// `a symbolic link`, `a directory`...
        kind: &'static str,
    },
    /// The file cannot be created.
    #[error("cannot create {path:?}; choose a directory that you may write to")]
    Create {
        /// As given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The contents could not be written out.
    #[error("cannot write {path:?}")]
    Write {
        /// As given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The finished file could not be put in its place.
    #[error("cannot put the finished file in its place at {path:?}")]
    Replace {
        /// As given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
