//! `--time-start` and `--random-seed`: runs are alike, sleeps are as long as
//! ever, and nobody is told the true time; for root and anybody else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what the helpers cannot do fails the test that asked for it"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Output;

use nucleus_tests::nucleus::{Said as _, nucleus};
use nucleus_tests::place::{Place, users};
use nucleus_tests::require::stride;
use nucleus_tests::{elf32, require};

/// Noon in UTC.
const START: [&str; 2] = ["--time-start", "2001-02-03T13:00:00+01:00"];
const START_SECONDS: i64 = 981_201_600;
const SEED: [&str; 2] = ["--random-seed", "7"];

/// A folder with the probe.
fn place() -> Place {
    let place = Place::new();
    place.add("probe", Path::new(env!("CARGO_BIN_EXE_same-probe")));
    place
}

/// For each user with and without a sandbox: what `check` says of a run.
fn everywhere(place: &Place, rules: &[&str], command: &[&str], check: impl Fn(&Output)) {
    for user in users() {
        for view in [&["--host"][..], &[]] {
            let words = [view, rules, &["--"], command].concat();
            check(&place.of(user).run(&words).code(0));
        }
    }
}

/// The lines of the probe: a name and a number each.
fn numbers(output: &Output) -> BTreeMap<&str, i64> {
    let lines = output.out().lines();
    lines
        .map(|line| {
            let (name, number) = line.split_once(' ').unwrap();
            (name, number.parse().unwrap())
        })
        .collect()
}

#[test]
fn every_way_to_ask_says_the_time_that_was_given() {
    require!(ptrace, userns);
    let place = place();
    everywhere(&place, &START, &["./probe", "times"], |output| {
        let said = numbers(output);
        assert!(said.len() >= 10, "{said:?}");
        for (name, seconds) in said {
            let late = seconds - START_SECONDS;
            // TAI may be 37 seconds ahead.
            assert!((0..60).contains(&late), "{name} is {late} seconds late");
        }
    });
}

#[test]
fn time_never_goes_back() {
    require!(ptrace, userns);
    let times = (5000 / stride()).to_string();
    everywhere(
        &place(),
        &START,
        &["./probe", "steady", &times],
        |_output| {},
    );
}

#[test]
fn who_waits_for_a_moment_waits_until_then() {
    require!(ptrace, userns, kernel(5, 16));
    let place = place();
    let check = |output: &Output| {
        let waited = numbers(output);
        assert_eq!(waited.len(), 8, "{waited:?}");
        for (name, milliseconds) in waited {
            let right = (199..5000).contains(&milliseconds);
            assert!(right, "{name} took {milliseconds} ms");
        }
    };
    let probe = ["./probe", "waits"];
    everywhere(
        &place,
        &["--time-start", "1980-01-01T00:00:00Z"],
        &probe,
        check,
    );
    let future = ["run", "--time-start", "2200-01-01T00:00:00Z", "--"];
    check(&place.nucleus(&[&future[..], &probe].concat()).code(0));
}

#[test]
fn random_numbers_are_the_same_again_and_no_two_are_alike() {
    require!(ptrace, userns);
    let place = place();
    let all = std::cell::RefCell::new(BTreeSet::new());
    for _ in 0..2 {
        everywhere(&place, &SEED, &["./probe", "random"], |output| {
            let said = output.out();
            let mut numbers = BTreeSet::new();
            for line in said.lines() {
                assert!(numbers.insert(line.split_once(' ').unwrap().1), "{said}");
            }
            assert_eq!(numbers.len(), 14, "{said}");
            let numbers = said.lines().filter(|line| !line.starts_with("address "));
            all.borrow_mut()
                .insert(numbers.collect::<Vec<_>>().join("\n"));
        });
    }
    assert_eq!(all.borrow().len(), 1, "{all:?}");
    let output = nucleus(["run", "--host", "--random-seed", "8", "--"])
        .arg(env!("CARGO_BIN_EXE_same-probe"))
        .arg("random")
        .output()
        .unwrap()
        .code(0);
    let other = output.out();
    let all = all.borrow();
    let first = all.first().unwrap();
    assert!(first.lines().all(|line| !other.contains(line)), "{other}");
}

