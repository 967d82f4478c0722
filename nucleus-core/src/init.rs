//! The init process: makes the program's process, reaps, forwards signals,
//! tells the parent how the program ended, and lets nothing outlive the parent.
//!
//! Runs in a copy of the parent, like the interpreter: nothing allocates.

use std::convert::Infallible;
use std::io::{IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitId, WaitIdOptions};

use crate::ids;
use crate::interpret::{self, Left, Prepared};
use crate::message::Message;
use crate::plan::{Plan, Reaping};
use crate::report::{Call, Context, Failure, Fault, Stage};
use crate::{stat, sys};

/// What init is given.
#[derive(Debug)]
pub(crate) struct Init<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) prepared: Prepared<'a>,
}

/// Init's life.
pub(crate) fn main(init: &Init<'_>) -> Infallible {
    if let Err(failure) = start(init) {
        init.prepared.report.fail(failure);
    }
    sys::exit(interpret::FAILED)
}

fn start(init: &Init<'_>) -> Result<(), Failure> {
    let plan = init.plan;
    let left = interpret::run_init(&plan.init, &init.prepared)?;
    let mut life = begin(init).map_err(|fault| Failure {
        stage: Stage::Init,
        step: plan.init.len(),
        fault,
    })?;
    // From here on there is something to kill, so in the host's view an error
    // must only start that; there are no steps there that could fail. A
    // namespace dies with its init.
    interpret::run(Stage::Settle, &plan.settle, &init.prepared)?;
    life.dying = life.settle(left).is_err();
    life.run();
    Ok(())
}

/// Makes the program's process.
fn begin<'a>(init: &'a Init<'a>) -> Result<Life<'a>, Fault> {
    let signals = sys::signalfd_all().call(Call::SignalFd)?;
    let children = match init.plan.reaping {
        Reaping::Namespace => None,
        Reaping::Subreaper => Some(
            rustix::fs::openat(
                CWD,
                c"/proc/thread-self/children",
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .call(Call::Open)?,
        ),
    };
    let namespaces = init.plan.program_namespaces.bits();
    let run = move || interpret::run_program(&init.plan.program, &init.prepared);
    let program = match init.prepared.stack {
        // This process never leaves `main`, where `init` is from, so that what
        // they share stays.
        Some(stack) => sys::clone_sharing_memory(namespaces, stack, run),
        None => sys::clone_process(namespaces, None, run),
    };
    let program = program.call(Call::Clone)?;
    if let (Some(maps), Some((_read, mapped))) = (&init.plan.program_ids, init.prepared.mapped) {
        ids::map_process(maps, program.pid)?;
        rustix::io::write(mapped, b"m").call(Call::Write)?;
        // The program is what one waits for, and is often on this processor.
        rustix::thread::sched_yield();
    }
    Ok(Life {
        init,
        pid: program.pid,
        program: program.pidfd,
        signals,
        children,
        reported: false,
        dying: false,
    })
}

struct Life<'a> {
    init: &'a Init<'a>,
    pid: Pid,
    program: OwnedFd,
    signals: OwnedFd,
    /// The list of init's children, where it must kill them itself.
    children: Option<OwnedFd>,
    /// The parent knows how the program ended.
    reported: bool,
    dying: bool,
}

