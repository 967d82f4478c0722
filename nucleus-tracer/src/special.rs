//! System calls at which a recording tracer must do more than count.

use nucleus_seccomp::{Arch, Syscall};

/// Why a call needs care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    /// `clone`: the first argument may hold `CLONE_UNTRACED`.
    Clone,
    /// `clone3`: the flags are behind the first argument.
    Clone3,
    /// `seccomp`: may install a filter that answers before ours.
    Seccomp,
    /// `prctl`: the same by `PR_SET_SECCOMP`.
    Prctl,
    /// `ptrace`: a traced program cannot trace.
    Ptrace,
}

const NAMES: [(&str, Special); 5] = [
    ("clone", Special::Clone),
    ("clone3", Special::Clone3),
    ("seccomp", Special::Seccomp),
    ("prctl", Special::Prctl),
    ("ptrace", Special::Ptrace),
];

/// The special calls of every architecture, sorted by `(arch, nr)`.
#[derive(Debug)]
pub(crate) struct Specials(Vec<((u32, u32), Special)>);

impl Specials {
    pub(crate) fn new() -> Self {
        let mut calls: Vec<_> = Arch::ALL
            .iter()
            .flat_map(|&arch| {
                NAMES.iter().filter_map(move |&(name, special)| {
                    let call = Syscall::by_name(arch, name)?;
                    Some(((arch.audit(), call.number()), special))
                })
            })
            .collect();
        calls.sort_unstable_by_key(|&(call, _)| call);
        Self(calls)
    }

    pub(crate) fn find(&self, arch: u32, nr: u32) -> Option<Special> {
        let index = self
            .0
            .binary_search_by_key(&(arch, nr), |&(call, _)| call)
            .ok()?;
        self.0.get(index).map(|&(_, special)| special)
    }
}

/// Whether this `seccomp` or `prctl` call installs a filter or strict mode.
///
/// A null program is how libraries probe for the feature; it fails with EFAULT.
pub(crate) const fn installs_filter(special: Special, args: &[u64; 6]) -> bool {
    const SET_MODE_STRICT: u64 = 0;
    const SET_MODE_FILTER: u64 = 1;
    const PR_SET_SECCOMP: u64 = 22;
    const MODE_STRICT: u64 = 1;
    match special {
        Special::Seccomp => {
            args[0] == SET_MODE_STRICT || (args[0] == SET_MODE_FILTER && args[2] != 0)
        }
        Special::Prctl => args[0] == PR_SET_SECCOMP && (args[1] == MODE_STRICT || args[2] != 0),
        Special::Clone | Special::Clone3 | Special::Ptrace => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_calls_are_found_under_every_architecture() {
        let specials = Specials::new();
        for arch in Arch::ALL {
            for (name, special) in NAMES {
                let call = Syscall::by_name(arch, name).unwrap();
                assert_eq!(specials.find(arch.audit(), call.number()), Some(special));
            }
            let getpid = Syscall::by_name(arch, "getpid").unwrap();
            assert_eq!(specials.find(arch.audit(), getpid.number()), None);
        }
    }

    #[test]
    fn a_probe_for_seccomp_is_not_an_installation() {
        assert!(!installs_filter(Special::Seccomp, &[1, 0, 0, 0, 0, 0]));
        assert!(!installs_filter(Special::Seccomp, &[2, 0, 77, 0, 0, 0]));
        assert!(!installs_filter(Special::Prctl, &[22, 2, 0, 0, 0, 0]));
        assert!(installs_filter(Special::Prctl, &[22, 2, 77, 0, 0, 0]));
        assert!(installs_filter(Special::Seccomp, &[1, 1, 77, 0, 0, 0]));
    }
}
