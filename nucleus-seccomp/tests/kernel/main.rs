//! The simulator and the loader's checks against the running kernel.
//!
//! Every verdict of a tested filter is replaced by an errno of its own, so
//! that no call is executed and each answer shows the way that the kernel took.

#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests may"
)]

#[path = "../common/mod.rs"]
mod common;
mod sys;

use std::collections::BTreeSet;

use nucleus_seccomp::{
    Action, Arch, Comparison, CompileOptions, DumpError, Insn, Policy, Profile, Program,
    SeccompData, Syscall, Target, Verdict, X32_SYSCALL_BIT, offset, op,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sys::{Answer, Call, End, Held, Loader, PASS, Way};

/// The filter with each return value replaced by an errno: 1000 and its place
/// among them. In front of it, the harness's own calls are let through.
fn made_visible(program: &Program) -> Program {
    let returned = |insn: &Insn| (insn.code == op::RET_K).then_some(insn.k);
    let values: BTreeSet<u32> = program.insns().iter().filter_map(returned).collect();
    let mut insns = vec![
        Insn::load(offset::arg_low(5)),
        Insn::jump(op::JEQ_K, PASS, 0, 1),
        Insn::ret(Action::Allow),
    ];
    insns.extend(program.insns().iter().map(|insn| match returned(insn) {
        Some(value) => {
            let place = values.range(..value).count() as u16;
            Insn::ret(Action::Errno(1000 + place))
        }
        None => *insn,
    }));
    Program::new(insns).unwrap()
}

fn data(call: &Call, ip: u64) -> SeccompData {
    SeccompData {
        nr: call.nr,
        arch: match call.way {
            Way::Syscall => Arch::X86_64.audit(),
            Way::Int80 => Arch::I386.audit(),
        },
        instruction_pointer: ip,
        args: call.args,
    }
}

/// Checks that the kernel answers as the simulator does.
fn check(program: &Program, calls: &[Call]) {
    let answers = match sys::under(program, calls) {
        End::Answers(answers) => answers,
        End::Signal(signal) => panic!("killed by signal {signal} under\n{program}"),
    };
    for (call, Answer { ret, ip }) in calls.iter().zip(answers) {
        let expected = match program.run(&data(call, ip)).action {
            Action::Errno(errno) => -i64::from(errno.min(4095)),
            other => panic!("{other} for {call:?} under\n{program}"),
        };
        assert_eq!(ret, expected, "{call:?} at {ip:#x} under\n{program}");
    }
}

/// uretprobe (since 6.11) and uprobe (6.18): the kernel lets them through
/// whatever a filter says (`seccomp_uprobe_exception`), and outside of a probe
/// they raise SIGILL.
const EXEMPT: [u32; 2] = [335, 336];

/// A call that the filter decides, and is not the harness's own.
fn is_testable(call: &Call) -> bool {
    let exempt = call.way == Way::Syscall && EXEMPT.contains(&call.nr);
    !exempt && call.args[5] as u32 != PASS
}

/// Every number, with arguments of zero and with those at which the policy
/// changes its mind.
fn calls(policy: &Policy, arch: Arch, way: Way) -> Vec<Call> {
    let mark = if arch == Arch::X32 {
        X32_SYSCALL_BIT
    } else {
        0
    };
    let mut calls: Vec<Call> = (0..600)
        .chain([1000, 0x3fff_ffff])
        .map(|nr| Call {
            way,
            nr: nr | mark,
            args: [0; 6],
        })
        .collect();
    for (call, verdict) in policy.calls(arch) {
        let Verdict::When { clauses, .. } = verdict else {
            continue;
        };
        for clause in clauses {
            let numbers = clause
                .tests
                .iter()
                .flat_map(|test| operands(test.comparison).map(|value| (test.index, value)));
            for (index, value) in numbers {
                let near = [value, value.wrapping_add(1), value.wrapping_sub(1), !value];
                let far = [value ^ 1 << 32, value ^ 1 << 63, value ^ 1 << 31];
                for value in near.into_iter().chain(far) {
                    let mut args = [0; 6];
                    args[usize::from(index.get())] = value;
                    calls.push(Call {
                        way,
                        nr: call.number(),
                        args,
                    });
                }
            }
        }
    }
    calls.retain(is_testable);
    calls
}

fn operands(comparison: Comparison) -> impl Iterator<Item = u64> {
    let (first, second) = match comparison {
        Comparison::MaskedEqual { mask, value } => (value, mask),
        Comparison::NotEqual(value)
        | Comparison::Less(value)
        | Comparison::LessOrEqual(value)
        | Comparison::Equal(value)
        | Comparison::GreaterOrEqual(value)
        | Comparison::Greater(value) => (value, 0),
    };
    [first, second].into_iter()
}

/// As container runtimes have it: many plain rules, conditions of each kind,
/// several architectures.
const PROFILE: &str = r#"{
    "defaultAction": "SCMP_ACT_ERRNO",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [
        {"names": ["read", "write", "close", "mmap", "futex", "openat", "getpid", "execve",
                   "exit_group", "statx", "rseq", "clock_gettime64"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS"},
        {"names": ["kexec_load", "reboot"], "action": "SCMP_ACT_TRAP"},
        {"names": ["mount"], "action": "SCMP_ACT_LOG"},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 4294967295, "op": "SCMP_CMP_EQ"}]},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]},
        {"names": ["lseek"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 1, "value": 4294967296, "op": "SCMP_CMP_LT"},
            {"index": 2, "value": 2, "op": "SCMP_CMP_LE"}]},
        {"names": ["mprotect"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 1, "value": 12884901888, "op": "SCMP_CMP_GE"},
            {"index": 2, "value": 3, "op": "SCMP_CMP_GT"}]}
    ]
}"#;