#[test]
fn addresses_are_the_same_again() {
    require!(ptrace, userns);
    let place = place();
    let address = |output: &Output| {
        let mut lines = output.out().lines();
        lines
            .find(|line| line.starts_with("address "))
            .unwrap()
            .to_owned()
    };
    let seen = std::cell::RefCell::new(Vec::new());
    for _ in 0..2 {
        everywhere(&place, &SEED, &["./probe", "random"], |output| {
            seen.borrow_mut().push(address(output));
        });
    }
    let seen = seen.borrow();
    let (first, second) = seen.split_at(seen.len() / 2);
    assert_eq!(first, second);
}

#[test]
fn programs_give_the_same_output_again() {
    require!(ptrace, userns, userland);
    let place = place();
    let scripts = [
        &["date"][..],
        &["sh", "-c", "head -c 100000 /dev/urandom | cksum; mktemp -u"],
        &[
            "sh",
            "-c",
            "sleep 0.1; date +%s; cat /proc/sys/kernel/random/uuid",
        ],
        &["perl", "-e", "print time, ' ', rand()"],
        &["bash", "-c", "RANDOM=1; echo $SRANDOM $RANDOM $(date +%F)"],
        &[
            "python3",
            "-c",
            "import time,random,os,uuid; print(int(time.time()), random.random(), os.urandom(4), \
             uuid.uuid4(), hash('a'), id(object()))",
        ],
    ];
    let both = [START, SEED].concat();
    for command in scripts {
        for user in users() {
            for view in [&["--host"][..], &[]] {
                let words = [&["run"], view, &both, &["--"], command].concat();
                let run = || place.of(user).nucleus(&words).code(0).out().to_owned();
                assert_eq!(run(), run(), "{command:?}");
            }
        }
    }
}

#[test]
fn a_script_of_many_processes_at_once_gives_each_its_own() {
    require!(ptrace, userns, userland);
    let place = place();
    let script = "for i in 1 2 3 4 5 6 7 8; do (head -c 4 /dev/urandom | od -An -tx1 > /tmp/$i) & done; \
                  wait; cat /tmp/1 /tmp/2 /tmp/3 /tmp/4 /tmp/5 /tmp/6 /tmp/7 /tmp/8";
    let words = [&["run"][..], &SEED, &["--", "sh", "-c", script]].concat();
    let run = || place.nucleus(&words).code(0).out().to_owned();
    let first = run();
    let different: BTreeSet<&str> = first.lines().collect();
    assert_eq!(different.len(), 8, "{first}");
    for _ in 0..3 {
        assert_eq!(run(), first);
    }
}

#[test]
fn the_clock_is_not_set_and_the_true_one_not_told() {
    require!(root, ptrace, userland);
    let script = "date -s 2030-01-01 2>&1; date +%Y; adjtimex 2>&1";
    let output = nucleus(["run", "--host"])
        .args(START)
        .args(["--", "sh", "-c", script])
        .output()
        .unwrap();
    let said = output.out();
    assert!(said.contains("Operation not permitted"), "{said}");
    assert!(said.contains("\n2001\n"), "{said}");
}

