//! The profiles that come with nucleus, from `profiles/` of the crate.

use super::{CallName, Profile, json};
use crate::{Arch, Endian, Program};

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

    /// For a program without namespaces: without the calls that go around
    /// Landlock, and without sockets unless it has the host's network, where
    /// every local service can be reached.
    #[must_use]
    pub fn sandbox_reduced(sockets: bool) -> Self {
        let mut reduced = builtin(include_bytes!("../../profiles/reduced.json"));
        let mut named: Vec<_> = reduced
            .rules
            .iter()
            .flat_map(|rule| &rule.calls)
            .cloned()
            .collect();
        if !sockets {
            named.extend(["socket", "socketcall"].map(CallName::from));
        }
        let mut rules = Self::sandbox_default().rules;
        for rule in &mut rules {
            rule.calls.retain(|call| !named.contains(call));
        }
        rules.retain(|rule| !rule.calls.is_empty());
        reduced.rules.append(&mut rules);
        reduced
    }

    /// What [`Profile::sandbox_reduced`] denies of what the default allows, in
    /// words, each once.
    #[must_use]
    pub fn denied_when_reduced(sockets: bool) -> Vec<String> {
        let reduced = builtin(include_bytes!("../../profiles/reduced.json"));
        let mut denied: Vec<String> = Vec::new();
        for comment in reduced.rules.iter().flat_map(|rule| &rule.comment) {
            let (words, _why) = comment.split_once(':').unwrap_or((comment, ""));
            if !denied.iter().any(|known| known == words) {
                denied.push(words.to_owned());
            }
        }
        if !sockets {
            denied.push("sockets".to_owned());
        }
        denied
    }

    /// With the calls that capabilities are for, where the program has them.
    #[must_use]
    pub fn with_capabilities(mut self) -> Self {
        let more = builtin(include_bytes!("../../profiles/capabilities.json"));
        self.rules.extend(more.rules);
        self
    }
}

