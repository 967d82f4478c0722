//! The profiles that come with nucleus, from `profiles/` of the crate.

use super::{Profile, json};

impl Profile {
    /// What a sandbox enforces when it is not told otherwise: the calls of
    /// programs without capabilities, no namespaces, the machine's own
    /// architecture. `profiles/default.json` says why for each group.
    #[must_use]
    pub fn sandbox_default() -> Self {
        builtin(include_bytes!("../../profiles/default.json"))
    }

    /// The same for a sandbox in which further ones may be started: namespaces
    /// and mounts are allowed as well.
    #[must_use]
    pub fn sandbox_nested() -> Self {
        let mut nested = builtin(include_bytes!("../../profiles/nested.json"));
        // Of two rules without tests the first counts.
        nested.rules.extend(Self::sandbox_default().rules);
        nested
    }
}

fn builtin(bytes: &[u8]) -> Profile {
    #[expect(
        clippy::expect_used,
        reason = "tests read every file that is passed here"
    )]
    json::read(bytes).expect("the embedded profile is valid")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Arch, KernelVersion, Policy, SeccompData, Syscall, Target};

    const CLONE_NEWUSER: u64 = 0x1000_0000;
    const EPERM: Action = Action::Errno(1);
    const ENOSYS: Action = Action::Errno(38);

    fn policy(profile: &Profile, arch: Arch) -> Policy {
        let target = Target::new(arch, KernelVersion::new(6, 18));
        assert_eq!(profile.notes(&target), []);
        profile.resolve(&target).unwrap()
    }

    #[track_caller]
    fn check(policy: &Policy, name: &str, args: &[u64], expected: Action) {
        let arch = policy.arches().next().unwrap();
        let mut data = SeccompData {
            nr: Syscall::by_name(arch, name).unwrap().number(),
            arch: arch.audit(),
            ..SeccompData::default()
        };
        data.args[..args.len()].copy_from_slice(args);
        assert_eq!(policy.decide(&data), expected, "{name}({args:x?})");
    }

    #[test]
    fn the_default_closes_what_it_says_it_closes() {
        for arch in [Arch::X86_64, Arch::Aarch64, Arch::Riscv64, Arch::I386] {
            let policy = policy(&Profile::sandbox_default(), arch);
            for (name, args, expected) in [
                ("read", &[][..], Action::Allow),
                ("clone", &[17], Action::Allow),
                ("clone", &[CLONE_NEWUSER | 17], EPERM),
                ("unshare", &[0x200], Action::Allow),
                ("unshare", &[0x80], EPERM),
                ("clone3", &[], ENOSYS),
                ("setns", &[], EPERM),
                ("io_uring_setup", &[], ENOSYS),
                ("userfaultfd", &[], EPERM),
                ("keyctl", &[], EPERM),
                ("bpf", &[], EPERM),
                ("ptrace", &[], EPERM),
                ("mount", &[], EPERM),
                ("memfd_secret", &[], EPERM),
                ("ioctl", &[0, 0x5401], Action::Allow),
                ("ioctl", &[0, 0x5412], Action::Errno(5)),
                ("ioctl", &[0, 0x1_0000_5412], Action::Errno(5)),
                ("ioctl", &[0, 0x541c], Action::Errno(5)),
                ("socket", &[1, 1, 0], Action::Allow),
                ("socket", &[2, 0x8_0001, 6], Action::Allow),
                ("socket", &[10, 2, 58], Action::Allow),
                ("socket", &[2, 1, 262], Action::Errno(93)),
                ("socket", &[2, 1, 132], EPERM),
                ("socket", &[2, 5, 0], EPERM),
                ("socket", &[2, 3, 1], EPERM),
                ("socket", &[16, 3, 0], Action::Allow),
                ("socket", &[16, 3, 9], EPERM),
                ("socket", &[40, 1, 0], EPERM),
                ("sendto", &[3, 0, 0, 0x4000], Action::Allow),
                ("sendto", &[3, 0, 0, 0x2000_0000], Action::Errno(95)),
                ("sendmsg", &[3, 0, 0x2000_4000], Action::Errno(95)),
                ("listns", &[], ENOSYS),
            ] {
                check(&policy, name, args, expected);
            }
        }
    }

    #[test]
    fn newer_calls_and_other_architectures() {
        let policy = policy(&Profile::sandbox_default(), Arch::X86_64);
        let decide = |arch: Arch, nr| {
            policy.decide(&SeccompData {
                nr,
                arch: arch.audit(),
                ..SeccompData::default()
            })
        };
        assert_eq!(decide(Arch::X86_64, 600), ENOSYS);
        assert_eq!(decide(Arch::X86_64, 0x4000_0000), Action::KillThread);
        assert_eq!(decide(Arch::I386, 3), Action::KillThread);
    }

    #[test]
    fn nested_sandboxes_may_be_started_where_that_is_wanted() {
        let policy = policy(&Profile::sandbox_nested(), Arch::X86_64);
        check(&policy, "clone", &[CLONE_NEWUSER | 17], Action::Allow);
        check(&policy, "clone3", &[], Action::Allow);
        check(&policy, "mount", &[], Action::Allow);
        check(&policy, "bpf", &[], EPERM);
    }
}
