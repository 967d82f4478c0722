//! Machines that differ in more than the kernel, and the tests for which it
//! matters.

use nucleus_tests::vm::Cgroups;

/// One way to boot.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    /// Added to the kernel's command line.
    pub(crate) append: &'static str,
    pub(crate) cgroups: Cgroups,
    /// Files below `/proc/sys`, and what is written to them. Where that is the
    /// only difference, groups share a machine.
    pub(crate) sysctls: &'static [(&'static str, &'static str)],
    /// The tests that are run: all, or those whose name matches.
    pub(crate) tests: Option<&'static str>,
}

const PLAIN: Group = Group {
    name: "plain",
    append: "",
    cgroups: Cgroups::Unified,
    sysctls: &[],
    tests: None,
};

/// Where records of the kernel are read.
const AUDIT: Option<&str> = Some("(^nucleus-audit::log::|^nucleus-tests::.*audit|doctor)");
const YAMA: Option<&str> = Some("(yama|doctor)");

pub(crate) const GROUPS: &[Group] = &[
    PLAIN,
    Group {
        name: "no-userns",
        sysctls: &[("user/max_user_namespaces", "0")],
        tests: Some("(userns|user_namespace|doctor)"),
        ..PLAIN
    },
    Group {
        name: "yama-1",
        sysctls: &[("kernel/yama/ptrace_scope", "1")],
        tests: YAMA,
        ..PLAIN
    },
    Group {
        name: "yama-2",
        sysctls: &[("kernel/yama/ptrace_scope", "2")],
        tests: YAMA,
        ..PLAIN
    },
    Group {
        // For good: must come last in its machine.
        name: "yama-3",
        sysctls: &[("kernel/yama/ptrace_scope", "3")],
        tests: YAMA,
        ..PLAIN
    },
    Group {
        name: "audit=1",
        append: "audit=1",
        tests: AUDIT,
        ..PLAIN
    },
    Group {
        name: "audit=0",
        append: "audit=0",
        tests: Some("(^nucleus-tests::machines::.*audit|doctor)"),
        ..PLAIN
    },
    Group {
        name: "hybrid-cgroups",
        cgroups: Cgroups::Hybrid,
        tests: Some("(^nucleus-cgroup|::cgroup::|version_1|hybrid|doctor)"),
        ..PLAIN
    },
    Group {
        name: "systemd",
        cgroups: Cgroups::Systemd,
        tests: Some("^nucleus-tests::systemd::"),
        ..PLAIN
    },
];

impl Group {
    /// Whether one machine can run both.
    pub(crate) fn boots_like(&self, other: &Self) -> bool {
        self.append == other.append && self.cgroups == other.cgroups
    }

    /// What tests find in their environment.
    pub(crate) fn environment(&self) -> Vec<(&'static str, &'static str)> {
        let mut environment = vec![("NUCLEUS_TEST_GROUP", self.name)];
        if self.tests.is_none() {
            // This machine has all that can be asked for; the others lack
            // something on purpose.
            environment.push(("NUCLEUS_TEST_REQUIRE", "all"));
        }
        environment
    }
}
