//! Runs the steps of a plan, in the child.
//!
//! Everything here runs in a copy of a process that may have had other
//! threads: nothing allocates, takes a lock or panics.

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd};

use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::{DumpableBehavior, Signal};

use crate::plan::{Step, Stream};
use crate::report::{Call, Context, Failure, Fault, Report, Stage};
use crate::sys::{self, CStringArray};

/// What steps need beside their own data: descriptors and strings that the
/// parent prepared.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    /// Where each standard stream shall come from, if not inherited.
    pub(crate) streams: [Option<BorrowedFd<'a>>; 3],
    /// The program's end of the socket whose closing tells the parent that
    /// execve went well, and over which it waits.
    pub(crate) gate: BorrowedFd<'a>,
    pub(crate) argv: &'a CStringArray,
    pub(crate) envp: &'a CStringArray,
    pub(crate) report: &'a Report,
}

/// Runs steps until one fails, or forever: the last one of the program's is
/// exec.
pub(crate) fn run(stage: Stage, steps: &[Step], prepared: &Prepared<'_>) -> Result<(), Failure> {
    let mut program = None;
    for (index, step) in steps.iter().enumerate() {
        step_by_step(step, prepared, &mut program).map_err(|fault| Failure {
            stage,
            step: index,
            fault,
        })?;
    }
    Ok(())
}

/// Runs the program's steps; never comes back.
pub(crate) fn run_program(steps: &[Step], prepared: &Prepared<'_>) -> Infallible {
    if let Err(failure) = run(Stage::Program, steps, prepared) {
        prepared.report.fail(failure);
    }
    sys::exit(FAILED)
}

/// The exit code of a child whose steps failed. Nobody reads it: the report
/// says more.
pub(crate) const FAILED: i32 = 125;

fn step_by_step<'a>(
    step: &'a Step,
    prepared: &Prepared<'_>,
    program: &mut Option<&'a CStr>,
) -> Result<(), Fault> {
    match step {
        Step::Subreaper => rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))
            .call(Call::Prctl),
        Step::DieWithInit => {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).call(Call::Prctl)
        }
        Step::Connect(stream) => connect(*stream, prepared).call(Call::Dup),
        Step::Chdir(folder) => rustix::process::chdir(folder.as_c_str()).call(Call::Chdir),
        Step::Find(candidates) => {
            *program = Some(find(
                candidates.iter().map(|path| path.as_c_str()),
                prepared.report,
            )?);
            Ok(())
        }
        Step::CloseFds => {
            sys::close_all_but([0, 1, 2, prepared.gate.as_raw_fd()]).call(Call::CloseRange)
        }
        Step::Signals => sys::program_signals().call(Call::SigProcMask),
        Step::NoNewPrivs => rustix::thread::set_no_new_privs(true).call(Call::Prctl),
        Step::Announce => announce(prepared.gate),
        Step::Hold => hold(prepared.gate),
        Step::Filter(filter, flags) => match filter.install(*flags) {
            Ok(listener) => {
                if let Some(listener) = listener {
                    // Left open, because the filter may forbid to close it;
                    // exec does.
                    prepared.report.hand_over(listener.into_raw_fd());
                }
                Ok(())
            }
            Err(error) => Err(Fault {
                call: Call::Seccomp,
                errno: Errno::from_raw_os_error(error.errno()),
            }),
        },
        Step::Exec => Err(Fault {
            call: Call::Execve,
            errno: program.map_or(Errno::NOENT, |path| {
                sys::execve(path, prepared.argv, prepared.envp)
            }),
        }),
    }
}

fn connect(stream: Stream, prepared: &Prepared<'_>) -> Result<(), Errno> {
    let [stdin, stdout, stderr] = &prepared.streams;
    match (stream, stdin, stdout, stderr) {
        (Stream::Stdin, Some(fd), _, _) => rustix::stdio::dup2_stdin(fd.as_fd()),
        (Stream::Stdout, _, Some(fd), _) => rustix::stdio::dup2_stdout(fd.as_fd()),
        (Stream::Stderr, _, _, Some(fd)) => rustix::stdio::dup2_stderr(fd.as_fd()),
        _ => Err(Errno::BADF),
    }
}

/// The first regular file that may be executed. With none, the reason is the
/// one that says most: a file that may not be executed before no file.
fn find<'a>(
    candidates: impl ExactSizeIterator<Item = &'a CStr>,
    report: &Report,
) -> Result<&'a CStr, Fault> {
    let searches = candidates.len() > 1;
    let mut best = Fault {
        call: Call::Stat,
        errno: Errno::NOENT,
    };
    for (index, path) in candidates.enumerate() {
        match executable(path) {
            Ok(()) => {
                report.found(index);
                return Ok(path);
            }
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            // A folder of PATH that may not be searched is as good as empty.
            Err(Errno::ACCESS) if searches && is_hidden(path) => {}
            Err(errno) => {
                if best.errno == Errno::NOENT {
                    report.found(index);
                    best.errno = errno;
                }
            }
        }
    }
    Err(best)
}

fn is_hidden(path: &CStr) -> bool {
    matches!(
        rustix::fs::statat(CWD, path, AtFlags::empty()),
        Err(Errno::ACCESS)
    )
}

fn executable(path: &CStr) -> Result<(), Errno> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::empty())?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Errno::ISDIR),
        _ => return Err(Errno::ACCESS),
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

/// Tells the parent that exec is near. The kernel adds the sender's process
/// number to it, in the parent's PID namespace.
fn announce(gate: BorrowedFd<'_>) -> Result<(), Fault> {
    rustix::net::send(gate, b"h", SendFlags::NOSIGNAL)
        .map(drop)
        .call(Call::Send)
}

/// Waits for a byte. A tracer must be able to attach now, whatever
/// credentials were changed before.
fn hold(gate: BorrowedFd<'_>) -> Result<(), Fault> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).call(Call::Prctl)?;
    announce(gate)?;
    let mut byte = [0];
    match rustix::io::retry_on_intr(|| rustix::io::read(gate, &mut byte)).call(Call::Read)? {
        0 => Err(Fault {
            call: Call::Read,
            errno: Errno::PIPE,
        }),
        _ => Ok(()),
    }
}
