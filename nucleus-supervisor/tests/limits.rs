//! What limits count is back at nothing when the program has ended, and stays
//! what it is while the program is frozen.

#![allow(
    clippy::unwrap_used,
    reason = "what the helpers cannot do fails the test that asked for it"
)]

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nucleus_seccomp::{InstallFlags, Syscall};
use nucleus_supervisor::{
    Enforced, FreezeError, Guard, Guards, Listener, MemoryLimit, Policy, ProcessLimit, Registry,
    Supervisor, Task, TracedCall, TrapError, Traps, Verdict, WhenFull,
};
use nucleus_tracer::{CAN_RESTART, Mode, Tracer};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};

/// Nothing takes as long, but on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A guard that can be looked at.
struct Watched<G>(Arc<Mutex<G>>);

impl<G> Watched<G> {
    fn guard(&self) -> MutexGuard<'_, G> {
        self.0.lock().unwrap()
    }
}

impl<G: Guard> Guard for Watched<G> {
    fn enforced(&self) -> Vec<Enforced> {
        self.guard().enforced()
    }

    fn trap(&self, traps: &mut Traps) -> Result<(), TrapError> {
        self.guard().trap(traps)
    }

    fn leave_to_listener(&mut self, others: &Traps) -> Result<Option<Box<dyn Policy>>, TrapError> {
        self.guard().leave_to_listener(others)
    }

    fn restarts(&self) -> Vec<Syscall> {
        self.guard().restarts()
    }

    fn enter(&mut self, call: &TracedCall) -> Verdict {
        self.guard().enter(call)
    }

    fn over(&mut self, thread: u32) {
        self.guard().over(thread);
    }

    fn born(&mut self, child: Task, parent: Option<Task>) {
        self.guard().born(child, parent);
    }

    fn executed(&mut self, process: u32, former: u32) -> bool {
        self.guard().executed(process, former)
    }

    fn ended(&mut self, task: Task) {
        self.guard().ended(task);
    }
}

/// A shell under guards, whose tracer this thread is, and what they leave to a
/// listener.
fn traced(script: &str, guards: Guards, registry: Option<Registry>) -> Traced {
    let (mut said, say) = std::io::pipe().unwrap();
    let (wait, mut go) = std::io::pipe().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script]).stderr(Stdio::null());
    command.process_group(0);
    let mut filter = guards.traps().unwrap().program().unwrap();
    let mut flags = InstallFlags::empty();
    if let Some(registry) = &registry {
        let listened = registry.program().unwrap();
        filter = guards.traps().unwrap().join(&listened).unwrap();
        flags = InstallFlags::NEW_LISTENER;
    }
    // SAFETY: system calls on what was prepared, and nothing else.
    unsafe {
        command.pre_exec(move || {
            let own = rustix::process::getpid().as_raw_nonzero().get();
            rustix::io::write(&say, &own.to_ne_bytes())?;
            // Until the tracer is there.
            rustix::io::read(&wait, &mut [0])?;
            rustix::thread::set_no_new_privs(true)?;
            let installed = filter.install(flags);
            let listener =
                installed.map_err(|error| io::Error::from_raw_os_error(error.errno()))?;
            if let Some(listener) = listener {
                rustix::io::write(&say, &listener.as_raw_fd().to_ne_bytes())?;
                // Until somebody has the listener.
                rustix::io::read(&wait, &mut [0])?;
            }
            Ok(())
        });
    }
    // It returns when the program is there, for which the tracer must be, too.
    let starting = thread::spawn(move || command.spawn());
    let mut word = [0; 4];
    said.read_exact(&mut word).unwrap();
    let pid = u32::from_ne_bytes(word);
    let tracer = Tracer::seize(pid, Mode::Judge, guards).unwrap();
    go.write_all(b"g").unwrap();
    let supervisor = registry.map(|registry| {
        said.read_exact(&mut word).unwrap();
        let process = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        let process = rustix::process::pidfd_open(process, PidfdFlags::empty()).unwrap();
        let number = i32::from_ne_bytes(word);
        let listener =
            rustix::process::pidfd_getfd(process, number, PidfdGetfdFlags::empty()).unwrap();
        let supervisor = Supervisor::start(Listener::new(listener).unwrap(), registry).unwrap();
        go.write_all(b"g").unwrap();
        supervisor
    });
    Traced {
        pid,
        tracer,
        supervisor,
        starting,
    }
}

struct Traced {
    /// Its process group is of the same number.
    pid: u32,
    tracer: Tracer<Guards>,
    supervisor: Option<Supervisor>,
    starting: JoinHandle<io::Result<Child>>,
}

