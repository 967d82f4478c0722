//! A policy that is a program of its own: it reads events and writes verdicts.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::desk::Desk;
use super::protocol::{self, LONGEST, PROTOCOL, Said};
use super::{Context, Verdict, change};
use crate::{Error, sys};

const WRITER: &str = "nucleus-policy";
const READER: &str = "nucleus-verdicts";

/// How long a policy may take to end when its input has ended.
const GRACE: Duration = Duration::from_secs(1);

/// Who is told what goes wrong, in a sentence.
pub(super) type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// A policy program that runs.
#[derive(Debug)]
pub(super) struct Running {
    pidfd: OwnedFd,
    /// Hung up when it has ended and was waited for.
    over: Mutex<Receiver<()>>,
}

impl Running {
    /// Starts it, in a process group of its own. It dies with this process.
    pub(super) fn start(
        command: Vec<OsString>,
        desk: Arc<Desk>,
        context: Context,
        tell: Tell,
    ) -> Result<Self, Error> {
        let (started, is_started) = sync_channel(1);
        let (over, is_over) = sync_channel(0);
        let program = command.first().cloned().unwrap_or_default();
        let failed = |source| Error::PolicyProgram { program, source };
        let work = move || {
            // The kernel kills it when the thread ends that has started it.
            match spawn(&command) {
                Ok((child, pidfd)) => {
                    // Who asked for it waits.
                    let _heard: Result<(), _> = started.send(Ok(pidfd));
                    serve(child, &desk, &context, &tell);
                }
                Err(error) => {
                    let _heard: Result<(), _> = started.send(Err(error));
                }
            }
            drop(over);
        };
        thread::Builder::new()
            .name(WRITER.to_owned())
            .spawn(work)
            .map_err(|source| Error::Thread {
                name: WRITER,
                source,
            })?;
        match is_started.recv() {
            Ok(Ok(pidfd)) => Ok(Self {
                pidfd,
                over: Mutex::new(is_over),
            }),
            Ok(Err(source)) => Err(failed(source)),
            Err(_ended) => Err(Error::Panicked { name: WRITER }),
        }
    }

    /// Waits for the end of a program whose desk is closed.
    pub(super) fn wait(&self) {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        // Twice: it may be stuck in reading nothing for the first time.
        if over.recv_timeout(GRACE * 2) == Err(RecvTimeoutError::Timeout) {
            let _gone = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _hung_up: Result<(), _> = over.recv();
        }
    }
}

fn spawn(command: &[OsString]) -> io::Result<(Child, OwnedFd)> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("NUCLEUS_POLICY_PROTOCOL", PROTOCOL.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // What ends a job at the terminal must not end its policy first.
        .process_group(0);
    sys::before_exec(&mut command, || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        Ok(())
    });
    let mut child = command.spawn()?;
    match pidfd_of(&child) {
        Ok(pidfd) => Ok((child, pidfd)),
        Err(error) => {
            child.kill()?;
            child.wait()?;
            Err(error)
        }
    }
}

fn pidfd_of(child: &Child) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(
        Pid::from_child(child),
        PidfdFlags::empty(),
    )?)
}

/// Hands events to the program until it is over.
fn serve(mut child: Child, desk: &Arc<Desk>, context: &Context, tell: &Tell) {
    let reader = child.stdout.take().map(|verdicts| {
        let (desk, tell) = (Arc::clone(desk), Arc::clone(tell));
        let context = context.clone();
        thread::Builder::new()
            .name(READER.to_owned())
            .spawn(move || read(verdicts, &desk, &context, &tell))
    });
    let mut died = false;
    if let (Some(Ok(_)), Some(mut events)) = (&reader, child.stdin.take()) {
        while let Some((id, event)) = desk.take() {
            let line = protocol::question(id, &event).map_err(io::Error::from);
            if line.and_then(|line| events.write_all(&line)).is_err() {
                break;
            }
        }
    }
    died |= desk.close();
    let status = end(&mut child);
    if let Some(Ok(reader)) = reader {
        // Its panic is its own end of the desk, as any other.
        died |= reader.join().unwrap_or(true);
    }
    if died {
        let how = match status {
            Ok(status) => status.to_string(),
            Err(error) => format!("it cannot be waited for: {error}"),
        };
        tell(&format!(
            "the policy program ended ({how}); all that it would be asked is denied from now on"
        ));
    }
}

/// Waits a moment for a program whose input has ended, and kills what is left
/// of it.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    let grace = Timespec::try_from(GRACE).unwrap_or_default();
    if let Ok(pidfd) = pidfd_of(child) {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        // An interrupted wait is a short one.
        let _ready = rustix::event::poll(&mut fds, Some(&grace));
    }
    // Not waited for yet, so that the group is still its own.
    let _gone = rustix::process::kill_process_group(Pid::from_child(child), Signal::KILL);
    child.wait()
}

/// Takes verdicts until there are no more. Whether that is before the end.
fn read(verdicts: ChildStdout, desk: &Desk, context: &Context, tell: &Tell) -> bool {
    let mut verdicts = BufReader::new(verdicts);
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    let mut complaints = Complaints::default();
    loop {
        line.clear();
        match verdicts.by_ref().take(most).read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => {}
            Ok(length) if length >= LONGEST => {
                tell(&format!(
                    "the policy program wrote a line longer than {LONGEST} bytes; nothing more is read"
                ));
                return desk.close();
            }
            // A line without its end is none: the rest may have been lost.
            _ended => return desk.close(),
        }
        // Whether anybody waits for a verdict any more does not matter: it may
        // be late, or come twice.
        match protocol::answer(&line) {
            Said::Verdict(id, verdict, changes) => {
                let changed = change::make(changes, context);
                let verdict = match changed {
                    Ok(()) => verdict,
                    Err(why) => {
                        complaints.tell(tell, &line, &why.to_string(), ITS);
                        verdict.and(Verdict::DENY)
                    }
                };
                let _known: bool = desk.reply(id, verdict);
            }
            Said::Changes(changes) => {
                if let Err(why) = change::make(changes, context) {
                    complaints.tell(tell, &line, &why.to_string(), ALL);
                    desk.deny_open();
                }
            }
            Said::Nonsense(id, why) => {
                complaints.tell(tell, &line, &why, ITS);
                let _known: bool = desk.reply(id, Verdict::DENY);
            }
            Said::Garbage(why) => {
                complaints.tell(tell, &line, &why, ALL);
                desk.deny_open();
            }
        }
    }
}

const ITS: &str = "its call is denied";
const ALL: &str = "all calls that wait are denied";

/// Most different complaints about one program.
const COMPLAINTS: usize = 10;

/// What was complained about: each thing once.
#[derive(Default)]
struct Complaints(BTreeSet<String>);

impl Complaints {
    fn tell(&mut self, tell: &Tell, line: &[u8], why: &str, so: &str) {
        if self.0.len() < COMPLAINTS && self.0.insert(why.to_owned()) {
            let line = line.get(..160).unwrap_or(line).escape_ascii();
            tell(&format!(
                "the policy program said {line}, which is no verdict: {why}; {so}, and this is \
                 said once"
            ));
        }
    }
}
