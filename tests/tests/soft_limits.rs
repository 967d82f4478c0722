//! `--pids` and `--memory` where no cgroup is to be had: nobody may make one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what the helpers cannot do fails the test that asked for it"
)]

use std::path::Path;
use std::process::Output;

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::place::Place;
use nucleus_tests::require;

/// A run in the host's view with these limits; `None`, aloud, where this user
/// has cgroups of its own.
fn run(limits: &[&str], command: &[&str]) -> Option<Output> {
    run_at(&Place::unprivileged(), limits, command)
}

/// The same as each user that this process can be, where it has no cgroups.
fn run_as_all(limits: &[&str], command: &[&str]) -> Vec<Output> {
    let places = Place::all();
    let outputs = places
        .iter()
        .filter_map(|place| run_at(place, limits, command));
    outputs.collect()
}

fn run_at(place: &Place, limits: &[&str], command: &[&str]) -> Option<Output> {
    place.add("probe", Path::new(env!("CARGO_BIN_EXE_limit-probe")));
    let words = [&["run", "--host"], limits, &["--"], command].concat();
    let output = place.nucleus(&words);
    if !output.err().contains("is enforced by the supervisor") {
        nucleus_tests::require::say("this user has cgroups of its own");
        return None;
    }
    Some(output)
}

/// The two numbers of each line that the probe printed.
fn numbers(output: &Output) -> Vec<(u64, i32)> {
    let lines = output.out().lines();
    lines
        .map(|line| {
            let (count, errno) = line.split_once(' ').unwrap();
            (count.parse().unwrap(), errno.parse().unwrap())
        })
        .collect()
}

#[test]
fn forks_end_at_the_limit_and_slots_are_free_again() {
    require!(ptrace);
    let Some(output) = run(&["--pids", "20"], &["./probe", "forks"]) else {
        return;
    };
    // The probe itself is one of the twenty.
    assert_eq!(numbers(&output), [(19, libc::EAGAIN); 2], "{output:?}");
    let said = output.err();
    assert!(said.contains("forks refused at --pids 20: 2\n"), "{said}");
}

#[test]
fn pipelines_of_a_shell_that_is_interrupted_by_every_end_complete() {
    require!(ptrace, tool("dash"));
    let script = "i=0; while [ $i -lt 10 ]; do (n=0; while [ $n -lt 12 ]; do \
        echo x | cat | cat | cat || exit 1; n=$((n+1)); done) & i=$((i+1)); done; wait";
    let Some(output) = run(&["--pids", "60"], &["dash", "-c", script]) else {
        return;
    };
    assert_eq!(output.out(), "x\n".repeat(120), "{}", output.err());
    assert!(!output.err().contains("refused"), "{}", output.err());
}

#[test]
fn memory_ends_at_the_limit_by_every_route() {
    require!(ptrace);
    // A slow machine takes seconds to copy nucleus there.
    let place = Place::unprivileged();
    // The probe's own memory, with the stack, is some MiB.
    for (route, least, most, errno) in [
        ("private", 100, 128, libc::ENOMEM),
        ("shared", 100, 128, libc::ENOMEM),
        ("shared-read", 100, 128, libc::ENOMEM),
        ("mprotect", 100, 128, libc::ENOMEM),
        ("mremap", 100, 128, libc::ENOMEM),
        ("brk", 100, 128, libc::ENOMEM),
        ("dontunmap", 100, 128, libc::ENOMEM),
        ("grows-down", 0, 0, libc::EOPNOTSUPP),
        ("zero-device", 100, 128, libc::ENOMEM),
        ("shmget", 100, 128, libc::ENOMEM),
        ("memfd", 0, 0, libc::ENOSYS),
        // Each copy counts for 32 MiB, and the original.
        ("fork", 1, 3, libc::ENOMEM),
    ] {
        let command = ["./probe", "memory", route];
        let Some(output) = run_at(&place, &["--memory", "128M"], &command) else {
            return;
        };
        let [(count, ended)] = numbers(&output)[..] else {
            panic!("{route} {output:?}");
        };
        assert!((least..=most).contains(&count), "{route}: {count} MiB");
        assert_eq!(ended, errno, "{route}");
    }
}

