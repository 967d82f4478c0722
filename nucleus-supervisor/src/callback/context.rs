//! What a callback takes away while the program runs.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::{fmt, io};

use rustix::io::Errno;

use crate::{NetRule, PathRules};

/// Whom a restriction is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whom {
    /// The whole sandbox.
    All,
    /// A process, and its children that are made later.
    Process(u32),
}

/// What can be changed while the program runs, where somebody enforces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Power {
    /// Whom it may talk to.
    Network,
    /// Which paths it may use.
    Paths,
    /// How many processes there may be.
    Processes,
    /// How much memory may be claimed.
    Memory,
    /// All of it for one process and its later children: somebody sees them made.
    Descent,
}

/// A change that cannot be made; what was there before is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Nobody would enforce it.
    #[error(
        "nobody enforces {} in this run; {}", .power.meaning(), .power.remedy()
    )]
    Unenforced {
        /// What it is about.
        power: Power,
    },
    /// There is no such process.
    #[error(
        "process {process} is none of this run, or has ended; a process is named as in the events"
    )]
    NoProcess {
        /// Its number.
        process: u32,
    },
    /// It must be a path after all links.
    #[error("{path:?} is not absolute; a path is that of the sandbox, after all links")]
    Relative {
        /// The path.
        path: PathBuf,
    },
    /// The kernel refuses a limit.
    #[error("cannot set the limit to {most}: {source}")]
    Limit {
        /// The limit.
        most: u64,
        /// The reason.
        source: io::Error,
    },
}

impl Power {
    const fn meaning(self) -> &'static str {
        match self {
            Self::Network => "rules on the network",
            Self::Paths => "rules on paths",
            Self::Processes => "a number of processes",
            Self::Memory => "an amount of memory",
            Self::Descent => "what one process alone may do",
        }
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::Network => "start it with --net-allow",
            Self::Paths => "start it with --path-deny or --policy-asks path",
            Self::Processes => "start it with --pids",
            Self::Memory => "start it with --memory",
            Self::Descent => "an Inquiry sees processes made",
        }
    }
}

/// Restrictions on top of the rules: what the rules deny stays denied,
/// whatever is done here. The event that is being answered is judged by them,
/// too. A clone is the same context.
#[derive(Debug, Clone, Default)]
pub struct Context(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    restrictions: Mutex<Restrictions>,
    /// The denied paths, each with what it led to at the first call after it was
    /// denied: renaming a folder above it later leads nowhere else.
    marked: Mutex<BTreeMap<PathBuf, PathRules>>,
    /// Where paths begin: the root of the first call, before which no process
    /// can have taken itself another one.
    root: OnceLock<OwnedFd>,
}

#[derive(Debug, Default)]
struct Restrictions {
    /// Nobody else may be talked to.
    peers: BTreeMap<Whom, Vec<NetRule>>,
    paths: BTreeMap<Whom, BTreeSet<PathBuf>>,
    limits: BTreeMap<Power, u64>,
    enforced: BTreeMap<Power, Enforced>,
    /// The processes that were seen made and have not ended.
    living: BTreeSet<u32>,
}

/// Who enforces something.
#[derive(Clone)]
enum Enforced {
    /// Whoever judges by this context.
    Here,
    /// Somebody who must be told.
    By(Arc<Limiter>),
}

type Limiter = dyn Fn(u64) -> io::Result<()> + Send + Sync;

impl fmt::Debug for Enforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Here => "Here",
            Self::By(_) => "By",
        })
    }
}

impl Context {
    /// Says that something is enforced, so that a policy program may change it;
    /// the policies and guards that are given a context say so themselves.
    pub fn enforces(&self, power: Power) {
        self.lock().enforced.entry(power).or_insert(Enforced::Here);
    }

    /// Says that a limit is enforced by `limit`, which is called with each new
    /// one, in processes or bytes.
    pub fn limits_by(
        &self,
        power: Power,
        limit: impl Fn(u64) -> io::Result<()> + Send + Sync + 'static,
    ) {
        let by = Enforced::By(Arc::new(limit));
        self.lock().enforced.insert(power, by);
    }

