//! What a trapped call costs, next to the least that it can cost, and whom it
//! holds up.
//!
//! All that is compared is in children of its own and takes turns, some
//! milliseconds each, so that what else the machine does hits all alike. Goals
//! are about the fastest tenth of the turns: the one with the least of that.
//!
//! `cargo bench -p nucleus-supervisor --bench notify [-- [--nucleus FILE]
//! [PART...]]`; with a nucleus, calls in a sandbox are measured, too.

#![allow(clippy::print_stdout, reason = "a benchmark prints its results")]

mod bare;
mod blocked;
mod subject;
mod turns;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use nucleus_seccomp::{Arch, Syscall};
use nucleus_supervisor::{
    AtOnce, Decision, Error, Listener, Registry, Reply, Request, Supervisor, Traps, When, spawn,
};
use nucleus_tracer::{Mode, Tracer};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};

use self::subject::Subject;
use self::turns::{Goal, Turns};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How far two turns of the same kind are apart.
const NOISE: f64 = 0.1;

/// Calls in one turn.
const CALLS: usize = 400;

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [subject::WORD, kind, ref how @ ..] => {
            let limited = how.first().map(|how| *how == subject::LISTENED);
            subject::run(kind, limited).map(|()| ExitCode::SUCCESS)
        }
        ["--nucleus", nucleus, ref parts @ ..] => measure(Some(nucleus.as_ref()), parts),
        ref parts => measure(None, parts),
    }
}

/// What is measured, by name.
type Part = fn(&Path, Option<&Path>) -> Result<bool>;
const PARTS: [(&str, Part); 5] = [
    ("registers", registers),
    ("memory", memory),
    ("threads", threads),
    ("blocked", blocked::measure),
    ("sandbox", in_a_sandbox),
];