#[test]
fn a_compiled_profile_is_what_the_kernel_enforces() {
    let profile = Profile::from_json(PROFILE.as_bytes()).unwrap();
    check_profile(&profile, &Target::host().unwrap());
}

/// The profiles that come with nucleus, and those in the files that
/// `NUCLEUS_TEST_PROFILES` names (separated by colons): for no capability, for
/// each that they mention, and for all.
#[test]
fn whole_profiles_are_what_the_kernel_enforces() {
    let mut profiles = vec![Profile::sandbox_default(), Profile::sandbox_nested()];
    let files = std::env::var_os("NUCLEUS_TEST_PROFILES");
    for file in files.iter().flat_map(std::env::split_paths) {
        profiles.push(Profile::from_json(&std::fs::read(file).unwrap()).unwrap());
    }
    for profile in profiles {
        let conditions = profile.rules.iter().flat_map(|rule| {
            let caps = rule.includes.caps.iter().chain(&rule.excludes.caps);
            caps.map(String::as_str)
        });
        let mentioned: BTreeSet<&str> = conditions.chain(["all"]).collect();
        let mut targets = vec![Target::host().unwrap()];
        for capability in mentioned {
            let mut target = Target::host().unwrap();
            target.add_capability(capability).unwrap();
            targets.push(target);
        }
        for target in targets {
            check_profile(&profile, &target);
        }
    }
}

fn check_profile(profile: &Profile, target: &Target) {
    let policy = profile.resolve(target).unwrap();
    let program = made_visible(&policy.compile(&CompileOptions::default()).unwrap());
    check(&program, &calls(&policy, Arch::X86_64, Way::Syscall));
    check(&program, &calls(&policy, Arch::X32, Way::Syscall));
    if sys::has_int80() {
        check(&program, &calls(&policy, Arch::I386, Way::Int80));
    } else {
        eprintln!("SKIPPED the part with int 0x80: this kernel has no 32-bit calls");
    }
}

/// A program that computes an errno: every return is one, and the last folds
/// all bits of `A` into it.
fn errno_program(insns: Vec<Insn>) -> Option<Program> {
    const ERRNO: u32 = 0x0005_0000;
    const DATA: u32 = 0x0fff;
    let mut all = vec![
        Insn::load(offset::arg_low(5)),
        Insn::jump(op::JEQ_K, PASS, 0, 1),
        Insn::ret(Action::Allow),
        Insn::stmt(op::LD_IMM, 0),
    ];
    let body = insns.len() - 1;
    all.extend(insns.into_iter().take(body).map(|insn| match insn.code {
        op::RET_A | op::RET_K => Insn::stmt(op::RET_K, ERRNO | insn.k & DATA),
        // A zero in X ends the program with a kill.
        op::DIV_X => Insn::stmt(op::XOR_X, 0),
        _ => insn,
    }));
    all.extend([
        Insn::stmt(op::ST, 15),
        Insn::stmt(op::RSH_K, 13),
        Insn::stmt(op::TAX, 0),
        Insn::stmt(op::LD_MEM, 15),
        Insn::stmt(op::XOR_X, 0),
        Insn::stmt(op::AND_K, DATA),
        Insn::stmt(op::OR_K, ERRNO),
        Insn::stmt(op::RET_A, 0),
    ]);
    Program::new(all).ok()
}