/// A thread puts /dev/zero in place of a file while the mapping is judged.
#[test]
fn memory_cannot_be_claimed_as_a_file() {
    require!(ptrace);
    let Some(output) = run(&["--memory", "256M"], &["./probe", "swap"]) else {
        return;
    };
    assert_eq!(output.status.code(), Some(137), "{output:?}");
}

#[test]
fn a_heap_that_the_kernel_refused_is_counted_when_it_is_there() {
    require!(ptrace);
    let Some(output) = run(&["--memory", "128M"], &["./probe", "hidden"]) else {
        return;
    };
    let [(counted, _)] = numbers(&output)[..] else {
        panic!("{output:?}");
    };
    assert!(counted <= 128 << 10, "{counted} KiB");
}

#[test]
fn memory_that_is_given_back_can_be_had_again() {
    require!(ptrace);
    let Some(output) = run(&["--memory", "100M"], &["./probe", "again"]) else {
        return;
    };
    assert_eq!(output.out(), "done\n", "{}", output.err());
    assert!(!output.err().contains("refused"), "{}", output.err());
}

/// Each claim waits for its judge, and is interrupted by handlers that want no
/// call to be made again.
#[test]
fn no_claim_fails_for_a_signal() {
    require!(ptrace);
    for output in run_as_all(&["--memory", "128M"], &["./probe", "signals"]) {
        let [failed, (claims, signals)] = numbers(&output)[..] else {
            panic!("{output:?}");
        };
        assert_eq!(failed, (0, 0), "failed claims, and the last errno");
        assert!(claims == 3200 && signals > 50, "{claims} {signals}");
        assert!(!output.err().contains("refused"), "{}", output.err());
    }
}

#[test]
fn small_claims_of_many_threads_end_at_the_limit() {
    require!(ptrace);
    const KIB: u64 = 1 << 10;
    for output in run_as_all(&["--memory", "128M"], &["./probe", "small"]) {
        let [(claimed, ended), (counted, _)] = numbers(&output)[..] else {
            panic!("{output:?}");
        };
        assert_eq!(ended, libc::ENOMEM);
        assert!(counted <= 128 * KIB, "{counted} KiB");
        assert!(claimed > 100 * KIB, "{claimed} KiB");
        let said = output.err();
        assert!(said.contains("claims of memory refused at --memory 128M: 8\n"));
    }
}

#[test]
fn threads_are_free_but_their_stacks_are_memory() {
    require!(ptrace);
    let limits = ["--pids", "1", "--memory", "128M"];
    let Some(output) = run(&limits, &["./probe", "storm"]) else {
        return;
    };
    // Stacks of 2 MiB each.
    let threads: u64 = output.out().trim().parse().unwrap();
    assert!((20..=64).contains(&threads), "{threads} threads");
}

#[test]
fn files_in_memory_have_half_of_the_limit() {
    require!(ptrace, userns, userland);
    let place = Place::unprivileged();
    let fill = "for at in /tmp /dev/shm $HOME; do head -c 40M /dev/zero >$at/file; \
        du -k $at/file; done";
    let output = place.nucleus(&["run", "--memory", "100M", "--", "sh", "-c", fill]);
    if !output.err().contains("is enforced by the supervisor") {
        nucleus_tests::require::say("this user has cgroups of its own");
        return;
    }
    let sizes = output.out().lines().map(|line| {
        let (size, _path) = line.split_once('\t').unwrap();
        size.parse().unwrap()
    });
    let sizes: Vec<u64> = sizes.collect();
    // In KiB, together; the root has a few pages besides.
    let half = 50 << 10;
    let sum: u64 = sizes.iter().sum();
    assert_eq!(sizes.len(), 3, "{}", output.err());
    assert!((half..=half + 128).contains(&sum), "{sizes:?}");
}

#[test]
fn a_process_that_wants_too_much_is_killed_if_asked() {
    require!(ptrace);
    let limits = ["--memory", "128M", "--memory-policy", "kill"];
    let Some(output) = run(&limits, &["./probe", "memory", "private"]) else {
        return;
    };
    assert_eq!(output.status.code(), Some(137), "{output:?}");
    let said = output.err();
    assert!(said.contains("processes killed for memory at --memory 128M: 1\n"));
}