impl Traced {
    /// To the end of all.
    fn run(mut self) -> Option<ExitStatus> {
        self.tracer.run().unwrap();
        // The tracer has waited for it already.
        drop(self.starting.join().unwrap().unwrap());
        if let Some(supervisor) = self.supervisor {
            let done = supervisor.wait().unwrap();
            assert!(done.received > 0 && done.failed == 0, "{done:?}");
        }
        self.tracer.root_status()
    }
}

/// Both limits, which can be looked at.
fn limits(most: u64) -> (Limits, Vec<Box<dyn Guard>>) {
    let processes = Arc::new(Mutex::new(ProcessLimit::new(most, String::new())));
    let memory = MemoryLimit::new(1 << 30, String::new(), WhenFull::Refuse);
    let memory = Arc::new(Mutex::new(memory));
    let guards: Vec<Box<dyn Guard>> = vec![
        Box::new(Watched(Arc::clone(&processes))),
        Box::new(Watched(Arc::clone(&memory))),
    ];
    (Limits { processes, memory }, guards)
}

/// What they leave to a listener; nothing where no call can be made again.
fn listened(guards: &mut Guards) -> Option<Registry> {
    let mut registry = Registry::new();
    let policies = guards.leave_to_listener().unwrap();
    assert_eq!(policies.len(), usize::from(CAN_RESTART));
    for policy in policies {
        policy.register(&mut registry).unwrap();
    }
    CAN_RESTART.then_some(registry)
}

struct Limits {
    processes: Arc<Mutex<ProcessLimit>>,
    memory: Arc<Mutex<MemoryLimit>>,
}

impl Limits {
    fn used(&self) -> (usize, u64) {
        let processes = self.processes.lock().unwrap().used();
        (processes, self.memory.lock().unwrap().used())
    }
}

/// Runs a script under both limits; what is left of their counts, and whether
/// it came to its end.
fn left_by(script: &str, listens: bool) -> (usize, u64, bool) {
    let (limits, guards) = limits(12);
    let mut guards = Guards::new(guards);
    let registry = listens.then(|| listened(&mut guards)).flatten();
    let ended = traced(script, guards, registry).run().is_some();
    let (processes, memory) = limits.used();
    (processes, memory, ended)
}

#[test]
fn counts_are_back_at_nothing() {
    for script in [
        "for i in 1 2 3; do echo x | cat | cat >/dev/null; done",
        // More processes than there may be.
        "b() { [ $1 -gt 0 ] && { b $(($1 - 1)) & b $(($1 - 1)) & wait; }; }; b 5",
        "(kill -9 $$) & sh -c 'kill -9 $$'; exec sh -c 'exec true'",
        "(sleep 0.05; exec true) & exit 3",
    ] {
        for listens in [true, false] {
            assert_eq!(left_by(script, listens), (0, 0, true), "{script}");
        }
    }
}

/// Counts what comes to be.
struct Births(Arc<AtomicU64>);

impl Guard for Births {
    fn enforced(&self) -> Vec<Enforced> {
        Vec::new()
    }

    fn trap(&self, _traps: &mut Traps) -> Result<(), TrapError> {
        Ok(())
    }

    fn born(&mut self, _child: Task, _parent: Option<Task>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_frozen_program_makes_nothing_and_goes_on_with_the_thaw() {
    let (limits, mut guards) = limits(50);
    let births = Arc::new(AtomicU64::new(0));
    guards.push(Box::new(Births(Arc::clone(&births))));
    let mut guards = Guards::new(guards);
    let freezer = guards.freezer();
    assert_eq!(freezer.freeze(PATIENCE), Err(FreezeError::NotTraced));
    let script = "while :; do for i in $(seq 45); do sleep 0.02 & done; wait; done";
    let registry = listened(&mut guards);
    let traced = traced(script, guards, registry);
    let group = rustix::process::Pid::from_raw(traced.pid.cast_signed()).unwrap();
    let freezing = thread::spawn(move || {
        for round in 1..4 {
            while births.load(Ordering::SeqCst) < round * 60 {
                thread::yield_now();
            }
            freezer.freeze(PATIENCE).unwrap();
            let before = (limits.used(), births.load(Ordering::SeqCst));
            for _ in 0..100 {
                assert_eq!((limits.used(), births.load(Ordering::SeqCst)), before);
                thread::yield_now();
            }
            freezer.thaw();
            while births.load(Ordering::SeqCst) == before.1 {
                thread::yield_now();
            }
        }
        freezer.freeze(PATIENCE).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        limits
    });
    let ended = traced.run().unwrap();
    assert_eq!(ended.signal(), Some(libc::SIGKILL));
    assert_eq!(freezing.join().unwrap().used(), (0, 0));
}