fn random_calls() -> impl Strategy<Value = Vec<Call>> {
    let word = || prop_oneof![0_u64..4, any::<u64>(), any::<u32>().prop_map(u64::from)];
    let nr = prop_oneof![
        0_u32..500,
        any::<u32>(),
        Just(X32_SYSCALL_BIT),
        Just(u32::MAX - 1)
    ];
    let call = (nr, prop::array::uniform6(word())).prop_map(|(nr, args)| Call {
        way: Way::Syscall,
        nr,
        args,
    });
    prop::collection::vec(call, 20).prop_map(|mut calls| {
        calls.retain(is_testable);
        calls
    })
}

#[test]
fn random_programs_run_as_in_the_kernel() {
    let mut runner = TestRunner::deterministic();
    let mut tried = 0;
    let case = (common::plausible_insns(), random_calls());
    while tried < 300 {
        let (insns, calls) = case.new_tree(&mut runner).unwrap().current();
        if let Some(program) = errno_program(insns) {
            check(&program, &calls);
            tried += 1;
        }
    }
}

#[test]
fn a_division_by_a_zero_register_kills_the_thread() {
    let program = Program::new(vec![
        Insn::load(offset::arg_low(5)),
        Insn::jump(op::JEQ_K, PASS, 0, 1),
        Insn::ret(Action::Allow),
        Insn::stmt(op::DIV_X, 0),
        Insn::ret(Action::Errno(1)),
    ])
    .unwrap();
    let call = Call {
        way: Way::Syscall,
        nr: Syscall::by_name(Arch::X86_64, "getpid").unwrap().number(),
        args: [0; 6],
    };
    assert_eq!(program.run(&data(&call, 0)).action, Action::KillThread);
    assert!(matches!(
        sys::under(&program, &[call]),
        End::Signal(libc::SIGSYS)
    ));
}

/// With the right to it, both filters come back, oldest first, and the process
/// goes on; without, the error says what is missing.
#[test]
fn filters_of_a_process_are_read() {
    let filters = [
        "ld [nr]\njeq #110, 2, 3\nret errno(1)\nret allow",
        "ret allow",
    ]
    .map(|listing| listing.parse::<Program>().unwrap());
    let held = Held::with(&filters);
    match Program::of_process(held.pid) {
        Ok(programs) => assert_eq!(programs, filters),
        Err(DumpError::Denied { pid }) => {
            assert_eq!(pid, held.pid);
            let strict = std::env::var_os("NUCLEUS_TEST_REQUIRE").is_some_and(|all| all == "all");
            assert!(!(strict && sys::is_root()), "root is denied");
            eprintln!("SKIPPED reading them: not the right to it");
        }
        Err(error) => panic!("{error:?}"),
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", held.pid)).unwrap();
    assert!(status.contains("TracerPid:\t0\n"), "{status}");
    let own = Program::of_process(std::process::id().cast_signed());
    assert!(matches!(own, Err(DumpError::NoFilter { .. })), "{own:?}");
}

#[test]
fn the_loader_takes_what_the_kernel_takes() {
    let loader = Loader::new();
    let mut runner = TestRunner::deterministic();
    let wild = common::wild_insns();
    let plausible = common::plausible_insns();
    let mut taken = [0; 2];
    for _ in 0..3000 {
        for insns in [
            wild.new_tree(&mut runner).unwrap().current(),
            plausible.new_tree(&mut runner).unwrap().current(),
        ] {
            let kernel = loader.takes(&insns);
            let ours = Program::new(insns.clone());
            assert_eq!(kernel, ours.is_ok(), "{ours:?} for {insns:?}");
            taken[usize::from(kernel)] += 1;
        }
    }
    assert!(taken.iter().all(|count| *count > 500), "{taken:?}");
    let ret = Insn::ret(Action::Allow);
    assert!(loader.takes(&vec![ret; 4096]));
    assert!(!loader.takes(&vec![ret; 4097]));
    assert!(!loader.takes(&[]));
}

/// Every operation code, alone in front of a return.
#[test]
fn the_loader_permits_the_operations_that_the_kernel_permits() {
    let loader = Loader::new();
    let ret = Insn::ret(Action::Allow);
    for code in 0..=u16::MAX {
        let insns = [Insn::stmt(op::ST, 0), Insn::stmt(code, 0), ret];
        // The kernel looks at every bit of the code; so only the lower byte
        // and a sample of the upper one are worth a system call.
        if code < 0x200 || code % 0x101 == 0 {
            let ours = Program::new(insns.to_vec());
            assert_eq!(loader.takes(&insns), ours.is_ok(), "{code:#x}: {ours:?}");
        }
    }
}
