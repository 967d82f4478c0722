//! What reading the kernel's records costs: at rest, when asked to stop, and in a
//! storm of the records of others.
//!
//! `cargo bench -p nucleus-audit --bench records`; needs `CAP_AUDIT_READ`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints, and fails by panicking"
)]

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nucleus_audit::{
    Belonging, Error, LogKind, LogPurpose, LogSource, Scope, Source, enter_session,
};
use nucleus_seccomp::{Action, Insn, InstallFlags, Program, offset, op};
use rustix::time::{ClockId, clock_gettime};

/// Records of others in one storm, by two processes.
const STORM: u32 = 100_000;
/// Denials of ours during it.
const OURS: u32 = 100;
/// `getpgid` on x86-64, and its number elsewhere (`asm-generic/unistd.h`).
const GETPGID: u32 = if cfg!(target_arch = "x86_64") {
    121
} else {
    155
};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some("--storm") => denied(STORM / 2, |call| {
            call();
        }),
        Some("--ours") => denied(OURS, |call| {
            let before = nanoseconds(SystemTime::now());
            call();
            println!("{before} {}", nanoseconds(SystemTime::now()));
            thread::sleep(Duration::from_millis(10));
        }),
        _ => measure(),
    }
}

fn nanoseconds(time: SystemTime) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_nanos()
}

/// Makes a call that the filter denies and logs, so often.
fn denied(times: u32, each: impl Fn(&dyn Fn())) {
    let filter = Program::new(vec![
        Insn::load(offset::NR),
        Insn::jump(op::JEQ_K, GETPGID, 0, 1),
        Insn::ret(Action::Errno(1)),
        Insn::ret(Action::Allow),
    ]);
    rustix::thread::set_no_new_privs(true).unwrap();
    filter.unwrap().install(InstallFlags::LOG).unwrap();
    for _ in 0..times {
        each(&|| assert!(rustix::process::getpgid(None).is_err()));
    }
}

fn start(word: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .arg(word)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn measure() {
    match LogSource::open(LogKind::Audit, LogPurpose::Denials) {
        Ok(_source) => {}
        Err(error @ (Error::NoAuditRead | Error::AuditOff | Error::SilentAudit { .. })) => {
            println!("SKIPPED: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    }
    at_rest();
    stopping();
    storm();
}

fn at_rest() {
    const SECONDS: u64 = 5;
    let mut source = LogSource::open(LogKind::Audit, LogPurpose::Denials).unwrap();
    let stopper = source.stopper();
    let (sender, receiver) = std::sync::mpsc::channel();
    let reader = thread::spawn(move || {
        sender
            .send(rustix::thread::gettid().as_raw_nonzero())
            .unwrap();
        while source.next().unwrap().is_some() {}
    });
    let tid = receiver.recv().unwrap();
    let switches = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/self/task/{tid}/status")).unwrap();
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    };
    thread::sleep(Duration::from_millis(100));
    let before = switches();
    thread::sleep(Duration::from_secs(SECONDS));
    let woken = switches() - before;
    println!("at rest: woken {woken} times in {SECONDS} s (each record of the machine wakes it)");
    stopper.stop().unwrap();
    reader.join().unwrap();
}

fn stopping() {
    let mut took: Vec<Duration> = (0..50)
        .map(|_| {
            let mut source = LogSource::open(LogKind::Audit, LogPurpose::Denials).unwrap();
            let stopper = source.stopper();
            let reader = thread::spawn(move || while source.next().unwrap().is_some() {});
            let asked = Instant::now();
            stopper.stop().unwrap();
            reader.join().unwrap();
            asked.elapsed()
        })
        .collect();
    took.sort();
    println!(
        "stop: median {:?}, slowest of {} {:?} (goal: below 20 ms)",
        took[took.len() / 2],
        took.len(),
        took[took.len() - 1]
    );
}

fn storm() {
    let mut source = LogSource::open(LogKind::Audit, LogPurpose::Denials).unwrap();
    let stopper = source.stopper();
    let session = enter_session().unwrap();
    let mut ours = start("--ours");
    let others = thread::spawn(|| {
        enter_session().unwrap();
        let began = Instant::now();
        let storms = [start("--storm"), start("--storm")];
        for mut storm in storms {
            assert!(storm.wait().unwrap().success());
        }
        began.elapsed()
    });
    let reader = thread::spawn(move || {
        let mut scope = Scope::Session(session);
        let (mut seen, mut all) = (Vec::new(), 0_u64);
        while let Some(event) = source.next().unwrap() {
            all += 1;
            if scope.judge(&event) == Belonging::Ours {
                seen.push(nanoseconds(SystemTime::now()));
            }
        }
        let cpu = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
        (seen, all, cpu, source.completeness())
    });
    let lasted = others.join().unwrap();
    assert!(ours.wait().unwrap().success());
    stopper.stop().unwrap();
    let (seen, all, cpu, verdict) = reader.join().unwrap();
    let mut text = String::new();
    ours.stdout.unwrap().read_to_string(&mut text).unwrap();
    let calls: Vec<[u128; 2]> = text
        .lines()
        .map(|line| {
            let (before, after) = line.split_once(' ').unwrap();
            [before, after].map(|time| time.parse().unwrap())
        })
        .collect();
    assert_eq!(seen.len(), calls.len(), "{verdict:?}");
    // Where its queue is full, the kernel makes the caller wait before it takes
    // the record (`audit_log_start`); when the call returns, it has it.
    let held = sorted(calls.iter().map(|[before, after]| after - before));
    let delays = sorted(
        seen.iter()
            .zip(&calls)
            .map(|(seen, [_, after])| seen.saturating_sub(*after)),
    );
    println!("storm: {all} records in {lasted:.2?}, {verdict:?}");
    let [median, longest] = median_and_longest(&delays);
    println!(
        "  a denial of ours is seen after: median {median:.2} ms, longest {longest:.2} ms \
         (goal: below 100 ms)"
    );
    let [median, longest] = median_and_longest(&held);
    println!("  the kernel holds its caller: median {median:.2} ms, longest {longest:.2} ms");
    println!(
        "  reader: {:.0} % of a core (goal: below 100)",
        cpu.as_secs_f64() / lasted.as_secs_f64() * 100.0
    );
}

fn sorted(times: impl Iterator<Item = u128>) -> Vec<u128> {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times
}

/// In milliseconds.
fn median_and_longest(sorted: &[u128]) -> [f64; 2] {
    [sorted[sorted.len() / 2], sorted[sorted.len() - 1]].map(|time| time as f64 / 1e6)
}
