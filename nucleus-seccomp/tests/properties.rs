//! Random profiles: what is compiled decides as the reference does, and JSON
//! keeps what a profile says.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use nucleus_seccomp::{
    Action, Arch, ArchMapping, Architectures, ArgIndex, ArgTest, CallName, Comparison,
    CompileOptions, Condition, Flag, KernelVersion, NewCalls, OciArch, Policy, Profile, Rule,
    SeccompData, Syscall, Target, Verdict,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Calls of every kind: with arguments that profiles test, behind i386's
/// multiplexers, with x32 numbers of their own, missing on some architectures.
const NAMES: &[&str] = &[
    "read",
    "write",
    "ioctl",
    "socket",
    "clone",
    "clone3",
    "personality",
    "mmap",
    "semop",
    "send",
    "execve",
    "pwritev2",
    "chown32",
    "openat2",
    "mseal",
    "riscv_flush_icache",
    "no_such_call",
];

/// Values whose neighbours, halves and bits matter.
const VALUES: &[u64] = &[
    0,
    1,
    2,
    5,
    0xff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0005,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Allow),
        Just(Action::Log),
        Just(Action::KillProcess),
        Just(Action::KillThread),
        Just(Action::Trap(0)),
        Just(Action::Notify),
        (0..4096_u16).prop_map(Action::Errno),
        any::<u16>().prop_map(Action::Trace),
    ]
}

/// Few of them, so that rules agree at times.
fn rule_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::Allow),
        2 => Just(Action::Errno(1)),
        1 => action(),
    ]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![4 => select(VALUES), 1 => any::<u64>()]
}

fn test() -> impl Strategy<Value = ArgTest> {
    let comparison = (0..7, value(), value()).prop_map(|(kind, value, other)| match kind {
        0 => Comparison::NotEqual(value),
        1 => Comparison::Less(value),
        2 => Comparison::LessOrEqual(value),
        3 => Comparison::Equal(value),
        4 => Comparison::GreaterOrEqual(value),
        5 => Comparison::Greater(value),
        _ => Comparison::MaskedEqual {
            mask: value,
            value: other,
        },
    });
    (0..6_u8, comparison).prop_map(|(index, comparison)| ArgTest {
        index: ArgIndex::new(index).unwrap(),
        comparison,
    })
}

