//! The resource controllers that limits need.

use std::collections::BTreeSet;
use std::fmt;

/// A controller of cgroup v2 (`Documentation/admin-guide/cgroup-v2.rst`).
///
/// Only those that a limit or a statistic of this crate rests on; others that a
/// host names (`hugetlb`, `rdma`, `misc`) are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// CPU time: `cpu.max`, `cpu.weight`.
    Cpu,
    /// Which CPUs and memory nodes: `cpuset.cpus`.
    Cpuset,
    /// Block I/O: `io.max`.
    Io,
    /// Memory and swap: `memory.max` and its kin.
    Memory,
    /// The number of tasks: `pids.max`.
    Pids,
}

impl Controller {
    /// Every controller, in the order of their names.
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Cpuset, Self::Io, Self::Memory, Self::Pids];

    /// The name in `cgroup.controllers`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Io => "io",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    /// The name as a hierarchy of version 1 knows it: `io` was `blkio`.
    #[must_use]
    pub const fn v1_name(self) -> &'static str {
        match self {
            Self::Io => "blkio",
            other => other.name(),
        }
    }

    /// Those of a `cgroup.controllers` or `cgroup.subtree_control` file.
    pub(crate) fn parse_set(bytes: &[u8]) -> BTreeSet<Self> {
        let words: BTreeSet<&[u8]> = bytes
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .collect();
        Self::ALL
            .into_iter()
            .filter(|controller| words.contains(controller.name().as_bytes()))
            .collect()
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set as people read it: `cpu, memory`.
pub(crate) fn list(controllers: &BTreeSet<Controller>) -> String {
    let names: Vec<&str> = controllers.iter().map(|c| c.name()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controllers_file_gives_the_known_ones() {
        let set = Controller::parse_set(b"cpuset cpu io memory hugetlb pids rdma misc\n");
        assert_eq!(set, BTreeSet::from(Controller::ALL));
        assert_eq!(Controller::parse_set(b"\n"), BTreeSet::new());
        assert_eq!(
            Controller::parse_set(b"cpu,memory"),
            BTreeSet::new(),
            "words are parted by blanks alone"
        );
    }
}