    /// From now on only these peers may be talked to, of those that the rules
    /// allow; none at all where the list is empty. Connections that there are
    /// stay.
    pub fn restrict_network(&self, whom: Whom, only: Vec<NetRule>) {
        self.lock().peers.insert(whom, only);
    }

    /// Takes a restriction back for these peers, as far as the rules allow
    /// them. Without a restriction this does nothing.
    pub fn grant_network(&self, whom: Whom, peers: Vec<NetRule>) {
        if let Some(only) = self.lock().peers.get_mut(&whom) {
            only.extend(peers);
        }
    }

    /// Denies what is at or below a path, which must be the one after all
    /// links, to all that judge by this context: a [`PathPolicy`](crate::PathPolicy)
    /// each use, an [`ExecPolicy`](crate::ExecPolicy) executing, a
    /// [`NetPolicy`](crate::NetPolicy) sockets.
    pub fn deny_path(&self, whom: Whom, path: PathBuf) {
        self.lock().paths.entry(whom).or_default().insert(path);
    }

    /// Takes such a denial back.
    pub fn allow_path(&self, whom: Whom, path: &Path) {
        if let Some(denied) = self.lock().paths.get_mut(&whom) {
            denied.remove(path);
        }
    }

    /// At most so many processes. Those that there are stay. A limit that was
    /// given at the start is never exceeded.
    ///
    /// # Errors
    ///
    /// Nobody enforces it, such as a [`ProcessLimit`](crate::ProcessLimit), or
    /// the kernel does not take it.
    pub fn limit_processes(&self, most: u64) -> Result<(), ChangeError> {
        self.limit(Power::Processes, most)
    }

    /// At most so many bytes. What is claimed stays, unless a cgroup counts
    /// them: the kernel then kills what has more.
    ///
    /// # Errors
    ///
    /// Nobody enforces it, such as a [`MemoryLimit`](crate::MemoryLimit), or
    /// the kernel does not take it.
    pub fn limit_memory(&self, most: u64) -> Result<(), ChangeError> {
        self.limit(Power::Memory, most)
    }

    fn limit(&self, power: Power, most: u64) -> Result<(), ChangeError> {
        // The kernel may take its time: others must not wait for it.
        if let Enforced::By(limit) = self.enforcer(power)? {
            limit(most).map_err(|source| ChangeError::Limit { most, source })?;
        }
        self.lock().limits.insert(power, most);
        Ok(())
    }

    /// Who enforces something.
    fn enforcer(&self, power: Power) -> Result<Enforced, ChangeError> {
        let enforced = self.lock().enforced.get(&power).cloned();
        enforced.ok_or(ChangeError::Unenforced { power })
    }

    /// Whether a change of this would be enforced for those that it is about.
    pub(super) fn check(&self, power: Power, whom: Whom) -> Result<(), ChangeError> {
        self.enforcer(power)?;
        let Whom::Process(process) = whom else {
            return Ok(());
        };
        self.enforcer(Power::Descent)?;
        match self.lock().living.contains(&process) {
            true => Ok(()),
            false => Err(ChangeError::NoProcess { process }),
        }
    }

    /// Whether every restriction on a process's peers is met.
    pub(crate) fn allows_peers(&self, process: u32, is_in: impl Fn(&[NetRule]) -> bool) -> bool {
        let restrictions = self.lock();
        [Whom::All, Whom::Process(process)]
            .iter()
            .filter_map(|whom| restrictions.peers.get(whom))
            .all(|only| is_in(only))
    }

    /// Whether a path may be used by a process.
    pub(crate) fn allows_path(&self, process: u32, path: &Path) -> bool {
        let restrictions = self.lock();
        ![Whom::All, Whom::Process(process)]
            .iter()
            .filter_map(|whom| restrictions.paths.get(whom))
            .flatten()
            .any(|denied| path.starts_with(denied))
    }

    /// Every path that is denied to somebody, and whether it is to this process.
    fn denied_paths(&self, process: u32) -> BTreeMap<PathBuf, bool> {
        let mut denied = BTreeMap::new();
        for (whom, paths) in &self.lock().paths {
            let own = matches!(whom, Whom::All) || *whom == Whom::Process(process);
            for path in paths {
                *denied.entry(path.clone()).or_default() |= own;
            }
        }
        denied
    }