fn call() -> impl Strategy<Value = CallName> {
    prop_oneof![
        8 => select(NAMES).prop_map(CallName::from),
        1 => (0..600_u32).prop_map(CallName::Number),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let empty = Just(Condition::default());
    let some = (
        vec(select(&["CAP_SYS_ADMIN", "CAP_BPF"]), 0..2),
        vec(select(&["amd64", "arm64", "x86"]), 0..2),
        option::of((3..7_u16, 0..20_u16)),
    );
    let some = some.prop_map(|(caps, arches, kernel)| Condition {
        caps: caps.into_iter().map(str::to_owned).collect(),
        arches: arches.into_iter().map(str::to_owned).collect(),
        min_kernel: kernel.map(|(major, minor)| KernelVersion::new(major, minor)),
    });
    prop_oneof![6 => empty, 1 => some]
}

fn rule() -> impl Strategy<Value = Rule> {
    (
        vec(call(), 1..5),
        rule_action(),
        vec(test(), 0..4),
        option::of("[ -~]{0,20}"),
        condition(),
        condition(),
    )
        .prop_map(|(calls, action, tests, comment, includes, excludes)| Rule {
            comment,
            includes,
            excludes,
            ..Rule::new(calls, action).when(tests)
        })
}

fn architectures() -> impl Strategy<Value = Architectures> {
    let arch = select(Arch::ALL.to_vec()).prop_map(OciArch::from);
    let other = Just(OciArch::by_name("SCMP_ARCH_S390X").unwrap());
    let list = vec(prop_oneof![6 => arch, 1 => other], 1..4);
    prop_oneof![
        Just(Architectures::Native),
        list.clone().prop_map(Architectures::Listed),
        list.prop_map(|sub_architectures| Architectures::Mapped(vec![ArchMapping {
            architecture: Arch::X86_64.into(),
            sub_architectures,
        }])),
    ]
}

prop_compose! {
    fn profile()(
        default_action in action(),
        architectures in architectures(),
        flags in vec(select(&[Flag::Log, Flag::Tsync]), 0..2),
        listener_path in option::of("[a-z/]{1,9}"),
        rules in vec(rule(), 0..12),
        comment in option::of("\\PC{0,9}"),
    ) -> Profile {
        Profile {
            architectures,
            flags,
            listener_path,
            rules,
            comment,
            ..Profile::new(default_action)
        }
    }
}

fn target() -> impl Strategy<Value = Target> {
    let arch = select(&[Arch::X86_64, Arch::I386, Arch::Aarch64]);
    (arch, any::<[bool; 2]>()).prop_map(|(arch, [capable, plain])| {
        let mut target = Target::new(arch, KernelVersion::new(5, 10));
        if capable {
            target.add_capability("CAP_SYS_ADMIN").unwrap();
        }
        if plain {
            target.new_calls = NewCalls::Default;
        }
        target
    })
}

/// The numbers at which something may change, on every architecture.
fn numbers(policy: &Policy) -> Vec<(u32, u32)> {
    let mut numbers = BTreeSet::from([0, 1, 0x3fff_ffff, 0x4000_0000, 0x4000_0001, 0x7fff_ffff]);
    numbers.extend([0x8000_0000, 0xbfff_ffff, 0xc000_0000, 0xffff_fffe, u32::MAX]);
    for arch in Arch::ALL {
        for (call, _) in policy.calls(arch) {
            let number = call.number();
            for number in [number, number ^ 0x4000_0000] {
                numbers.extend([number.saturating_sub(1), number, number.saturating_add(1)]);
            }
        }
    }
    let audits: BTreeSet<u32> = Arch::ALL.into_iter().map(Arch::audit).collect();
    audits
        .into_iter()
        .chain([0xc000_0015])
        .flat_map(|audit| numbers.iter().map(move |&number| (audit, number)))
        .collect()
}

/// Values around everything that is compared with, in both halves.
fn arguments(policy: &Policy) -> Vec<u64> {
    let mut values = BTreeSet::from([0, 1, u64::MAX]);
    for arch in Arch::ALL {
        for (_, verdict) in policy.calls(arch) {
            let Verdict::When { clauses, .. } = verdict else {
                continue;
            };
            for test in clauses.iter().flat_map(|clause| &clause.tests) {
                let operands = match test.comparison {
                    Comparison::NotEqual(value)
                    | Comparison::Less(value)
                    | Comparison::LessOrEqual(value)
                    | Comparison::Equal(value)
                    | Comparison::GreaterOrEqual(value)
                    | Comparison::Greater(value) => vec![value],
                    Comparison::MaskedEqual { mask, value } => vec![mask & value, !mask | value],
                };
                for value in operands {
                    values.extend([value.wrapping_sub(1), value, value.wrapping_add(1)]);
                    values.extend([value ^ 1 << 32, value ^ 1, value << 32, value >> 32]);
                }
            }
        }
    }
    values.into_iter().collect()
}

proptest! {
    #[test]
    fn compiled_programs_decide_as_the_reference_does(
        profile in profile(),
        target in target(),
        picks in vec((any::<Index>(), vec(any::<Index>(), 6)), 512),
        counts in vec((any::<Index>(), 0..1000_u64), 0..8),
    ) {
        // Rules that contradict each other, and a default that cannot be.
        let Ok(policy) = profile.resolve(&target) else {
            return Ok(());
        };
        let numbers = numbers(&policy);
        let hot: BTreeMap<Syscall, u64> = counts
            .into_iter()
            .filter_map(|(index, count)| {
                let &(audit, number) = index.get(&numbers);
                Some((Syscall::new(Arch::of(audit, number)?, number), count))
            })
            .collect();
        let options = CompileOptions { hot };
        let program = policy.compile(&options).unwrap();
        prop_assert_eq!(&program, &policy.compile(&options).unwrap());

        let values = arguments(&policy);
        let check = |(arch, nr): (u32, u32), args: [u64; 6]| {
            let data = SeccompData { nr, arch, instruction_pointer: 0, args };
            prop_assert_eq!(program.run(&data).action, policy.decide(&data), "{:x?}", data);
            Ok(())
        };
        for &number in &numbers {
            check(number, [0; 6])?;
        }
        let called: Vec<(u32, u32)> = Arch::ALL
            .into_iter()
            .flat_map(|arch| policy.calls(arch))
            .map(|(call, _)| (call.arch().audit(), call.number()))
            .collect();
        for (number, args) in picks {
            let args = std::array::from_fn(|index| *args[index].get(&values));
            check(*number.get(&numbers), args)?;
            if !called.is_empty() {
                check(*number.get(&called), args)?;
            }
        }
    }

    #[test]
    fn json_keeps_what_a_profile_says(profile in profile()) {
        let json = profile.to_json();
        let read = Profile::from_json(json.as_bytes()).unwrap();
        prop_assert_eq!(&read, &profile);
        prop_assert_eq!(read.to_json(), json);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        // What is looked for is a panic.
        drop(Profile::from_json(&bytes));
    }

    #[test]
    fn mapping_actions_maps_every_verdict(profile in profile(), target in target()) {
        let Ok(policy) = profile.resolve(&target) else {
            return Ok(());
        };
        let traced = |action| match action {
            Action::Errno(errno) => Action::Trace(errno),
            other => other,
        };
        let mapped = policy.clone().map_actions(traced);
        for (arch, nr) in numbers(&policy) {
            let data = SeccompData { nr, arch, ..SeccompData::default() };
            prop_assert_eq!(mapped.decide(&data), traced(policy.decide(&data)));
        }
    }
}
