//! Runs the steps of a plan, in the child.
//!
//! Everything here runs in a copy of a process that may have had other
//! threads: nothing allocates, takes a lock or panics.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::{DumpableBehavior, Pid, Signal};

use crate::clocks;
use crate::ids;
use crate::mounts::{self, Trees};
use crate::network::{self, Making};
use crate::oom;
use crate::overlay::{self, Overlay};
use crate::plan::{Step, Stream};
use crate::privileges;
use crate::report::{Call, Context, Failure, Fault, Report, Stage};
use crate::secret;
use crate::sys::{self, CStringArray, Code, Stack};
use crate::terminal;

/// What steps need beside their own data: descriptors and strings that the
/// parent prepared.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    /// Where each standard stream shall come from, if not inherited.
    pub(crate) streams: [Option<BorrowedFd<'a>>; 3],
    /// The program's end of the socket whose closing tells the parent that
    /// execve went well, and over which it waits.
    pub(crate) gate: BorrowedFd<'a>,
    /// Init's end of the socket to the parent; at its end of file all dies.
    pub(crate) status: BorrowedFd<'a>,
    /// The parent process: when it ends, all dies. A pidfd, because the death
    /// signal of prctl(2) comes when the *thread* that cloned ends.
    pub(crate) parent: BorrowedFd<'a>,
    /// A pipe that init writes to when the program's ids are mapped.
    pub(crate) mapped: Option<(BorrowedFd<'a>, BorrowedFd<'a>)>,
    /// What init's network namespace is made with.
    pub(crate) network: Option<&'a Making>,
    /// Where the program's process works if it shares init's memory.
    pub(crate) stack: Option<&'a Stack>,
    /// User namespaces for id-mapped mounts.
    pub(crate) mount_ids: &'a [OwnedFd],
    /// The files that the program gets as secrets.
    pub(crate) secrets: &'a [OwnedFd],
    pub(crate) argv: &'a CStringArray,
    pub(crate) envp: &'a CStringArray,
    pub(crate) report: &'a Report,
    /// What init gives back of its memory.
    pub(crate) code: Option<&'a Code>,
    /// Where the arguments of this process are in its memory.
    pub(crate) command_line: Range<usize>,
}

/// What is left when steps have run.
pub(crate) struct Left {
    /// The upper layer that the parent shall get.
    pub(crate) upper: Option<OwnedFd>,
    /// Descriptors of mounts that have their places: to close them takes time.
    _trees: Trees,
}

/// Runs steps until one fails, or forever: the last one of the program's is
/// exec.
pub(crate) fn run(stage: Stage, steps: &[Step], prepared: &Prepared<'_>) -> Result<Left, Failure> {
    let mut state = State {
        program: None,
        trees: Trees::new(),
        upper: None,
        ruleset: None,
    };
    for (index, step) in steps.iter().enumerate() {
        state.run(step, prepared).map_err(|fault| Failure {
            stage,
            step: index,
            fault,
        })?;
    }
    Ok(Left {
        upper: state.upper,
        _trees: state.trees,
    })
}

/// What steps leave for later ones.
struct State<'a> {
    /// The file to execute.
    program: Option<&'a CStr>,
    /// Mounts that were taken from the host.
    trees: Trees,
    /// Where the program's changes will be.
    upper: Option<OwnedFd>,
    /// The Landlock ruleset that has been begun.
    ruleset: Option<OwnedFd>,
}

