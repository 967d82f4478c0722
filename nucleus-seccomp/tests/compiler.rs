//! Random profiles: the compiled filter is the profile, and is libseccomp's.

#[path = "common/profiles.rs"]
mod profiles;

use std::collections::BTreeSet;

use nucleus_seccomp::difftest::Libseccomp;
use nucleus_seccomp::proof::{self, Answer};
use nucleus_seccomp::{Arch, CompileOptions, DifftestError, KernelVersion, Profile, Target, When};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

fn target() -> Target {
    Target::new(Arch::X86_64, KernelVersion::new(6, 12))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_compiled_profile_is_the_profile(profile in profiles::profiles(4)) {
        // Contradicting rules are no profile.
        let Ok(policy) = profile.resolve(&target()) else { return Ok(()) };
        let program = policy.compile(&CompileOptions::default()).unwrap();
        let answer = proof::equal(&policy, &program).unwrap();
        prop_assert!(answer.holds(), "{:?}\n{}", answer, program);
    }
}

/// Leaves each call in the first rule that names it, and each argument's first
/// test: where conditions on one call overlap, libseccomp's tree loses some
/// (with `arg3 <= 2^32` and `arg3 < 2^60` it denies 2^32 + 1).
fn without_overlaps(mut profile: Profile) -> Profile {
    let mut seen = BTreeSet::new();
    for rule in &mut profile.rules {
        rule.calls.retain(|call| seen.insert(call.clone()));
        if let When::Args(tests) = &mut rule.when {
            let mut indices = BTreeSet::new();
            tests.retain(|test| indices.insert(test.index));
        }
    }
    profile.rules.retain(|rule| !rule.calls.is_empty());
    profile
}

#[test]
fn random_profiles_mean_what_libseccomp_makes_of_them() {
    let library = match Libseccomp::load() {
        Ok(library) => library,
        Err(error) => {
            let strict = std::env::var_os("NUCLEUS_TEST_REQUIRE").is_some_and(|all| all == "all");
            assert!(!strict, "{error}");
            eprintln!("SKIPPED: {error}");
            return;
        }
    };
    let mut runner = TestRunner::deterministic();
    let strategy = profiles::profiles(4).prop_map(without_overlaps);
    let mut compared = 0;
    for _ in 0..150 {
        let profile = strategy.new_tree(&mut runner).unwrap().current();
        match library.compare(&profile, &target()) {
            Ok(report) => {
                compared += 1;
                if let Answer::Fails(example) = report.answer {
                    panic!("{example:?}\n{}", profile.to_json());
                }
            }
            // Contradicting rules.
            Err(DifftestError::Rule { .. } | DifftestError::Resolve(_)) => {}
            Err(error) => panic!("{error:?}\n{}", profile.to_json()),
        }
    }
    assert!(compared > 100, "{compared}");
}