    /// What a process may not use, as of now, as rules that deny.
    pub(crate) fn denied(
        &self,
        process: u32,
        root: BorrowedFd<'_>,
    ) -> Result<Vec<PathRules>, Errno> {
        let denied = self.denied_paths(process);
        // Nothing panics between changes that belong together.
        let mut known = self.0.marked.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|path, _| denied.contains_key(path));
        for path in denied.keys() {
            if !known.contains_key(path) {
                let rules = PathRules::new();
                // One that is not absolute is no path after all links.
                rules.deny(path).map_err(|_relative| Errno::ACCESS)?;
                known.insert(path.clone(), rules);
            }
        }
        if self.0.root.get().is_none() {
            let own = root.try_clone_to_owned();
            let own = own.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE))?;
            // Another thread may have been faster, with the same.
            let _same: Result<(), OwnedFd> = self.0.root.set(own);
        }
        let first = self.0.root.get().ok_or(Errno::BADF)?;
        for rules in known.values() {
            rules.marks(first.as_fd())?;
        }
        let own = known
            .iter()
            .filter(|(path, _)| denied.get(*path) == Some(&true));
        Ok(own.map(|(_, rules)| rules.clone()).collect())
    }

    /// Whether an object may be used by a process, by what it is.
    pub(crate) fn judge(
        &self,
        process: u32,
        root: BorrowedFd<'_>,
        object: BorrowedFd<'_>,
    ) -> Result<(), Errno> {
        let denied = self.denied(process, root)?;
        denied
            .iter()
            .try_for_each(|rules| rules.judge(root, object))
    }

    pub(crate) fn processes(&self) -> u64 {
        self.limited(Power::Processes)
    }

    pub(crate) fn memory(&self) -> u64 {
        self.limited(Power::Memory)
    }

    fn limited(&self, power: Power) -> u64 {
        self.lock().limits.get(&power).copied().unwrap_or(u64::MAX)
    }

    /// A child begins with its parent's restrictions. One whose parent is not
    /// known any more begins with those of all processes together.
    pub(super) fn born(&self, child: u32, parent: Option<u32>) {
        let mut restrictions = self.lock();
        restrictions.living.insert(child);
        let child = Whom::Process(child);
        let inherited = |whom: &Whom| match parent {
            Some(parent) => *whom == Whom::Process(parent),
            None => *whom != Whom::All,
        };
        let mut peers = restrictions.peers.iter().filter(|it| inherited(it.0));
        let peers = match (peers.next(), peers.next()) {
            (Some((_, only)), None) => Some(only.clone()),
            (None, _) => None,
            // What is in all of them would have to be worked out.
            (Some(_), Some(_)) => Some(Vec::new()),
        };
        let paths = restrictions.paths.iter().filter(|it| inherited(it.0));
        let paths: BTreeSet<PathBuf> = paths.flat_map(|it| it.1.clone()).collect();
        restrictions.peers.extend(peers.map(|peers| (child, peers)));
        if !paths.is_empty() {
            restrictions.paths.insert(child, paths);
        }
    }

    /// Nothing of a process is left, and its id may be another's soon.
    pub(super) fn ended(&self, process: u32) {
        let whom = Whom::Process(process);
        let mut restrictions = self.lock();
        restrictions.living.remove(&process);
        restrictions.peers.remove(&whom);
        restrictions.paths.remove(&whom);
    }

    fn lock(&self) -> MutexGuard<'_, Restrictions> {
        // Nothing panics between changes that belong together.
        let restrictions = self.0.restrictions.lock();
        restrictions.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Vec<NetRule> {
        let parse = |text: &&str| text.parse().expect("a rule");
        texts.iter().map(parse).collect()
    }

    #[test]
    fn an_empty_list_of_peers_allows_nobody_and_a_grant_takes_it_back() {
        let context = Context::default();
        let may = |process, rule: &str| {
            let rule = rules(&[rule]);
            context.allows_peers(process, |only| only.contains(&rule[0]))
        };
        context.grant_network(Whom::Process(1), rules(&["a.test"]));
        assert!(may(1, "b.test"), "a grant alone restricts nothing");
        context.restrict_network(Whom::Process(1), Vec::new());
        assert!(!may(1, "a.test"));
        assert!(may(2, "a.test"));
        context.grant_network(Whom::Process(1), rules(&["a.test"]));
        assert!(may(1, "a.test"));
        assert!(!may(1, "b.test"));
        context.restrict_network(Whom::All, rules(&["b.test"]));
        assert!(!may(1, "a.test"), "both must be met");
        assert!(may(2, "b.test"));
    }

    #[test]
    fn children_have_what_their_parents_have_and_the_dead_have_nothing() {
        let context = Context::default();
        context.restrict_network(Whom::Process(1), Vec::new());
        context.deny_path(Whom::Process(1), "/a".into());
        let denied = |process| context.denied_paths(process);
        assert_eq!(denied(1), BTreeMap::from([("/a".into(), true)]));
        assert_eq!(denied(7), BTreeMap::from([("/a".into(), false)]));
        context.born(2, Some(1));
        context.born(3, Some(4));
        assert!(context.allows_path(3, Path::new("/a/b")));
        context.born(5, None);
        assert!(!context.allows_path(5, Path::new("/a/b")));
        context.ended(1);
        assert!(!context.allows_peers(2, |only| !only.is_empty()));
        assert!(!context.allows_path(2, Path::new("/a/b")));
        assert!(context.allows_path(2, Path::new("/ab")));
        assert!(context.allows_peers(1, |only| !only.is_empty()));
        assert!(context.allows_path(1, Path::new("/a/b")));
        context.allow_path(Whom::Process(2), Path::new("/a"));
        assert!(context.allows_path(2, Path::new("/a/b")));
    }

    #[test]
    fn a_folder_that_is_renamed_takes_its_denials_with_it() {
        use rustix::fs::{Mode, OFlags};
        use std::fs;

        let top = std::env::temp_dir().join(format!("nucleus-taken-{}", std::process::id()));
        fs::create_dir_all(top.join("a")).expect("a folder");
        fs::write(top.join("a/f"), "").expect("a file");
        let open = |path: &Path| rustix::fs::open(path, OFlags::PATH, Mode::empty());
        let root = open("/".as_ref()).expect("the root");
        let context = Context::default();
        context.deny_path(Whom::Process(1), top.join("a/f"));
        // Another process's call, and then that of the one that it is about.
        let of = |process| context.denied(process, root.as_fd());
        assert_eq!(of(2).expect("found").len(), 0);
        fs::rename(top.join("a"), top.join("b")).expect("renamed");
        let file = open(&top.join("b/f")).expect("a file");
        let judged = context.judge(1, root.as_fd(), file.as_fd());
        assert_eq!(judged, Err(Errno::ACCESS));
        context.allow_path(Whom::Process(1), &top.join("a/f"));
        assert_eq!(of(1).expect("found").len(), 0);
        // A process in a root of its own calls first after a denial.
        context.deny_path(Whom::All, top.join("b/f"));
        let inner = open(&top).expect("a folder");
        context.denied(3, inner.as_fd()).expect("looked for");
        let judged = context.judge(1, root.as_fd(), file.as_fd());
        assert_eq!(judged, Err(Errno::ACCESS));
        fs::remove_dir_all(&top).expect("removed");
    }

    #[test]
    fn limits_go_to_who_enforces_them_and_nobody_is_an_error() {
        let context = Context::default();
        let none = context.limit_processes(1).expect_err("nobody");
        let power = Power::Processes;
        assert!(matches!(none, ChangeError::Unenforced { power: it } if it == power));
        context.enforces(power);
        context.limit_processes(1).expect("enforced");
        assert_eq!(context.processes(), 1);
        context.limits_by(Power::Memory, |most| match most {
            0 => Err(io::ErrorKind::InvalidInput.into()),
            _ => Ok(()),
        });
        context.limit_memory(7).expect("taken");
        assert!(matches!(
            context.limit_memory(0),
            Err(ChangeError::Limit { .. })
        ));
        assert_eq!(context.memory(), 7, "what is refused changes nothing");
    }
}