impl Life<'_> {
    /// Hands the program's pidfd to the parent, with the upper layer if there
    /// is one, and gives up what init needs no longer: descriptors, memory, and
    /// being open to a tracer.
    fn settle(&self, left: Left) -> Result<(), Errno> {
        let message = Message::Spawned.to_bytes();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let both = left
            .upper
            .as_ref()
            .map(|upper| [self.program.as_fd(), upper.as_fd()]);
        let alone = [self.program.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(
            both.as_ref().map_or(&alone[..], |both| &both[..]),
        ));
        rustix::net::sendmsg(
            self.init.prepared.status,
            &[IoSlice::new(&message)],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        // What is left is closed with the rest, by one call.
        std::mem::forget(left);
        if let Some(code) = self.init.prepared.code {
            code.give_back();
        }
        sys::close_all_but([
            self.init.prepared.status.as_raw_fd(),
            self.init.prepared.parent.as_raw_fd(),
            self.program.as_raw_fd(),
            self.signals.as_raw_fd(),
            self.children.as_ref().unwrap_or(&self.signals).as_raw_fd(),
        ])?;
        // SIGCONT wakes an init that was stopped with its process group, so
        // that it can see that the parent is gone; otherwise it does nothing.
        rustix::process::set_parent_process_death_signal(Some(Signal::CONT))?;
        // The memory is a copy of the parent's: nobody's to read.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
    }

    fn run(&mut self) {
        loop {
            let none_left = self.reap();
            match self.init.plan.reaping {
                _ if none_left => return,
                Reaping::Namespace if self.reported => return,
                _ => {}
            }
            if self.dying {
                self.kill_all();
            }
            self.wait();
        }
    }

    /// Reaps what has ended; true when no child is left.
    ///
    /// Each child is looked at before it is reaped: were the program reaped
    /// unseen, the parent would never hear how it ended. It is told first, too,
    /// so that the program's number still belongs to it then.
    fn reap(&mut self) -> bool {
        loop {
            match sys::ended_child() {
                Ok(Some(pid)) => {
                    if pid == self.pid && !self.reported {
                        self.tell();
                        self.reported = true;
                    }
                    // It has ended, and nobody else waits for it.
                    let _status = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
                }
                Ok(None) => return false,
                Err(_no_child) => return true,
            }
        }
    }

    /// Tells the parent how the program ended, which is not reaped yet.
    /// A parent that is gone need not hear it.
    fn tell(&mut self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let ended = rustix::process::waitid(WaitId::PidFd(self.program.as_fd()), options);
        let Ok(Some(status)) = ended else {
            return;
        };
        let message = match status.terminating_signal() {
            Some(signal) => Message::Killed {
                signal,
                dumped: status.dumped(),
                started: has_executed(self.pid),
            },
            None => Message::Exited {
                code: status.exit_status().unwrap_or(interpret::FAILED),
            },
        };
        let sent = rustix::net::send(
            self.init.prepared.status,
            &message.to_bytes(),
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        );
        self.dying |= sent.is_err();
    }

    /// Blocks until something happens, and takes note of it.
    fn wait(&mut self) {
        let mut fds = [
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::from_borrowed_fd(self.init.prepared.status, PollFlags::IN),
            PollFd::from_borrowed_fd(self.init.prepared.parent, PollFlags::IN),
        ];
        // Once all is dying, the two ends of file would keep poll awake.
        let watched = if self.dying { 1 } else { fds.len() };
        let Some(watched) = fds.get_mut(..watched) else {
            return;
        };
        if rustix::event::poll(watched, None).is_err() {
            return;
        }
        let [_signals, ends @ ..] = watched else {
            return;
        };
        self.dying |= ends.iter().any(|end| !end.revents().is_empty());
        while let Some(arrived) = sys::next_signal(self.signals.as_fd()) {
            self.forward(arrived);
        }
    }

    /// A namespace's init is what the outside can see and signal. What the
    /// terminal sends reaches the program without help; a subreaper's program
    /// can be signalled as any other process.
    fn forward(&self, arrived: sys::Arrived) {
        let own = [libc::SIGCHLD, libc::SIGCONT].contains(&arrived.signal);
        if self.init.plan.reaping == Reaping::Namespace && arrived.from_process && !own {
            // A program that has just ended needs no signal.
            let _sent = sys::pidfd_send_signal(self.program.as_fd(), arrived.signal);
        }
    }

    /// Kills every child. Their orphans become init's children when they die,
    /// and the signal of that death makes init come back here: no process can
    /// slip through by forking.
    fn kill_all(&self) {
        let Some(children) = &self.children else {
            // The rest of the namespace dies with init.
            let _sent = rustix::process::pidfd_send_signal(&self.program, Signal::KILL);
            return;
        };
        let mut list = [0; 4096];
        let Ok(length) = rustix::io::pread(children, &mut list, 0) else {
            return;
        };
        // Each number is followed by a space; one that the buffer cuts is not.
        let list = list.get(..length).unwrap_or_default();
        let mut number = 0_i32;
        for &byte in list {
            match byte {
                b'0'..=b'9' => {
                    number = number.wrapping_mul(10).wrapping_add(i32::from(byte - b'0'));
                }
                _ => {
                    if let Some(pid) = Pid::from_raw(number) {
                        // One that runs as another user cannot be killed, and
                        // one that has just ended need not be.
                        let _sent = rustix::process::kill_process(pid, Signal::KILL);
                    }
                    number = 0;
                }
            }
        }
    }
}

/// `PF_FORKNOEXEC`, `include/linux/sched.h`: set by fork, cleared by exec.
const PF_FORKNOEXEC: u64 = 0x40;

/// Whether a process, ended but not reaped, had got as far as exec. Where
/// /proc does not say, it had: the parent then takes the status as it is.
fn has_executed(pid: Pid) -> bool {
    let mut path = [0; 32];
    let mut rest = path.as_mut_slice();
    // The last byte stays zero: 32 bytes hold the longest path with room.
    if write!(rest, "/proc/{}/stat", pid.as_raw_nonzero()).is_err() {
        return true;
    }
    let Ok(path) = std::ffi::CStr::from_bytes_until_nul(&path) else {
        return true;
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(CWD, path, flags, Mode::empty()) else {
        return true;
    };
    let mut stat = [0; 1024];
    let Ok(length) = rustix::io::read(&file, &mut stat) else {
        return true;
    };
    let stat = stat.get(..length).unwrap_or_default();
    stat::field(stat, stat::FLAGS).is_none_or(|flags| flags & PF_FORKNOEXEC == 0)
}
