//! What limits count is back at nothing when the program has ended.

#![allow(
    clippy::unwrap_used,
    reason = "what the helpers cannot do fails the test that asked for it"
)]

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use nucleus_seccomp::InstallFlags;
use nucleus_supervisor::{
    Enforced, Guard, Guards, MemoryLimit, ProcessLimit, Task, TracedCall, TrapError, Traps,
    Verdict, WhenFull,
};
use nucleus_tracer::{Mode, Tracer};

/// A guard that can be looked at afterwards.
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

/// Runs a script under both limits; what is left of their counts, and whether
/// it came to its end.
fn left_by(script: &str) -> (usize, u64, bool) {
    let processes = Arc::new(Mutex::new(ProcessLimit::new(12, String::new())));
    let memory = MemoryLimit::new(1 << 30, String::new(), WhenFull::Refuse);
    let memory = Arc::new(Mutex::new(memory));
    let guards: Vec<Box<dyn Guard>> = vec![
        Box::new(Watched(Arc::clone(&processes))),
        Box::new(Watched(Arc::clone(&memory))),
    ];
    let mut traps = Traps::for_tracer();
    for guard in &guards {
        guard.trap(&mut traps).unwrap();
    }
    let filter = traps.program().unwrap();
    let (mut said, say) = std::io::pipe().unwrap();
    let (wait, mut go) = std::io::pipe().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script]).stderr(Stdio::null());
    // SAFETY: system calls on what was prepared, and nothing else.
    unsafe {
        command.pre_exec(move || {
            let own = rustix::process::getpid().as_raw_nonzero().get();
            rustix::io::write(&say, &own.to_ne_bytes())?;
            // Until the tracer is there.
            rustix::io::read(&wait, &mut [0])?;
            rustix::thread::set_no_new_privs(true)?;
            let installed = filter.install(InstallFlags::empty());
            installed.map_err(|error| io::Error::from_raw_os_error(error.errno()))?;
            Ok(())
        });
    }
    // It returns when the program is there, for which the tracer must be, too.
    let starting = thread::spawn(move || command.spawn());
    let mut own = [0; 4];
    said.read_exact(&mut own).unwrap();
    let guards = Guards::new(guards);
    let mut tracer = Tracer::seize(u32::from_ne_bytes(own), Mode::Judge, guards).unwrap();
    go.write_all(b"g").unwrap();
    tracer.run().unwrap();
    // The tracer has waited for it already.
    drop(starting.join().unwrap().unwrap());
    let ended = tracer.root_status().is_some();
    let left = (
        processes.lock().unwrap().used(),
        memory.lock().unwrap().used(),
    );
    (left.0, left.1, ended)
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
        assert_eq!(left_by(script), (0, 0, true), "{script}");
    }
}
