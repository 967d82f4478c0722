//! Forks that were let go and are not over.

use std::collections::BTreeMap;

use super::spaces::{Heap, Key};

/// By the threads that make them.
#[derive(Debug, Default)]
pub(super) struct Forks(BTreeMap<u32, Fork>);

#[derive(Debug, Clone, Copy)]
pub(super) struct Fork {
    /// Of the parent.
    pub(super) space: Option<Key>,
    /// What the child will count for.
    pub(super) bytes: u64,
    /// It will have that very space.
    pub(super) shares: bool,
    /// The child's, which ends no lower.
    pub(super) heap: Option<Heap>,
}

impl Fork {
    fn copies(&self, space: Option<Key>) -> bool {
        self.space == space && !self.shares
    }
}

impl Forks {
    pub(super) fn begin(&mut self, thread: u32, fork: Fork) {
        self.0.insert(thread, fork);
    }

    /// That of a thread, which has made its child or none.
    pub(super) fn end(&mut self, thread: u32) -> Option<Fork> {
        self.0.remove(&thread)
    }

    /// What is counted for the children to come.
    pub(super) fn bytes(&self) -> impl Iterator<Item = u64> {
        self.0.values().map(|fork| fork.bytes)
    }

    /// How many may copy what is claimed in this space.
    pub(super) fn copying(&self, space: Option<Key>) -> u64 {
        let copying = self.0.values().filter(|fork| fork.copies(space));
        copying.fold(0, |sum, _| sum + 1)
    }

    /// Something is claimed that they may copy.
    pub(super) fn count(&mut self, space: Option<Key>, bytes: u64) {
        for fork in self.0.values_mut().filter(|fork| fork.copies(space)) {
            fork.bytes = fork.bytes.saturating_add(bytes);
        }
    }

    /// The heap that they may copy ends here, or higher.
    pub(super) fn lower_heaps(&mut self, space: Option<Key>, end: u64) {
        let forks = self.0.values_mut().filter(|fork| fork.copies(space));
        for heap in forks.filter_map(|fork| fork.heap.as_mut()) {
            heap.end = heap.end.min(end);
        }
    }
}
