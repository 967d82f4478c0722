//! The programs that are measured: this one again, in children that make calls
//! when they are told to, and say how long those took.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::ptr::null_mut;
use std::thread;
use std::time::Instant;

use nucleus_seccomp::{InstallFlags, Program};
use nucleus_supervisor::{Guard, MemoryLimit, Traps, WhenFull};

use crate::Result;

/// What makes a child of this program, before the names of what it is to do.
pub(crate) const WORD: &str = "--subject";

/// The limit of a traced one: never reached by what it maps.
const LIMIT: u64 = 1 << 40;

const PAGE: usize = 4096;

/// Of a traced one, and the traps for it.
pub(crate) fn limit() -> MemoryLimit {
    MemoryLimit::new(LIMIT, "--memory 1T".to_owned(), WhenFull::Refuse)
}

fn traps() -> Result<Program> {
    let mut traps = Traps::for_tracer();
    limit().trap(&mut traps)?;
    Ok(traps.program()?)
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
/// says the nanoseconds.
pub(crate) fn run(kind: &str, traced: bool) -> Result<()> {
    let mut input = BufReader::new(io::stdin());
    let mut line = String::new();
    if traced {
        input.read_line(&mut line)?;
        rustix::thread::set_no_new_privs(true)?;
        traps()?.install(InstallFlags::empty())?;
        println!("traced");
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
