//! Weaknesses of a profile or a filter.
//!
//! Everything is found out by asking what happens to a call, so that raw
//! filters of any origin can be looked at as well as profiles.

use std::fmt;

use crate::proof::Subject;
use crate::{Action, Arch, SeccompData, Syscall};

/// How bad a weakness is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The filter can be gone around, or does not filter.
    High,
    /// A large or dangerous part of the kernel is open.
    Medium,
    /// Rarely needed, or inconsistent.
    Low,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        })
    }
}

/// One weakness.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A short name that does not change from version to version.
    pub id: &'static str,
    /// The calls that show it.
    pub calls: Vec<Syscall>,
    /// What is wrong with that.
    pub why: &'static str,
}

/// Calls that are a weakness wherever they are let through.
struct Dangerous {
    severity: Severity,
    id: &'static str,
    names: &'static [&'static str],
    why: &'static str,
}

const DANGEROUS: &[Dangerous] = &[
    Dangerous {
        severity: Severity::High,
        id: "io-uring",
        names: &["io_uring_setup", "io_uring_enter", "io_uring_register"],
        why: "what is done through a ring passes no filter",
    },
    Dangerous {
        severity: Severity::High,
        id: "module",
        names: &[
            "init_module",
            "finit_module",
            "delete_module",
            "kexec_load",
            "kexec_file_load",
        ],
        why: "loads code into the kernel",
    },
    Dangerous {
        severity: Severity::High,
        id: "file-handle",
        names: &["open_by_handle_at"],
        why: "opens files by handle, outside of every mount and root directory",
    },
    Dangerous {
        severity: Severity::Medium,
        id: "ptrace",
        names: &[
            "ptrace",
            "process_vm_readv",
            "process_vm_writev",
            "pidfd_getfd",
            "kcmp",
        ],
        why: "reads and controls other processes; before 4.8 a tracer could go around the filter",
    },
    Dangerous {
        severity: Severity::Medium,
        id: "bpf",
        names: &["bpf"],
        why: "runs programs in the kernel",
    },
    Dangerous {
        severity: Severity::Medium,
        id: "userfaultfd",
        names: &["userfaultfd"],
        why: "stops the kernel in the middle of a copy, which makes races in it winnable",
    },
    Dangerous {
        severity: Severity::Medium,
        id: "perf",
        names: &["perf_event_open", "lookup_dcookie"],
        why: "a large interface with a history of errors that measures other processes",
    },
    Dangerous {
        severity: Severity::Medium,
        id: "keyring",
        names: &["keyctl", "add_key", "request_key"],
        why: "keyrings belong to no namespace and are shared with the host",
    },
    Dangerous {
        severity: Severity::Medium,
        id: "mount",
        names: &[
            "mount",
            "umount2",
            "pivot_root",
            "chroot",
            "setns",
            "fsopen",
            "fsconfig",
            "fsmount",
            "move_mount",
            "open_tree",
            "open_tree_attr",
            "mount_setattr",
        ],
        why: "changes what the file system looks like, or enters other namespaces",
    },
    Dangerous {
        severity: Severity::Medium,
        id: "raw-io",
        names: &["iopl", "ioperm"],
        why: "talks to hardware past the kernel",
    },
    Dangerous {
        severity: Severity::Low,
        id: "machine",
        names: &[
            "reboot",
            "swapon",
            "swapoff",
            "settimeofday",
            "clock_settime",
            "acct",
            "quotactl",
            "quotactl_fd",
            "syslog",
            "sethostname",
            "setdomainname",
        ],
        why: "is about the whole machine",
    },
    Dangerous {
        severity: Severity::Low,
        id: "rarely-needed",
        names: &[
            "modify_ldt",
            "memfd_secret",
            "fanotify_init",
            "name_to_handle_at",
            "vhangup",
            "uselib",
            "vm86",
        ],
        why: "kernel code that hardly any program uses",
    },
];

/// Calls that do what others do: if the first is denied, the second undoes that.
const SAME_EFFECT: &[(&str, &[&str])] = &[
    ("execve", &["execveat"]),
    ("openat", &["open", "openat2"]),
    ("clone", &["clone3", "fork", "vfork"]),
    (
        "kill",
        &["pidfd_send_signal", "tgkill", "tkill", "rt_sigqueueinfo"],
    ),
    ("fchmodat", &["chmod", "fchmodat2"]),
    ("fchownat", &["chown", "lchown"]),
    ("setxattr", &["setxattrat"]),
    ("unlinkat", &["unlink", "rmdir"]),
    ("renameat2", &["rename", "renameat"]),
    ("linkat", &["link"]),
    ("symlinkat", &["symlink"]),
    ("socket", &["socketcall"]),
    ("sendto", &["sendmsg", "sendmmsg"]),
];

