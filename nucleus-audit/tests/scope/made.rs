//! Processes and a clock that are made.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use nucleus_audit::{
    Belonging, Birth, Births, Call, Event, Process, Processes, Scope, Selection, Target,
};
use nucleus_seccomp::Action;

pub(crate) const HOST: u64 = 1;
pub(crate) const CONTAINER: u64 = 2;

#[derive(Debug, Default)]
pub(crate) struct World {
    now: u64,
    pub(crate) processes: BTreeMap<u32, Process>,
    pub(crate) looked_up: u32,
    pub(crate) scanned: u32,
    pub(crate) births: Option<Births>,
    /// Ended, and not waited for yet.
    zombies: BTreeSet<u32>,
    /// What happens while children are looked for: one at each look.
    pub(crate) meanwhile: VecDeque<fn(&Made)>,
}

/// Milliseconds since boot are both the clock and the start times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made(pub(crate) Arc<Mutex<World>>);

pub(crate) fn at(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
}

impl Made {
    pub(crate) fn new() -> Self {
        let made = Self::default();
        made.start(1, 0, "/init", HOST);
        // The one that asks.
        made.start(std::process::id(), 1, "/user/shell", HOST);
        made
    }

    pub(crate) fn start(&self, pid: u32, parent: u32, cgroup: &str, namespace: u64) {
        let mut world = self.0.lock().unwrap();
        let now = world.now;
        let mut process = Process::new(pid, now, at(now), parent);
        process.cgroup = Some(cgroup.into());
        process.pid_namespace = Some(namespace);
        world.processes.insert(pid, process);
        if let Some(told) = &mut world.births {
            told.births.push(Birth {
                parent,
                child: pid,
                time: at(now),
            });
        }
    }

    /// From now on new processes are told.
    pub(crate) fn tell_births(&self) {
        self.0.lock().unwrap().births = Some(Births::default());
    }

    pub(crate) fn end(&self, pid: u32) {
        let mut world = self.0.lock().unwrap();
        world.processes.remove(&pid);
        for process in world.processes.values_mut() {
            if process.parent == pid {
                process.parent = 1;
            }
        }
    }

    pub(crate) fn end_unnoticed(&self, pid: u32) {
        self.0.lock().unwrap().zombies.insert(pid);
    }

    pub(crate) fn wait(&self, milliseconds: u64) -> u64 {
        let mut world = self.0.lock().unwrap();
        world.now += milliseconds;
        world.now
    }

    pub(crate) fn select(&self, selection: Selection) -> Watch {
        let target = Target::new(selection, Box::new(self.clone())).unwrap();
        Watch(Scope::Target(target))
    }

    pub(crate) fn select_pid(&self, pid: u32) -> Watch {
        self.select(Selection {
            pid: Some(pid),
            ..Selection::default()
        })
    }
}

impl Processes for Made {
    fn find(&self, pid: u32) -> Option<Process> {
        let mut world = self.0.lock().unwrap();
        world.looked_up += 1;
        world.processes.get(&pid).cloned()
    }

    fn runs(&self, process: &Process) -> bool {
        let world = self.0.lock().unwrap();
        let now = world.processes.get(&process.pid);
        now.is_some_and(|now| now.start == process.start && !world.zombies.contains(&now.pid))
    }

    fn children(&self, pid: u32) -> Vec<u32> {
        let next = self.0.lock().unwrap().meanwhile.pop_front();
        if let Some(happens) = next {
            happens(self);
        }
        let mut world = self.0.lock().unwrap();
        world.scanned += 1;
        let all = world.processes.values();
        all.filter(|process| process.parent == pid)
            .map(|process| process.pid)
            .collect()
    }

    fn in_cgroup(&self, cgroup: &Path) -> Vec<u32> {
        let mut world = self.0.lock().unwrap();
        world.scanned += 1;
        let within = |process: &&Process| process.cgroup.as_ref().unwrap().starts_with(cgroup);
        let all = world.processes.values();
        all.filter(within).map(|process| process.pid).collect()
    }

    fn all(&self) -> Vec<u32> {
        let mut world = self.0.lock().unwrap();
        world.scanned += 1;
        world.processes.keys().copied().collect()
    }

    fn born(&mut self) -> Option<Births> {
        self.0.lock().unwrap().births.as_mut().map(std::mem::take)
    }

    fn now(&self) -> SystemTime {
        at(self.0.lock().unwrap().now)
    }
}

pub(crate) struct Watch(Scope);

impl Watch {
    #[track_caller]
    pub(crate) fn check(&mut self, pid: u32, time: u64, expected: Belonging) {
        assert_eq!(self.judge(pid, time), expected, "process {pid} at {time}");
    }

    fn judge(&mut self, pid: u32, time: u64) -> Belonging {
        self.0.judge(&Event {
            time: Some(at(time)),
            pid,
            tid: None,
            session: None,
            call: Call {
                arch: 0xc000_003e,
                nr: 41,
                instruction_pointer: 0,
                args: None,
            },
            action: Action::Errno(1),
            comm: None,
            exe: None,
        })
    }
}