/// Runs init's steps with an empty umask, so that files get the modes that the
/// plan says; the program gets the umask of the caller.
pub(crate) fn run_init(steps: &[Step], prepared: &Prepared<'_>) -> Result<Left, Failure> {
    let umask = rustix::process::umask(Mode::empty());
    let left = run(Stage::Init, steps, prepared)?;
    rustix::process::umask(umask);
    Ok(left)
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

impl<'a> State<'a> {
    fn ruleset(&self) -> Result<BorrowedFd<'_>, Fault> {
        self.ruleset.as_ref().map(AsFd::as_fd).ok_or(Fault {
            call: Call::LandlockCreateRuleset,
            errno: Errno::BADF,
        })
    }

    fn lay_over(&mut self, overlay: &Overlay) -> Result<OwnedFd, Fault> {
        let lower = self.trees.get(overlay.lower)?;
        let kept = overlay.kept.map(|number| self.trees.get(number));
        overlay::mount(lower, kept.transpose()?, overlay)
    }

    fn run(&mut self, step: &'a Step, prepared: &Prepared<'_>) -> Result<(), Fault> {
        match step {
            Step::HideCommandLine => {
                sys::overwrite(prepared.command_line.clone());
                Ok(())
            }
            Step::MapIds(maps) => ids::map(maps, c"/proc/self"),
            Step::AwaitHelpers => ids::await_helpers(prepared),
            Step::BeginNetwork => making(prepared)?.begin().call(Call::Clone),
            Step::EnterNetwork => network::enter(making(prepared)?),
            Step::Loopback => network::loopback(),
            Step::Hostname(name) => {
                rustix::system::sethostname(name.to_bytes()).call(Call::SetHostname)
            }
            Step::Uptime(seconds) => clocks::start_at(*seconds),
            Step::PrivateMounts => mounts::make_private(),
            Step::Take {
                source,
                attr,
                recursive,
                ids,
            } => {
                let ids = ids.and_then(|index| prepared.mount_ids.get(index));
                self.trees
                    .take(source, *attr, *recursive, ids.map(AsFd::as_fd))
            }
            Step::TakeProc => self.trees.take_proc(),
            Step::EnterRoot(options) => mounts::enter_root(options),
            Step::LeaveHost => mounts::leave_root(),
            Step::MakeDir { path, mode } => mounts::make_dir(path, *mode),
            Step::Private {
                path,
                mode,
                owner,
                attr,
            } => mounts::private(path, *mode, *owner, *attr),
            Step::WriteFile { path, content } => mounts::write_file(path, content),
            Step::Symlink { target, path } => mounts::symlink(target, path),
            Step::Place { tree, path } => self.trees.place(*tree, path),
            Step::Secret(secret) => {
                let source = prepared.secrets.get(secret.number).ok_or(Fault {
                    call: Call::Sendfile,
                    errno: Errno::BADF,
                })?;
                secret::place(secret, source.as_fd())
            }
            Step::EnterImage(overlay) => {
                self.lay_over(overlay)?;
                mounts::change_root(&overlay.target)?;
                mounts::leave_root()
            }
            Step::Provide {
                path,
                content,
                replace,
            } => mounts::provide_file(path, content, *replace),
            Step::Overlay(overlay) => {
                self.upper = Some(self.lay_over(overlay)?);
                Ok(())
            }
            Step::Tmpfs {
                path,
                options,
                attr,
            } => mounts::tmpfs(path, options, *attr),
            Step::Devpts => mounts::devpts(),
            Step::MaskFile(path) => mounts::mask_file(path),
            Step::MaskDir(path) => mounts::mask_dir(path),
            Step::Seal(path) => mounts::seal(path),
            Step::AwaitIds => ids::await_map(prepared.mapped),
            Step::NewSession => rustix::process::setsid().map(drop).call(Call::SetSid),
            Step::NewTerminal(size) => terminal::open(*size, prepared.gate),
            Step::NewKeyring => sys::new_session_keyring().call(Call::Keyctl),
            Step::ForbidNamespaces => privileges::forbid_namespaces(),
            Step::Limit(limit) => privileges::limit(*limit),
            Step::Become { uid, gid, groups } => ids::become_other(*uid, *gid, groups.as_deref()),
            Step::LimitBoundingSet(keep) => sys::limit_bounding_set(keep.bits()).call(Call::Prctl),
            Step::SetCapabilities(keep) => privileges::set_capabilities(*keep),
            Step::CheckBoundingSet(expected) => privileges::check_bounding_set(*expected),
            Step::CheckCapabilities(expected) => privileges::check_capabilities(*expected),
            Step::Landlock(handled) => {
                self.ruleset = Some(privileges::landlock(*handled)?);
                Ok(())
            }
            Step::LandlockPath { path, rights } => {
                privileges::landlock_path(self.ruleset()?, path, *rights)
            }
            Step::LandlockPort(port) => privileges::landlock_port(self.ruleset()?, *port),
            Step::LandlockRestrict => {
                sys::landlock_restrict(self.ruleset()?).call(Call::LandlockRestrictSelf)
            }
            Step::Subreaper => {
                rustix::process::set_child_subreaper(Pid::from_raw(1)).call(Call::Prctl)
            }
            Step::DieBeforeInit => oom::die_before_init(),
            Step::DieWithInit => {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
                    .call(Call::Prctl)
            }
            Step::Connect(stream) => connect(*stream, prepared).call(Call::Dup),
            Step::Chdir(folder) => rustix::process::chdir(folder.as_c_str()).call(Call::Chdir),
            Step::Find {
                candidates,
                along_path,
            } => {
                let candidates = candidates.iter().map(CString::as_c_str);
                self.program = Some(find(candidates, *along_path, prepared.report)?);
                Ok(())
            }
            Step::CloseFds => {
                sys::close_all_but([0, 1, 2, prepared.gate.as_raw_fd()]).call(Call::CloseRange)
            }
            Step::Signals => sys::program_signals().call(Call::SigProcMask),
            Step::CloseMemory => {
                rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
                    .call(Call::Prctl)
            }
            Step::OpenMemory => {
                rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).call(Call::Prctl)
            }
            Step::NoNewPrivs => rustix::thread::set_no_new_privs(true).call(Call::Prctl),
            Step::Announce => announce(prepared.gate),
            Step::Hold => hold(prepared.gate),
            Step::Filter(filter, flags) => match filter.install(*flags) {
                Ok(listener) => {
                    if let Some(listener) = listener {
                        // Left open, because the filter may forbid to close
                        // it; exec does.
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
                errno: self.program.map_or(Errno::NOENT, |path| {
                    sys::execve(path, prepared.argv, prepared.envp)
                }),
            }),
        }
    }
}