impl Program {
    /// [`Profile::sandbox_default`] compiled in advance, for each machine that
    /// has it as its own architecture; `None` for the others.
    ///
    /// The profile has no conditions, so that the filter is the same for every
    /// kernel and all capabilities, and asks for no flags.
    #[must_use]
    pub fn sandbox_default(arch: Arch) -> Option<Self> {
        let bytes: &[u8] = match arch {
            Arch::X86_64 => include_bytes!("../../profiles/default.x86_64.bpf"),
            Arch::Aarch64 => include_bytes!("../../profiles/default.aarch64.bpf"),
            Arch::Riscv64 => include_bytes!("../../profiles/default.riscv64.bpf"),
            Arch::I386 | Arch::X32 => return None,
        };
        #[expect(
            clippy::expect_used,
            reason = "tests read every file that is passed here"
        )]
        let program = Self::from_bytes(bytes, Endian::Little).expect("the embedded filter loads");
        Some(program)
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
    use crate::profile::Architectures;
    use crate::{
        Action, CompileOptions, KernelVersion, Policy, SeccompData, Syscall, Target, proof,
    };

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
                ("fchmod", &[3, 0o1777], Action::Allow),
                ("fchmod", &[3, 0o4000], EPERM),
                ("fchmod", &[3, 0xffff_ffff_0000_0400], EPERM),
                ("fchmodat", &[3, 0, 0o755], Action::Allow),
                ("fchmodat", &[3, 0, 0o2755], EPERM),
                ("fchmodat2", &[3, 0, 0o4755, 0], EPERM),
                ("mknodat", &[3, 0, 0o10_0644], Action::Allow),
                ("mknodat", &[3, 0, 0o10_4755], EPERM),
                ("mkdirat", &[3, 0, 0o2755], Action::Allow),
                // O_CREAT, __O_TMPFILE and neither.
                ("openat", &[3, 0, 0o101, 0o666], Action::Allow),
                ("openat", &[3, 0, 0o101, 0o4666], EPERM),
                ("openat", &[3, 0, 0o2020_0002, 0o2666], EPERM),
                ("openat", &[3, 0, 0o200_2001, 0o4666], Action::Allow),
                ("openat2", &[], ENOSYS),
            ] {
                check(&policy, name, args, expected);
            }
        }
    }

    /// `NUCLEUS_TEST_BLESS=1` writes the filters anew.
    #[test]
    fn the_filters_made_in_advance_are_those_of_the_profile() {
        let compiled = [Arch::X86_64, Arch::Aarch64, Arch::Riscv64].map(|arch| {
            let policy = policy(&Profile::sandbox_default(), arch);
            let program = policy.compile(&CompileOptions::default()).unwrap();
            assert!(proof::equal(&policy, &program).unwrap().holds(), "{arch}");
            (arch, program)
        });
        if std::env::var_os("NUCLEUS_TEST_BLESS").is_some() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles");
            for (arch, program) in &compiled {
                let bytes = program.to_bytes(Endian::Little);
                std::fs::write(format!("{folder}/default.{arch}.bpf"), bytes).unwrap();
            }
        }
        for (arch, program) in compiled {
            assert_eq!(Program::sandbox_default(arch), Some(program), "{arch}");
        }
    }

    /// Then one filter is right for every target.
    #[test]
    fn nothing_in_the_default_depends_on_kernel_or_capabilities() {
        let profile = Profile::sandbox_default();
        assert_eq!(profile.architectures, Architectures::Native);
        assert_eq!(profile.flags, []);
        for rule in &profile.rules {
            assert!(
                rule.includes.is_empty() && rule.excludes.is_empty(),
                "{rule:?}"
            );
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
    fn capabilities_open_the_calls_that_they_are_for() {
        let profile = Profile::sandbox_default().with_capabilities();
        let check_with = |capability: Option<&str>, expected| {
            let mut target = Target::new(Arch::X86_64, KernelVersion::new(6, 18));
            if let Some(capability) = capability {
                target.add_capability(capability).unwrap();
            }
            let policy = profile.resolve(&target).unwrap();
            check(&policy, "ptrace", &[], expected);
            check(&policy, "mount", &[], EPERM);
            check(&policy, "open_by_handle_at", &[], EPERM);
            check(&policy, "clone", &[CLONE_NEWUSER | 17], EPERM);
            check(&policy, "socket", &[2, 1, 262], Action::Errno(93));
            let is_fsetid = matches!(capability, Some("fsetid" | "all"));
            let modes = if is_fsetid { Action::Allow } else { EPERM };
            check(&policy, "chmod", &[0, 0o4755], modes);
            check(&policy, "openat", &[3, 0, 0o101, 0o4666], modes);
            check(&policy, "openat2", &[], ENOSYS);
        };
        check_with(None, EPERM);
        check_with(Some("net_raw"), EPERM);
        check_with(Some("fsetid"), EPERM);
        check_with(Some("sys_ptrace"), Action::Allow);
        check_with(Some("all"), Action::Allow);
    }

    #[test]
    fn without_namespaces_landlock_is_not_gone_around() {
        for (sockets, socket) in [(true, Action::Allow), (false, EPERM)] {
            let policy = policy(&Profile::sandbox_reduced(sockets), Arch::X86_64);
            for (name, args, expected) in [
                ("read", &[][..], Action::Allow),
                ("chmod", &[], EPERM),
                ("fchmod", &[], Action::Allow),
                ("utimensat", &[3, 0], Action::Allow),
                ("utimensat", &[3, 0x1000], EPERM),
                ("prlimit64", &[0, 7], Action::Allow),
                ("prlimit64", &[1, 7], EPERM),
                ("setpriority", &[2, 0], EPERM),
                ("shmget", &[], EPERM),
                ("ioctl", &[0, 0x5412], Action::Errno(5)),
                ("socketpair", &[1, 1, 0], Action::Allow),
                ("socket", &[1, 1, 0], socket),
                ("socket", &[2, 1, 6], socket),
                ("clone3", &[], ENOSYS),
            ] {
                check(&policy, name, args, expected);
            }
        }
    }

    /// Every call of which the default allows more has its words.
    #[test]
    fn what_the_reduced_profile_denies_has_words() {
        let default = Profile::sandbox_default();
        let default = policy(&default, Arch::X86_64);
        let reduced = builtin(include_bytes!("../../profiles/reduced.json"));
        for sockets in [true, false] {
            let policy = policy(&Profile::sandbox_reduced(sockets), Arch::X86_64);
            let words = Profile::denied_when_reduced(sockets);
            for call in Syscall::all(Arch::X86_64) {
                let data = SeccompData {
                    nr: call.number(),
                    arch: Arch::X86_64.audit(),
                    args: [1; 6],
                    ..SeccompData::default()
                };
                if default.decide(&data) != Action::Allow || policy.decide(&data) == Action::Allow {
                    continue;
                }
                let name = call.to_string();
                let rule = reduced
                    .rules
                    .iter()
                    .find(|rule| rule.calls.contains(&CallName::from(name.as_str())));
                let comment = rule.and_then(|rule| rule.comment.as_deref());
                let comment = comment.unwrap_or("sockets");
                assert!(
                    words
                        .iter()
                        .any(|words| comment.starts_with(words.as_str())),
                    "{name}: {words:?}"
                );
                assert!(rule.is_some() || name == "socket", "{name}");
            }
        }
    }

    #[test]
    fn nested_sandboxes_may_be_started_where_that_is_wanted() {
        let policy = policy(&Profile::sandbox_nested(), Arch::X86_64);
        check(&policy, "clone", &[CLONE_NEWUSER | 17], Action::Allow);
        check(&policy, "clone3", &[], Action::Allow);
        check(&policy, "mount", &[], Action::Allow);
        check(&policy, "openat2", &[], Action::Allow);
        check(&policy, "chmod", &[0, 0o4755], EPERM);
        check(&policy, "bpf", &[], EPERM);
    }
}
