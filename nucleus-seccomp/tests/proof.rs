//! Comparisons are exact: they see through different code for the same
//! meaning, and no difference is too small.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may")]

mod common;

use nucleus_seccomp::proof::{self, Answer};
use nucleus_seccomp::{Action, Arch, Insn, Program, ProofError, SeccompData};
use proptest::prelude::*;

fn program(listing: &str) -> Program {
    listing
        .parse()
        .unwrap_or_else(|error| panic!("{listing}: {error}"))
}

fn check_equal(left: &str, right: &str) {
    let verdict = proof::equal(&program(left), &program(right)).unwrap();
    assert!(verdict.holds(), "{left}\nand\n{right}\n{verdict:?}");
}

/// Checks that they differ, and first on this call.
fn check_differ(left: &str, right: &str, first: SeccompData) {
    match proof::equal(&program(left), &program(right)).unwrap() {
        Answer::Fails(counter_example) => assert_eq!(counter_example.data, first),
        holds @ Answer::Holds { .. } => panic!("{left}\nand\n{right}\n{holds:?}"),
    }
}

#[test]
fn different_code_for_the_same_meaning() {
    // A mask by AND and by JSET.
    check_equal(
        "ld [arg0.lo]\nand #0xff\njeq #0, 3, 4\nret allow\nret log",
        "ld [arg0.lo]\njset #0xff, 2, 3\nret log\nret allow",
    );
    // Two steps to one bound, the second of them always the same way.
    check_equal(
        "ld [nr]\njge #5, 2, 4\njge #3, 3, 4\nret allow\nret log",
        "ld [nr]\njgt #4, 2, 3\nret allow\nret log",
    );
    // By scratch memory, index register and shift.
    check_equal(
        "ld #1\nst M[2]\nld [nr]\nand #31\ntax\nld M[2]\nlsh x\njset #0x8, 8, 9\nret allow\nret log",
        "ld [nr]\nand #31\njeq #3, 3, 4\nret allow\nret log",
    );
    // The whole 64 bits, in either order of the halves.
    check_equal(
        "ld [arg1.hi]\njeq #0, 2, 4\nld [arg1.lo]\njeq #7, 5, 4\nret log\nret allow",
        "ld [arg1.lo]\njeq #7, 2, 4\nld [arg1.hi]\njeq #0, 5, 4\nret log\nret allow",
    );
    // Data that makes no difference to the kernel.
    check_equal("ret #0x7fff0001", "ret allow");
    check_equal("ret #0x12340000", "ret kill_process");
    check_equal("ret errno(4095)", "ret errno(65535)");
    // A verdict that is computed.
    check_equal(
        "ld [arch]\njeq #x86_64, 2, 3\nld #0x50001\nret a",
        "ld [arch]\njeq #x86_64, 2, 3\nret errno(1)\nret a",
    );
}

#[test]
fn one_call_among_all_is_found() {
    let magic = SeccompData {
        nr: 0,
        arch: Arch::X86_64.audit(),
        args: [0, 0, 0, 0xdead_beef_0000_0001, 0, 0],
        ..SeccompData::default()
    };
    check_differ(
        "ld [arg3.hi]\njeq #0xdeadbeef, 2, 4\nld [arg3.lo]\njeq #1, 5, 4\nret log\nret allow",
        "ret log",
        magic,
    );
    // An architecture that no table knows.
    check_differ(
        "ld [arch]\njeq #0x40000028, 2, 3\nret allow\nret log",
        "ret log",
        SeccompData {
            arch: 0x4000_0028,
            ..SeccompData::default()
        },
    );
    check_differ(
        "ld [ip.hi]\njset #0x80000000, 2, 3\nret allow\nret log",
        "ret log",
        SeccompData {
            arch: Arch::X86_64.audit(),
            instruction_pointer: 1 << 63,
            ..SeccompData::default()
        },
    );
}

#[test]
fn subsets_order_verdicts_by_what_they_let_through() {
    let cases = [
        ("ret kill_process", "ret errno(1)", true),
        ("ret errno(1)", "ret kill_process", true),
        ("ret user_notif", "ret errno(1)", false),
        ("ret trace(0)", "ret allow", true),
        ("ret log", "ret allow", true),
        ("ret allow", "ret log", true),
        ("ret allow", "ret user_notif", false),
    ];
    for (left, right, expected) in cases {
        let verdict = proof::subset(&program(left), &program(right)).unwrap();
        assert_eq!(verdict.holds(), expected, "{left} in {right}");
    }
}

#[test]
fn what_cannot_be_compared_is_an_error_and_not_equal() {
    let product = program(
        "ld [arg0.lo]\ntax\nld [arg1.lo]\nmul x\njeq #0x12345678, 5, 6\nret log\nret allow",
    );
    assert_eq!(
        proof::equal(&product, &program("ret allow")),
        Err(ProofError::Arithmetic)
    );
    let sum = program(
        "ld [arg0.lo]\ntax\nld [arg1.lo]\nadd x\njeq #0x12345678, 5, 6\nret log\nret allow",
    );
    assert!(matches!(
        proof::equal(&sum, &program("ret allow")),
        Err(ProofError::TooComplex { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A comparison of a program with a slightly different one agrees with
    /// what both say to random calls.
    #[test]
    fn verdicts_of_the_proof_are_those_of_the_simulator(
        mut insns in common::plausible_insns(),
        other in any::<prop::sample::Index>(),
        k in prop_oneof![0_u32..4, any::<u32>()],
        words in prop::collection::vec(prop_oneof![0_u32..4, any::<u32>()], 16),
    ) {
        let Ok(left) = Program::new(insns.clone()) else { return Ok(()) };
        let at = other.index(insns.len());
        insns[at] = Insn { k, ..insns[at] };
        let Ok(right) = Program::new(insns) else { return Ok(()) };
        let long = |at: usize| u64::from(words[at]) | u64::from(words[at + 1]) << 32;
        let data = SeccompData {
            nr: words[0],
            arch: words[1],
            instruction_pointer: long(2),
            args: std::array::from_fn(|index| long(4 + 2 * index)),
        };
        let capped = |action| match action {
            Action::Errno(errno) => Action::Errno(errno.min(4095)),
            other => other,
        };
        match proof::equal(&left, &right) {
            Ok(Answer::Holds { .. }) => {
                let verdicts = [&left, &right].map(|program| capped(program.run(&data).action));
                prop_assert_eq!(verdicts[0], verdicts[1], "{}\nand\n{}", left, right);
            }
            Ok(Answer::Fails(example)) => {
                let verdicts = [&left, &right].map(|program| capped(program.run(&example.data).action));
                prop_assert_ne!(verdicts[0], verdicts[1], "{}\nand\n{}", left, right);
            }
            Err(ProofError::TooComplex { .. } | ProofError::Arithmetic) => {}
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
