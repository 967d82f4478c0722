//! Random profiles: few calls with many conditions, so that rules meet.

#![allow(clippy::unwrap_used, reason = "tests may")]

use nucleus_seccomp::{
    Action, ArchMapping, Architectures, ArgIndex, ArgTest, CallName, Comparison, OciArch, Profile,
    Rule, When,
};
use proptest::prelude::*;

/// None that i386 also reaches through socketcall or ipc: there, a condition
/// of libseccomp's becomes one on an argument that means something else.
const CALLS: [&str; 8] = [
    "read",
    "personality",
    "fcntl",
    "clone",
    "lseek",
    "ioctl",
    "mprotect",
    "getpid",
];

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => Just(Action::Allow),
        2 => Just(Action::Errno(1)),
        1 => Just(Action::Errno(38)),
        1 => Just(Action::Log),
        1 => Just(Action::KillProcess),
        1 => Just(Action::Trap(0)),
    ]
}

/// Values around the border of the halves.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..4,
        Just(u64::from(u32::MAX)),
        (1_u64 << 32)..(1 << 32) + 3,
        Just(u64::MAX),
        any::<u64>(),
    ]
}

fn comparison() -> impl Strategy<Value = Comparison> {
    prop_oneof![
        value().prop_map(Comparison::NotEqual),
        value().prop_map(Comparison::Less),
        value().prop_map(Comparison::LessOrEqual),
        value().prop_map(Comparison::Equal),
        value().prop_map(Comparison::GreaterOrEqual),
        value().prop_map(Comparison::Greater),
        (value(), value()).prop_map(|(mask, value)| Comparison::MaskedEqual { mask, value }),
    ]
}

fn tests(max: usize) -> impl Strategy<Value = Vec<ArgTest>> {
    let test = (0_u8..6, comparison()).prop_map(|(index, comparison)| ArgTest {
        index: ArgIndex::new(index).unwrap(),
        comparison,
    });
    prop::collection::vec(test, 0..=max)
}

fn rule(max_tests: usize) -> impl Strategy<Value = Rule> {
    let calls = prop::sample::subsequence(&CALLS[..], 1..3);
    (calls, action(), tests(max_tests)).prop_map(|(calls, action, tests)| {
        let names = calls.into_iter().map(|name| CallName::Name(name.into()));
        let mut rule = Rule::new(names.collect(), action);
        rule.when = When::from(tests);
        rule
    })
}

/// A profile for x86_64 with or without its other ABIs, whose rules have at
/// most so many tests.
pub(crate) fn profiles(max_tests: usize) -> impl Strategy<Value = Profile> {
    let oci = |name| OciArch::by_name(name).unwrap();
    let others = vec![oci("SCMP_ARCH_X86"), oci("SCMP_ARCH_X32")];
    let architectures = prop_oneof![
        Just(Architectures::Native),
        Just(Architectures::Mapped(vec![ArchMapping {
            architecture: oci("SCMP_ARCH_X86_64"),
            sub_architectures: others,
        }])),
    ];
    let rules = prop::collection::vec(rule(max_tests), 0..12);
    (action(), architectures, rules).prop_map(|(default, architectures, rules)| {
        let mut profile = Profile::new(default);
        profile.architectures = architectures;
        profile.rules = rules;
        profile
    })
}
