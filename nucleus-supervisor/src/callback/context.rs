//! What a callback takes away while the program runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::NetRule;

/// Whom a restriction is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whom {
    /// The whole sandbox.
    All,
    /// A process, and its children that are made later.
    Process(u32),
}

/// Restrictions on top of the rules: what the rules deny stays denied,
/// whatever is done here. The event that is being answered is judged by them,
/// too. A clone is the same context.
#[derive(Debug, Clone, Default)]
pub struct Context(Arc<Mutex<Restrictions>>);

#[derive(Debug, Default)]
struct Restrictions {
    /// Nobody else may be talked to.
    peers: BTreeMap<Whom, Vec<NetRule>>,
    paths: BTreeMap<Whom, BTreeSet<PathBuf>>,
    processes: Option<u64>,
    memory: Option<u64>,
}

impl Context {
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
    /// links: to execute it, to use it as a socket.
    pub fn deny_path(&self, whom: Whom, path: PathBuf) {
        self.lock().paths.entry(whom).or_default().insert(path);
    }

    /// Takes such a denial back.
    pub fn allow_path(&self, whom: Whom, path: &Path) {
        if let Some(denied) = self.lock().paths.get_mut(&whom) {
            denied.remove(path);
        }
    }

    /// At most so many processes, where a [`ProcessLimit`](crate::ProcessLimit)
    /// counts them. Those that there are stay.
    pub fn limit_processes(&self, most: u64) {
        self.lock().processes = Some(most);
    }

    /// At most so many bytes, where a [`MemoryLimit`](crate::MemoryLimit) counts
    /// them. What is claimed stays.
    pub fn limit_memory(&self, most: u64) {
        self.lock().memory = Some(most);
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
    pub(crate) fn denied_paths(&self, process: u32) -> BTreeMap<PathBuf, bool> {
        let mut denied = BTreeMap::new();
        for (whom, paths) in &self.lock().paths {
            let own = matches!(whom, Whom::All) || *whom == Whom::Process(process);
            for path in paths {
                *denied.entry(path.clone()).or_default() |= own;
            }
        }
        denied
    }

    pub(crate) fn processes(&self) -> u64 {
        self.lock().processes.unwrap_or(u64::MAX)
    }

    pub(crate) fn memory(&self) -> u64 {
        self.lock().memory.unwrap_or(u64::MAX)
    }

    /// A child begins with its parent's restrictions. One whose parent is not
    /// known any more begins with those of all processes together.
    pub(super) fn born(&self, child: u32, parent: Option<u32>) {
        let child = Whom::Process(child);
        let mut restrictions = self.lock();
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
        restrictions.peers.remove(&whom);
        restrictions.paths.remove(&whom);
    }

    fn lock(&self) -> MutexGuard<'_, Restrictions> {
        // Nothing panics between changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
}