#[test]
fn a_program_of_32_bits_is_told_the_same_time_and_has_no_vdso() {
    require!(ptrace, userns, ia32);
    let place = place();
    elf32::write(&place.path().join("clock"), &elf32::clock()).unwrap();
    // What lies above the vector must be longer than what is printed.
    let long = "x".repeat(elf32::STACK);
    for view in [&["--host"][..], &[]] {
        let program = ["--allow-arch=x86", "--", "./clock", &long];
        let words = [&["run"], view, &START, &program].concat();
        let output = place.nucleus(&words).code(0);
        let mut words = output.stdout.chunks_exact(4).map(|word| {
            let word = word.first_chunk().unwrap();
            i64::from(u32::from_le_bytes(*word))
        });
        let late = words.next().unwrap() - START_SECONDS;
        assert!((0..60).contains(&late), "{late} seconds late");
        let arguments = words.next().unwrap();
        assert_eq!(arguments, 2);
        let vector = words.skip(3).skip_while(|word| *word != 0).skip(1);
        let names: Vec<_> = vector.step_by(2).take_while(|name| *name != 0).collect();
        // AT_PAGESZ and AT_SYSINFO_EHDR.
        assert!(names.contains(&6) && !names.contains(&33), "{names:?}");
    }
}

#[test]
fn monotonic_clocks_of_a_sandbox_begin_alike() {
    require!(ptrace, userns, path("/proc/self/ns/time_for_children"));
    let place = place();
    for user in users() {
        let words = ["run", START[0], START[1], "--", "cat", "/proc/uptime"];
        let output = place.of(user).nucleus(&words).code(0);
        let uptime: f64 = output.out().split(' ').next().unwrap().parse().unwrap();
        assert!((1000.0..1060.0).contains(&uptime), "{uptime}");
    }
}

#[test]
fn a_policy_can_say_it() {
    require!(ptrace, userns, userland);
    let place = place();
    let policy = "[determinism]\ntime-start = \"2001-02-03T12:00:00Z\"\nrandom-seed = \"7\"\n";
    place.write("policy.toml", policy);
    let command = ["sh", "-c", "date +%F; head -c 8 /dev/urandom | od"];
    let run = |rules: &[&str]| {
        let words = [&["run"], rules, &["--"], &command].concat();
        place.nucleus(&words)
    };
    let by_policy = run(&["--policy", "policy.toml"]).code(0);
    let by_options = run(&[START, SEED].concat()).code(0);
    assert_eq!(by_policy.out(), by_options.out());
    assert!(by_policy.out().starts_with("2001-02-03\n"), "{by_policy:?}");
    let both = run(&["--policy", "policy.toml", "--random-seed", "8"]).code(0);
    assert_ne!(both.out(), by_options.out(), "the option counts");
    let checked = place.nucleus(&["policy", "check", "policy.toml"]).code(0);
    let expected = "determinism: random numbers from the seed 0x7: ";
    assert!(checked.out().contains(expected), "{checked:?}");
}

#[test]
fn it_goes_with_other_rules() {
    require!(ptrace, userns, userland);
    let place = place();
    let rules = [
        &START[..],
        &SEED,
        &[
            "--exec-allow",
            "sh",
            "--exec-allow",
            "date",
            "--net-allow",
            "192.0.2.1",
        ],
    ]
    .concat();
    let script = "date +%Y; head -c 4 /dev/urandom | od; true";
    everywhere(&place, &rules, &["sh", "-c", script], |output| {
        assert_eq!(output.out().lines().next(), Some("2001"), "{output:?}");
        assert!(output.err().contains("head"), "{output:?}");
    });
}

#[test]
fn what_is_no_time_and_no_seed_is_said() {
    let check = |words: [&str; 2], expected: &str| {
        let output = nucleus(["run"]).args(words).args(["--", "true"]).output();
        let output = output.unwrap();
        assert!(output.err().contains(expected), "{}", output.err());
        assert!(!output.status.success());
    };
    check(
        ["--time-start", "yesterday"],
        "one is written 2020-01-31T12:00:00Z",
    );
    check(
        ["--time-start", "2001-02-30T00:00:00Z"],
        "there is no such day",
    );
    check(
        ["--time-start", "1903-02-03T00:00:00Z"],
        "from 1970 to 2261",
    );
    check(["--random-seed", "ff"], "one is written 42, or 0x and");
}