fn measure(nucleus: Option<&Path>, only: &[&str]) -> Result<ExitCode> {
    // What cargo adds.
    let only: Vec<_> = only.iter().filter(|word| **word != "--bench").collect();
    if let Some(unknown) = only
        .iter()
        .find(|it| PARTS.iter().all(|part| part.0 != ***it))
    {
        return Err(format!("no part {unknown}").into());
    }
    let load = std::fs::read_to_string("/proc/loadavg")?;
    println!("load of the machine: {}", load.trim());
    let program = std::env::current_exe()?;
    let mut met = true;
    for (name, part) in PARTS {
        if only.is_empty() || only.iter().any(|it| **it == name) {
            met &= part(&program, nucleus)?;
        }
    }
    Ok(if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn call(name: &str) -> Result<Syscall> {
    let arch = Arch::native().ok_or("no system call table for this machine")?;
    Ok(Syscall::by_name(arch, name).ok_or("a call that is not in the table")?)
}

fn answered(_request: &Request) -> std::result::Result<Decision, nucleus_supervisor::Failure> {
    Ok(Decision::Answer(Reply::Value(0)))
}

/// A subject whose calls of one name are answered by a bare loop.
fn under_bare_loop(program: &Path, kind: &str, name: &str, goes_on: bool) -> Result<Subject> {
    let mut traps = Traps::new();
    traps.add(call(name)?, When::Always)?;
    let (child, _answering) = spawn(
        Subject::command(program, kind),
        traps.program()?,
        |listener| Ok::<_, Error>(bare::answer(listener, goes_on)),
    )?;
    Subject::new(child)
}

fn under_engine(program: &Path, kind: &str, registry: Registry) -> Result<Subject> {
    let filter = registry.program()?;
    let start = |listener: Listener| Supervisor::start(listener, registry);
    let (child, _supervisor) = spawn(Subject::command(program, kind), filter, start)?;
    Subject::new(child)
}

fn at_once() -> Result<Registry> {
    let mut registry = Registry::new();
    registry.add(call("getppid")?, When::Always, AtOnce(answered))?;
    Ok(registry)
}

fn by_pool() -> Result<Registry> {
    let mut registry = Registry::new();
    registry.add(call("getppid")?, When::Always, answered)?;
    Ok(registry)
}

/// An answer from registers alone.
fn registers(program: &Path, _nucleus: Option<&Path>) -> Result<bool> {
    println!("\none call, answered from registers");
    let mut turns = Turns::new(CALLS);
    turns.add(
        "a bare loop of RECV and SEND",
        under_bare_loop(program, "getppid", "getppid", false)?,
    );
    turns.add("at once", under_engine(program, "getppid", at_once()?)?);
    turns.add("by the pool", under_engine(program, "getppid", by_pool()?)?);
    turns.take(&[Goal::at_most(1, 1.25)])
}

/// A claim of memory that is counted.
fn memory(program: &Path, _nucleus: Option<&Path>) -> Result<bool> {
    println!("\nmmap and munmap of a page");
    let mut turns = Turns::new(CALLS);
    turns.add(
        "a bare loop that lets mmap happen",
        under_bare_loop(program, "map", "mmap", true)?,
    );
    let mut tracers = Vec::new();
    for (name, how) in [
        ("--memory without cgroup", subject::LISTENED),
        ("all by the tracer", subject::TRACED),
    ] {
        let (subject, tracer) = limited(program, how)?;
        turns.add(name, subject);
        tracers.push(tracer);
    }
    turns.add(
        "without a limit",
        Subject::new(Subject::command(program, "map").spawn()?)?,
    );
    let met = turns.take(&[Goal::at_most(1, 1.3)])?;
    for tracer in tracers {
        tracer.join().map_err(|_panic| "the tracer panicked")??;
    }
    Ok(met)
}

type Traced = JoinHandle<std::result::Result<(), nucleus_tracer::Error>>;

/// A subject under a limit on memory, and its tracer.
fn limited(program: &Path, how: &str) -> Result<(Subject, Traced)> {
    let mut command = Subject::command(program, "map");
    command.arg(how);
    let mut subject = Subject::new(command.spawn()?)?;
    subject.hear()?;
    let (guards, registry) = subject::limit(how == subject::LISTENED)?;
    let id = subject.id();
    let (seized, is_seized) = mpsc::channel();
    let tracer = thread::spawn(move || {
        let tracer = Tracer::seize(id, Mode::Judge, guards);
        seized.send(()).ok();
        tracer.and_then(|mut tracer| tracer.run())
    });
    is_seized.recv()?;
    let number = subject.tell("go")?.trim().parse()?;
    if number > 0 {
        let pid = rustix::process::Pid::from_raw(id.cast_signed()).ok_or("no child")?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        let listener = rustix::process::pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty())?;
        Supervisor::start(Listener::new(listener)?, registry)?;
    }
    Ok((subject, tracer))
}

/// Calls of eight threads at once, each answered as that of one.
fn threads(program: &Path, _nucleus: Option<&Path>) -> Result<bool> {
    println!("\none call, by one thread and by eight at once");
    // Enough that what it costs to start eight threads does not count.
    let mut turns = Turns::new(16 * CALLS);
    for (registry, names) in [
        (at_once as fn() -> _, ["at once, one", "at once, eight"]),
        (by_pool, ["by the pool, one", "by the pool, eight"]),
    ] {
        for (name, kind) in names.into_iter().zip(["getppid", "threads"]) {
            turns.add(name, under_engine(program, kind, registry()?)?);
        }
    }
    turns.take(&[
        Goal::at_most(1, 1.0 + NOISE),
        Goal::between(2, 3, 1.0 + NOISE),
    ])
}

/// What is not trapped: the kernel alone enforces grants of paths.
fn in_a_sandbox(program: &Path, nucleus: Option<&Path>) -> Result<bool> {
    println!("\nopen and close of a file");
    let Some(nucleus) = nucleus else {
        println!("SKIPPED: no --nucleus FILE");
        return Ok(true);
    };
    let mut grant = program.as_os_str().to_owned();
    grant.push(":/tmp/subject");
    let inside = |options: &[&str]| -> Result<Subject> {
        let mut command = Command::new(nucleus);
        command.arg("run").args(options).arg("--volume").arg(&grant);
        command.args(["--", "/tmp/subject", subject::WORD, "open"]);
        Subject::new(Subject::piped(command).spawn()?)
    };
    let bare = Subject::command(program, "open").spawn()?;
    let mut turns = Turns::new(4 * CALLS);
    turns.add("bare", Subject::new(bare)?);
    turns.add("with mounts and the filter", inside(&["--no-landlock"])?);
    turns.add("with Landlock as well", inside(&[])?);
    let network = inside(&["--net-allow", "localhost"])?;
    turns.add("and with a network policy", network);
    // Landlock looks at each folder above the file: that is not the filter's.
    turns.take(&[
        Goal::at_most(1, 1.0 + NOISE),
        Goal::between(2, 3, 1.0 + NOISE),
    ])
}