/// What a filter for programs of one architecture lets through that it should
/// not, the worst first.
#[must_use]
pub fn lint<'a>(subject: impl Into<Subject<'a>>, native: Arch) -> Vec<Finding> {
    let probe = Probe {
        subject: subject.into(),
        native,
    };
    let mut findings = Vec::new();
    probe.defaults(&mut findings);
    probe.other_abis(&mut findings);
    for dangerous in DANGEROUS {
        let calls = dangerous
            .names
            .iter()
            .filter_map(|name| probe.let_through(name, &[]));
        findings.extend(finding(
            dangerous.severity,
            dangerous.id,
            calls,
            dangerous.why,
        ));
    }
    probe.same_effect(&mut findings);
    probe.arguments(&mut findings);
    findings.sort();
    findings
}

fn finding(
    severity: Severity,
    id: &'static str,
    calls: impl IntoIterator<Item = Syscall>,
    why: &'static str,
) -> Option<Finding> {
    let calls: Vec<Syscall> = calls.into_iter().collect();
    (!calls.is_empty()).then_some(Finding {
        severity,
        id,
        calls,
        why,
    })
}

struct Probe<'a> {
    subject: Subject<'a>,
    native: Arch,
}

/// A number that no kernel will have soon.
const UNKNOWN_NUMBER: u32 = 0x0fff_ffff;

const AF_INET: u64 = 2;
const AF_PACKET: u64 = 17;
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;
const SOCK_STREAM: u64 = 1;
const IPPROTO_MPTCP: u64 = 262;
const MSG_FASTOPEN: u64 = 0x2000_0000;
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;
const CLONE_NEWUSER: u64 = 0x1000_0000;
const ADDR_NO_RANDOMIZE: u64 = 0x0004_0000;
/// The kernel takes an `int` for these arguments; a filter that compares 64
/// bits does not see this one.
const ABOVE_INT: u64 = 1 << 32;