fn making<'a>(prepared: &Prepared<'a>) -> Result<&'a Making, Fault> {
    prepared.network.ok_or(Fault {
        call: Call::Unshare,
        errno: Errno::INVAL,
    })
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
/// one that says most: a file that may not be executed before no file. A
/// folder of PATH that may not be entered has none.
fn find<'a>(
    candidates: impl Iterator<Item = &'a CStr>,
    along_path: bool,
    report: &Report,
) -> Result<&'a CStr, Fault> {
    let mut best = Fault {
        call: Call::Stat,
        errno: Errno::NOENT,
    };
    for (index, path) in candidates.enumerate() {
        match executable(path) {
            Ok(Ok(())) => {
                report.found(index);
                return Ok(path);
            }
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(Errno::ACCESS) if along_path => {}
            Ok(Err(errno)) | Err(errno) => {
                if best.errno == Errno::NOENT {
                    report.found(index);
                    best.errno = errno;
                }
            }
        }
    }
    Err(best)
}

/// Whether there is a file at a path, and then whether it may be executed.
fn executable(path: &CStr) -> Result<Result<(), Errno>, Errno> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::empty())?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Ok(Err(Errno::ISDIR)),
        _ => return Ok(Err(Errno::ACCESS)),
    }
    Ok(rustix::fs::accessat(
        CWD,
        path,
        Access::EXEC_OK,
        AtFlags::EACCESS,
    ))
}

/// Tells the parent that exec is near. The kernel adds the sender's process
/// number to it, in the parent's PID namespace.
fn announce(gate: BorrowedFd<'_>) -> Result<(), Fault> {
    rustix::net::send(gate, b"h", SendFlags::NOSIGNAL)
        .map(drop)
        .call(Call::Send)
}

/// Waits for a byte.
fn hold(gate: BorrowedFd<'_>) -> Result<(), Fault> {
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
