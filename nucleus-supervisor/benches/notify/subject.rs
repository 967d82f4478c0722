//! The programs that are measured: this one again, in children that make calls
//! when they are told to, and say how long those took.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::IntoRawFd as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::ptr::null_mut;
use std::thread;
use std::time::Instant;

use nucleus_seccomp::InstallFlags;
use nucleus_supervisor::{Guards, MemoryLimit, Registry, WhenFull};

use crate::Result;

/// What makes a child of this program, before the names of what it is to do.
pub(crate) const WORD: &str = "--subject";

/// How a limited one is: its small claims are left to a listener, or all to the
/// tracer.
pub(crate) const LISTENED: &str = "listened";
pub(crate) const TRACED: &str = "traced";

/// The limit of a limited one: never reached by what it maps.
const LIMIT: u64 = 1 << 40;

const PAGE: usize = 4096;

/// What a limit on memory asks for: by a listener and a tracer, or by the
/// latter alone.
pub(crate) fn limit(listens: bool) -> Result<(Guards, Registry)> {
    let option = "--memory 1T".to_owned();
    let limit = MemoryLimit::new(LIMIT, option, WhenFull::Refuse);
    let mut guards = Guards::new(vec![Box::new(limit)]);
    let mut registry = Registry::new();
    if listens {
        for policy in guards.leave_to_listener()? {
            policy.register(&mut registry)?;
        }
    }
    Ok((guards, registry))
}

/// Tells from a child's side what to measure.
fn calls(kind: &str, times: usize) -> Result<()> {
    match kind {
        "getppid" => (0..times).for_each(|_| getppid()),
        "threads" => thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..times / 8).for_each(|_| getppid()));
            }
        }),
        "map" => return map(times),
        "open" => {
            for _ in 0..times {
                drop(std::fs::File::open("/usr/bin/env")?);
            }
        }
        _ => return Err(format!("no subject {kind}").into()),
    }
    Ok(())
}

/// Not by libc, whose function could keep the answer.
fn getppid() {
    // SAFETY: no arguments.
    unsafe { libc::syscall(libc::SYS_getppid) };
}

fn map(times: usize) -> Result<()> {
    for _ in 0..times {
        // SAFETY: fresh memory where the kernel wants it.
        let place = unsafe {
            libc::mmap(
                null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: the mapping that was just made, which nobody has touched.
        unsafe { libc::munmap(place, PAGE) };
    }
    Ok(())
}

/// In the child: for each line, which holds a number, makes so many calls and
/// says the nanoseconds. Before that a limited one, which listens or not, has a
/// tracer attached, and says the number of its listener.
pub(crate) fn run(kind: &str, limited: Option<bool>) -> Result<()> {
    let mut input = BufReader::new(io::stdin());
    let mut line = String::new();
    if let Some(listens) = limited {
        let (guards, registry) = limit(listens)?;
        let filter = guards.traps()?.join(&registry.program()?)?;
        let flags = match listens {
            true => InstallFlags::NEW_LISTENER | InstallFlags::WAIT_KILLABLE_RECV,
            false => InstallFlags::empty(),
        };
        rustix::thread::set_no_new_privs(true)?;
        println!("here");
        input.read_line(&mut line)?;
        // Nothing may be claimed until somebody has the listener.
        let listener = filter.install(flags)?;
        println!("{}", listener.map_or(0, |fd| fd.into_raw_fd()));
    }
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let times = line.trim().parse()?;
        let start = Instant::now();
        calls(kind, times)?;
        println!("{}", start.elapsed().as_nanos());
    }
}

/// A child that waits to be told.
pub(crate) struct Subject {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Subject {
    /// The command of one.
    pub(crate) fn command(program: &Path, kind: &str) -> Command {
        let mut command = Command::new(program);
        command.args([WORD, kind]);
        Self::piped(command)
    }

    pub(crate) fn piped(mut command: Command) -> Command {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    pub(crate) fn new(mut child: Child) -> Result<Self> {
        let ask = child.stdin.take().ok_or("no pipe to the subject")?;
        let answers = child.stdout.take().ok_or("no pipe from the subject")?;
        Ok(Self {
            child,
            ask,
            answers: BufReader::new(answers),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it something, and gives its answer.
    pub(crate) fn tell(&mut self, words: &str) -> Result<String> {
        writeln!(self.ask, "{words}")?;
        self.hear()
    }

    pub(crate) fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line)
    }

    /// Nanoseconds for each of so many calls.
    #[expect(clippy::cast_precision_loss, reason = "of times")]
    pub(crate) fn time(&mut self, times: usize) -> Result<f64> {
        let answer = self.tell(&times.to_string())?;
        let nanoseconds: f64 = answer.trim().parse()?;
        Ok(nanoseconds / times as f64)
    }

    /// Lets it end. A tracer may see the end of a traced one first.
    pub(crate) fn end(self) -> Result<()> {
        let Self {
            mut child,
            ask,
            answers,
        } = self;
        drop((ask, answers));
        match child.wait() {
            Ok(status) if !status.success() => Err(format!("a subject ended with {status}").into()),
            Err(error) if error.raw_os_error() != Some(libc::ECHILD) => Err(error.into()),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