impl Probe<'_> {
    fn decide(&self, call: Syscall, args: &[u64]) -> Action {
        let mut data = SeccompData {
            nr: call.number(),
            arch: call.arch().audit(),
            ..SeccompData::default()
        };
        for (to, from) in data.args.iter_mut().zip(args) {
            *to = *from;
        }
        self.subject.decide(&data)
    }

    /// The native call of this name, if it passes with these arguments.
    fn let_through(&self, name: &str, args: &[u64]) -> Option<Syscall> {
        let call = Syscall::by_name(self.native, name)?;
        (!self.decide(call, args).is_denial()).then_some(call)
    }

    fn denies(&self, name: &str, args: &[u64]) -> bool {
        let call = Syscall::by_name(self.native, name);
        call.is_some_and(|call| self.decide(call, args).is_denial())
    }

    fn defaults(&self, findings: &mut Vec<Finding>) {
        let unknown = Syscall::new(self.native, UNKNOWN_NUMBER);
        if !self.decide(unknown, &[]).is_denial() {
            findings.extend(finding(
                Severity::High,
                "default-allow",
                [unknown],
                "calls without a rule pass, those of future kernels too",
            ));
        }
        if self.denies("execve", &[]) {
            findings.extend(finding(
                Severity::Low,
                "no-execve",
                Syscall::by_name(self.native, "execve"),
                "a filter that is installed before execve, as by nucleus and runc, lets nothing start",
            ));
        }
    }

    /// Calls that are denied natively and pass by another ABI of the machine.
    fn other_abis(&self, findings: &mut Vec<Finding>) {
        if self.native != Arch::X86_64 {
            return;
        }
        for (other, id) in [(Arch::X32, "x32"), (Arch::I386, "i386")] {
            let by_other = Syscall::all(Arch::X86_64)
                .filter(|call| self.decide(*call, &[]).is_denial())
                .filter_map(|call| Syscall::by_name(other, call.name()?))
                .filter(|call| !self.decide(*call, &[]).is_denial());
            findings.extend(finding(
                Severity::High,
                id,
                by_other,
                "denied to x86_64, and passes by another ABI that every x86_64 program can use",
            ));
        }
    }

    fn same_effect(&self, findings: &mut Vec<Finding>) {
        for (name, others) in SAME_EFFECT {
            if self.denies(name, &[]) {
                let calls = others
                    .iter()
                    .filter_map(|other| self.let_through(other, &[]));
                findings.extend(finding(
                    Severity::Medium,
                    "undone",
                    calls,
                    "has the effect of a call that is denied",
                ));
            }
        }
    }

    fn arguments(&self, findings: &mut Vec<Finding>) {
        let mut check = |severity, id, name, cases: &[&[u64]], why| {
            let call = cases.iter().find_map(|args| self.let_through(name, args));
            findings.extend(finding(severity, id, call, why));
        };
        check(
            Severity::Medium,
            "terminal-input",
            "ioctl",
            &[
                &[0, TIOCSTI],
                &[0, TIOCSTI | ABOVE_INT],
                &[0, TIOCLINUX],
                &[0, TIOCLINUX | ABOVE_INT],
            ],
            "TIOCSTI or TIOCLINUX types into the terminal; the kernel looks at 32 bits of the request",
        );
        check(
            Severity::Medium,
            "namespaces",
            "clone",
            &[&[CLONE_NEWUSER]],
            "starts user namespaces (CLONE_NEWUSER), in which every capability is at hand",
        );
        check(
            Severity::Medium,
            "namespaces",
            "unshare",
            &[&[CLONE_NEWUSER]],
            "starts user namespaces (CLONE_NEWUSER), in which every capability is at hand",
        );
        check(
            Severity::Medium,
            "namespaces",
            "clone3",
            &[&[]],
            "its flags are behind a pointer, so no filter can refuse namespaces; answer ENOSYS",
        );
        check(
            Severity::Low,
            "personality",
            "personality",
            &[&[ADDR_NO_RANDOMIZE]],
            "turns address randomisation off",
        );
        for (family, id) in [
            (AF_VSOCK, "vsock"),
            (AF_ALG, "crypto-socket"),
            (AF_PACKET, "packet-socket"),
        ] {
            check(
                Severity::Medium,
                id,
                "socket",
                &[&[family, SOCK_STREAM], &[family | ABOVE_INT, SOCK_STREAM]],
                "opens a socket of that family; the kernel looks at 32 bits of the number",
            );
        }
        if self
            .let_through("socket", &[AF_INET, SOCK_STREAM])
            .is_some()
        {
            let mptcp: &[&[u64]] = &[&[AF_INET, SOCK_STREAM, IPPROTO_MPTCP]];
            check(
                Severity::Low,
                "mptcp",
                "socket",
                mptcp,
                "Landlock's rules for TCP do not see MPTCP",
            );
            for (name, args) in [
                ("sendto", [0, 0, 0, MSG_FASTOPEN]),
                ("sendmsg", [0, 0, MSG_FASTOPEN, 0]),
                ("sendmmsg", [0, 0, 0, MSG_FASTOPEN]),
            ] {
                let severity = if self.denies("connect", &[]) {
                    Severity::High
                } else {
                    Severity::Low
                };
                check(
                    severity,
                    "fast-open",
                    name,
                    &[&args],
                    "MSG_FASTOPEN connects without connect, unseen by Landlock",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KernelVersion, Profile, Program, Target};

    fn ids(subject: Subject<'_>) -> Vec<&'static str> {
        let mut ids: Vec<_> = lint(subject, Arch::X86_64).iter().map(|f| f.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn of_profile(json: &str) -> Vec<&'static str> {
        let target = Target::new(Arch::X86_64, KernelVersion::new(6, 18));
        let profile = Profile::from_json(json.as_bytes()).unwrap();
        ids((&profile.resolve(&target).unwrap()).into())
    }

    #[test]
    fn the_sandbox_default_has_no_known_weakness() {
        let target = Target::new(Arch::X86_64, KernelVersion::new(6, 18));
        let policy = Profile::sandbox_default().resolve(&target).unwrap();
        assert_eq!(ids((&policy).into()), [""; 0]);
    }

    #[test]
    fn an_open_filter_has_nearly_all() {
        let open: Program = "ret allow".parse().unwrap();
        let found = ids((&open).into());
        for id in [
            "default-allow",
            "io-uring",
            "terminal-input",
            "vsock",
            "fast-open",
            "mptcp",
        ] {
            assert!(found.contains(&id), "{id} in {found:?}");
        }
    }

    #[test]
    fn what_undoes_a_denial_is_found() {
        let found = of_profile(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
                {"names": ["execveat", "openat2", "read"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["chown32"], "action": "SCMP_ACT_ALLOW"}]}"#,
        );
        assert_eq!(found, ["no-execve", "undone"]);
    }

    #[test]
    fn a_filter_that_forgets_x32_is_found() {
        let filter: Program = "ld [nr]\njeq #101, 2, 3\nret errno(1)\nret allow"
            .parse()
            .unwrap();
        assert!(ids((&filter).into()).contains(&"x32"));
    }

    #[test]
    fn a_64_bit_comparison_of_a_32_bit_argument_is_found() {
        let found = of_profile(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                {"names": ["execve"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW",
                 "args": [{"index": 1, "value": 21532, "op": "SCMP_CMP_GT"}]}]}"#,
        );
        assert_eq!(found, ["terminal-input"]);
    }
}
