//! Address spaces, and what is counted for each.

use std::collections::BTreeMap;

/// Address spaces; a child of vfork(2) shares its parent's.
#[derive(Debug, Default)]
pub(super) struct Spaces {
    of: BTreeMap<u32, Key>,
    by_key: BTreeMap<Key, Space>,
    last: u64,
}

/// Names an address space, whoever uses it; no other is ever named so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

#[derive(Debug, Clone, Copy)]
pub(super) struct Space {
    users: u32,
    pub(super) bytes: u64,
    /// Where the heap begins and ends, once it was asked to move.
    pub(super) heap: Option<Heap>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heap {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Spaces {
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// What is counted for each.
    pub(super) fn bytes(&self) -> impl Iterator<Item = u64> {
        self.by_key.values().map(|space| space.bytes)
    }

    pub(super) fn processes(&self) -> impl Iterator<Item = u32> {
        self.of.keys().copied()
    }

    /// That of a process.
    pub(super) fn of(&self, process: u32) -> Option<Key> {
        self.of.get(&process).copied()
    }

    pub(super) fn get(&self, process: u32) -> Option<&Space> {
        self.by_key.get(&self.of(process)?)
    }

    pub(super) fn of_mut(&mut self, process: u32) -> Option<&mut Space> {
        let key = self.of(process)?;
        self.get_mut(key)
    }

    /// `None` when nobody uses it any more.
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Space> {
        self.by_key.get_mut(&key)
    }

    /// A process has a new one.
    pub(super) fn add(&mut self, process: u32, bytes: u64, heap: Option<Heap>) {
        self.leave(process);
        self.last += 1;
        let space = Space {
            users: 1,
            bytes,
            heap,
        };
        self.of.insert(process, Key(self.last));
        self.by_key.insert(Key(self.last), space);
    }

    /// A process begins in that of another.
    pub(super) fn share(&mut self, process: u32, with: u32) {
        if let Some(key) = self.of(with)
            && let Some(space) = self.by_key.get_mut(&key)
        {
            space.users += 1;
            self.of.insert(process, key);
        }
    }

    pub(super) fn leave(&mut self, process: u32) {
        let Some(key) = self.of.remove(&process) else {
            return;
        };
        if let Some(space) = self.by_key.get_mut(&key) {
            space.users -= 1;
            if space.users == 0 {
                self.by_key.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_space_counts_once_and_until_its_last_user_leaves() {
        let mut spaces = Spaces::default();
        spaces.add(1, 100, None);
        spaces.share(2, 1);
        assert_eq!(spaces.bytes().collect::<Vec<_>>(), [100]);
        spaces.leave(1);
        assert_eq!(spaces.get(2).map(|space| space.bytes), Some(100));
        // An exec gives it one of its own.
        let shared = spaces.of(2).expect("shared");
        spaces.add(2, 7, None);
        assert!(spaces.get_mut(shared).is_none());
        assert_eq!(spaces.bytes().collect::<Vec<_>>(), [7]);
        spaces.leave(2);
        assert!(spaces.is_empty());
        assert_eq!(spaces.bytes().count(), 0);
    }
}
