//! What filters cost: size, instructions executed, time to compile, and the
//! time of an allowed system call under them.
//!
//! Compared are no filter, one that allows everything, nucleus's, libseccomp's in both layouts, and a
//! plain list of numbers. One process for each, all in turns, so that what
//! else the machine does hits all alike.
//!
//! `cargo bench -p nucleus-seccomp [-- PROFILE.json]`

#![allow(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::error::Error;
use std::hint::black_box;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use nucleus_seccomp::difftest::{Layout, Libseccomp};
use nucleus_seccomp::{
    Action, CompileOptions, Endian, Insn, InstallFlags, Policy, Profile, Program, SeccompData,
    Syscall, Target, Verdict, offset, op,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// System calls in one turn, and turns: short ones, so that few are interrupted.
const CALLS: u32 = 1_000;
const ROUNDS: usize = 1001;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    match args.next() {
        Some(word) if word == "--under-filter" => under_filter(),
        file => compare(file),
    }
}

fn compare(file: Option<String>) -> Result<()> {
    let json = match file {
        Some(file) => std::fs::read(file)?,
        None => Profile::sandbox_default().to_json().into_bytes(),
    };
    let profile = Profile::from_json(&json)?;
    let target = Target::host().ok_or("no table for this machine")?;
    let policy = profile.resolve(&target)?;
    let ours = policy.compile(&CompileOptions::default())?;
    compile_time(&json, &target)?;

    // What the kernel charges for any filter at all.
    let floor = Program::new(vec![Insn::ret(Action::Allow)])?;
    let mut filters = vec![
        ("no filter", None),
        ("ret allow", Some(floor)),
        ("nucleus", Some(ours)),
    ];
    match Libseccomp::load() {
        Ok(library) => {
            let export = |layout| library.export(&profile, &target, layout);
            filters.push(("libseccomp", Some(export(Layout::Linear)?.program)));
            filters.push(("its tree", Some(export(Layout::BinaryTree)?.program)));
        }
        Err(error) => println!("SKIPPED libseccomp: {error}"),
    }
    filters.push(("plain list", Some(plain_list(&policy, &target)?)));
    let rounds = call_times(&filters)?;

    println!("             insns  executed  cached     getppid  of no filter");
    for ((name, program), times) in filters.iter().zip(&rounds) {
        let ratios = times.iter().zip(&rounds[0]).map(|(time, bare)| time / bare);
        let (len, executed, cached) = match program {
            Some(program) => size(program, &target),
            None => (0, 0.0, 0.0),
        };
        println!(
            "{name:<12} {len:>5} {executed:>9.1} {:>6.0}% {:>8.1} ns {:>9.3}",
            100.0 * cached,
            median(times.clone()),
            median(ratios.collect()),
        );
    }
    Ok(())
}

/// From JSON to the program, and the last step alone.
fn compile_time(json: &[u8], target: &Target) -> Result<()> {
    let mut whole = Vec::new();
    let mut last = Vec::new();
    for _ in 0..201 {
        let start = Instant::now();
        let policy = Profile::from_json(black_box(json))?.resolve(target)?;
        let resolved = Instant::now();
        black_box(policy.compile(&CompileOptions::default())?);
        last.push(resolved.elapsed().as_secs_f64() * 1e6);
        whole.push(start.elapsed().as_secs_f64() * 1e6);
    }
    println!(
        "from JSON to the filter: {:.0} us, of which compiling {:.0} us",
        median(whole),
        median(last)
    );
    Ok(())
}

/// Length, instructions executed on average over every known call of the
/// target's architecture (arguments of zero), and the share that the kernel
/// caches of those that are allowed.
fn size(program: &Program, target: &Target) -> (usize, f64, f64) {
    let calls: Vec<Syscall> = Syscall::all(target.arch).collect();
    let outcomes: Vec<_> = calls
        .iter()
        .map(|call| {
            program.run(&SeccompData {
                nr: call.number(),
                arch: target.arch.audit(),
                ..SeccompData::default()
            })
        })
        .collect();
    let executed: usize = outcomes.iter().map(|outcome| outcome.executed).sum();
    let allowed: Vec<bool> = calls
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| outcome.action == Action::Allow)
        .map(|(call, _)| program.cached(call.arch(), call.number()))
        .collect();
    let cached = allowed.iter().filter(|cached| **cached).count();
    let share = |part: usize, whole: usize| part as f64 / whole as f64;
    (
        program.insns().len(),
        share(executed, calls.len()),
        share(cached, allowed.len()),
    )
}

/// What is written first by hand: one comparison for each number that is
/// always allowed.
fn plain_list(policy: &Policy, target: &Target) -> Result<Program> {
    let mut insns = vec![
        Insn::load(offset::ARCH),
        Insn::jump(op::JEQ_K, target.arch.audit(), 1, 0),
        Insn::ret(Action::KillProcess),
        Insn::load(offset::NR),
    ];
    for (call, verdict) in policy.calls(target.arch) {
        if *verdict == Verdict::Always(Action::Allow) {
            insns.push(Insn::jump(op::JEQ_K, call.number(), 0, 1));
            insns.push(Insn::ret(Action::Allow));
        }
    }
    insns.push(Insn::ret(Action::Errno(1)));
    Ok(Program::new(insns)?)
}

/// One that makes calls when it is told to.
struct Caller {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Caller {
    fn start(program: Option<&Program>) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--under-filter")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut orders = child.stdin.take().ok_or("no standard input")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let bytes = program.map_or_else(Vec::new, |program| program.to_bytes(Endian::NATIVE));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(orders, "{hex}")?;
        Ok(Self {
            child,
            orders,
            answers,
        })
    }

    /// Nanoseconds a call.
    fn turn(&mut self) -> Result<f64> {
        writeln!(self.orders)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().parse()?)
    }
}

/// The times of each, round by round.
fn call_times(filters: &[(&str, Option<Program>)]) -> Result<Vec<Vec<f64>>> {
    let mut callers = filters
        .iter()
        .map(|(_, program)| Caller::start(program.as_ref()))
        .collect::<Result<Vec<_>>>()?;
    let mut rounds = vec![Vec::with_capacity(ROUNDS); callers.len()];
    for caller in &mut callers {
        caller.turn()?;
    }
    for _ in 0..ROUNDS {
        for (caller, times) in callers.iter_mut().zip(&mut rounds) {
            times.push(caller.turn()?);
        }
    }
    for caller in callers {
        let Caller {
            mut child, orders, ..
        } = caller;
        drop(orders);
        child.wait()?;
    }
    Ok(rounds)
}

/// The caller: reads a filter, then makes calls for each line.
fn under_filter() -> Result<()> {
    let mut lines = io::stdin().lock().lines();
    let hex = lines.next().ok_or("no filter")??;
    let bytes = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16))
        .collect::<std::result::Result<Vec<u8>, _>>()?;
    if !bytes.is_empty() {
        rustix::thread::set_no_new_privs(true)?;
        Program::from_bytes(&bytes, Endian::NATIVE)?.install(InstallFlags::empty())?;
    }
    let mut out = io::stdout().lock();
    for order in lines {
        order?;
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(rustix::process::getppid());
        }
        let nanoseconds = start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS);
        writeln!(out, "{nanoseconds}")?;
        out.flush()?;
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
