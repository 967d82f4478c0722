//! How many processes there may be at a time.

use std::collections::BTreeSet;

use super::{Fork, trap_forks};
use crate::callback::{Context, Power};
use crate::{
    Denial, Enforced, Enforcer, Errno, Guard, Task, TracedCall, TrapError, Traps, Verdict,
};

/// Refuses to make more processes with EAGAIN, as `RLIMIT_NPROC` does; threads
/// are not counted.
///
/// A slot is taken before the fork is made. It becomes the child's, or is free
/// again when the fork has failed.
#[derive(Debug)]
pub struct ProcessLimit {
    limit: u64,
    option: String,
    tightened: Context,
    live: BTreeSet<u32>,
    /// Threads whose forks were let go and are not over.
    forking: BTreeSet<u32>,
    refused: u64,
}

impl ProcessLimit {
    /// At most so many at a time, the program included; `option` is what the
    /// user asked for, for the report.
    #[must_use]
    pub fn new(limit: u64, option: String) -> Self {
        Self {
            limit,
            option,
            tightened: Context::default(),
            live: BTreeSet::new(),
            forking: BTreeSet::new(),
            refused: 0,
        }
    }

    /// At most what a callback allows, if that is less.
    #[must_use]
    pub fn tightened_by(mut self, context: &Context) -> Self {
        context.enforces(Power::Processes);
        self.tightened = context.clone();
        self
    }

    /// Slots in use: processes, and forks under way.
    #[must_use]
    pub fn used(&self) -> usize {
        self.live.len() + self.forking.len()
    }
}

impl Guard for ProcessLimit {
    fn enforced(&self) -> Vec<Enforced> {
        vec![Enforced {
            rule: self.option.clone(),
            by: Enforcer::Tracer,
        }]
    }

    fn trap(&self, traps: &mut Traps) -> Result<(), TrapError> {
        trap_forks(traps)
    }

    fn enter(&mut self, call: &TracedCall) -> Verdict {
        if Fork::of(call).is_none() {
            return Verdict::Go;
        }
        if u64::try_from(self.used()).unwrap_or(u64::MAX)
            >= self.limit.min(self.tightened.processes())
        {
            self.refused += 1;
            return Verdict::Errno(Errno::AGAIN);
        }
        self.forking.insert(call.task.thread);
        Verdict::GoAndTell
    }

    fn over(&mut self, thread: u32) {
        self.forking.remove(&thread);
    }

    fn born(&mut self, child: Task, _parent: Option<Task>) {
        if child.leads() {
            self.live.insert(child.process);
        }
    }

    fn executed(&mut self, _process: u32, former: u32) -> bool {
        self.forking.remove(&former);
        true
    }

    fn ended(&mut self, task: Task) {
        self.forking.remove(&task.thread);
        if task.leads() {
            self.live.remove(&task.process);
        }
    }

    fn denial(&mut self) -> Option<Denial> {
        Some(Denial {
            what: "make a process".to_owned(),
            why: format!("as many as {} lets be are there", self.option),
            remedy: Some(format!("raise {}", self.option)),
        })
    }

    fn report(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if self.refused > 0 {
            sentences.push(format!(
                "forks refused at {}: {}",
                self.option, self.refused
            ));
        }
        sentences
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::everywhere;
    use nucleus_seccomp::SeccompData;

    fn call(thread: u32, name: &str, flags: u64) -> TracedCall {
        let call = everywhere(name).next().expect("in a table");
        TracedCall {
            task: Task { thread, process: 1 },
            data: SeccompData {
                nr: call.number(),
                arch: call.arch().audit(),
                instruction_pointer: 0,
                args: [flags, 0, 0, 0, 0, 0],
            },
        }
    }

    fn process(thread: u32) -> Task {
        Task {
            thread,
            process: thread,
        }
    }

    #[test]
    fn a_slot_is_taken_before_the_fork_and_freed_by_its_failure_or_the_end() {
        let mut limit = ProcessLimit::new(3, "--pids 3".to_owned());
        let refused = Verdict::Errno(Errno::AGAIN);
        limit.born(process(1), None);
        assert_eq!(limit.enter(&call(1, "fork", 0)), Verdict::GoAndTell);
        assert_eq!(limit.enter(&call(9, "vfork", 0)), Verdict::GoAndTell);
        assert_eq!(limit.enter(&call(8, "clone", 17)), refused);
        limit.over(9);
        assert_eq!(limit.enter(&call(8, "clone", 17)), Verdict::GoAndTell);
        limit.born(process(2), Some(process(1)));
        limit.over(1);
        limit.ended(Task {
            thread: 8,
            process: 1,
        });
        assert_eq!(limit.used(), 2);
        limit.ended(process(2));
        limit.ended(process(1));
        assert_eq!((limit.used(), limit.refused), (0, 1));
    }

    #[test]
    fn threads_are_free() {
        let mut limit = ProcessLimit::new(1, String::new());
        limit.born(process(1), None);
        let thread = call(1, "clone", u64::from(super::super::CLONE_THREAD));
        assert_eq!(limit.enter(&thread), Verdict::Go);
        limit.born(
            Task {
                thread: 2,
                process: 1,
            },
            Some(process(1)),
        );
        assert_eq!(limit.used(), 1);
    }

    #[test]
    fn every_way_to_make_a_process_is_trapped() {
        use nucleus_seccomp::Action;
        let mut traps = Traps::new();
        ProcessLimit::new(1, String::new())
            .trap(&mut traps)
            .expect("valid");
        let decide = |name, flags| traps.decide(&call(1, name, flags).data);
        assert_eq!(decide("fork", 0), Action::Notify);
        assert_eq!(decide("clone", 17), Action::Notify);
        assert_eq!(decide("clone", 0x1_0000), Action::Allow);
        assert_eq!(decide("clone", 0x81_0000), Action::Errno(1));
        assert_eq!(decide("clone3", 0), Action::Errno(38));
        assert_eq!(decide("read", 0), Action::Allow);
    }
}
