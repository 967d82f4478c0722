//! Whose ids a program has, inside and on the host, for root and for anybody
//! else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::{MetadataExt as _, chown};

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::place::{NOBODY, Place};
use nucleus_tests::require;

/// Prints user, group and groups, and the id map without its blanks.
const WHO: &str = "echo $(id -u) $(id -g) $(id -G); tr -s ' ' </proc/self/uid_map";

/// What `nucleus run OPTIONS` says of the program: its ids, its map.
fn who(place: &Place, user: u32, options: &str) -> (String, String) {
    let mut words = vec!["run"];
    words.extend(options.split_whitespace());
    words.extend(["--", "sh", "-c", WHO]);
    let output = place.of(user).nucleus(&words).code(0);
    let (ids, map) = output.out().split_once('\n').unwrap();
    (ids.to_owned(), map.trim().to_owned())
}

/// How nucleus refuses options.
fn refusal(place: &Place, user: u32, options: &str) -> String {
    let mut words = vec!["run"];
    words.extend(options.split_whitespace());
    words.extend(["--", "true"]);
    place.of(user).nucleus(&words).code(125).err().to_owned()
}

#[test]
fn what_root_runs_has_the_ids_that_are_asked_for() {
    require!(root, userns);
    let place = Place::new();
    let check = |options: &str, ids: &str, inside: &str, count: &str| {
        let (found, map) = who(&place, 0, options);
        assert_eq!(found, ids, "{options}");
        let [first, outside, size] = map.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{options}: {map}");
        };
        assert_eq!((first, size), (inside, count), "{options}");
        outside.parse::<u32>().unwrap()
    };
    // Nobody's on the host, another one each time.
    for options in ["", "--userns auto"] {
        let outside = check(options, "1000 1000 1000", "1000", "1");
        assert!((0x7000_0000..0x7fff_0000).contains(&outside), "{outside}");
    }
    assert!(check("--user 0", "0 0 0", "0", "1") >= 0x7000_0000);
    assert!(check("--userns nomap", "1000 1000 1000", "0", "65536") >= 0x7000_0000);
    // These are the host's.
    let outside = check("--userns keep-id --user 33:44", "33 44 44", "33", "1");
    assert_eq!(outside, 33);
    let map = "--uidmap 0:100000:2000 --gidmap 0:200000:3000";
    assert_eq!(check(map, "1000 1000 1000", "0", "2000"), 100_000);
    check(
        "--group-add 44 --group-add 55",
        "1000 1000 1000 44 55",
        "1000",
        "1",
    );
}

#[test]
fn root_of_the_host_is_nobody_s_to_be() {
    require!(root, userns);
    let place = Place::new();
    for options in [
        "--userns keep-id",
        "--userns keep-id --user root",
        "--userns host --user 0",
        "--uidmap 0:0:65536",
        "--uidmap 5:0:1",
    ] {
        let said = refusal(&place, 0, options);
        assert!(said.contains("user 0 of the host"), "{options}: {said}");
    }
}

#[test]
fn without_a_user_namespace_the_other_walls_stand() {
    require!(root);
    let place = Place::new();
    let script = "id -u; cat /proc/self/uid_map; unshare --user true; \
        echo 1 >/proc/sys/kernel/core_pattern; grep Cap /proc/self/status";
    let words = ["run", "--userns", "host", "--", "sh", "-c", script];
    let output = place.nucleus(&words).code(0);
    let lines: Vec<_> = output.out().lines().collect();
    assert!(lines[0].parse::<u32>().unwrap() >= 0x7000_0000);
    assert!(lines[1].ends_with("4294967295"), "{lines:?}");
    for set in &lines[2..] {
        assert!(set.ends_with("\t0000000000000000"), "{set}");
    }
    let errors = output.err();
    assert!(errors.contains("unshare failed"), "{errors}");
    assert!(errors.contains("core_pattern"), "{errors}");
    let said = refusal(&place, NOBODY, "--userns host");
    assert!(said.contains("only root"), "{said}");
}

#[test]
fn a_user_is_itself_on_the_host_whoever_it_is_inside() {
    require!(root, userns);
    let place = Place::new();
    let own = "65534 65534 1";
    for options in ["", "--userns keep-id", "--uidmap 65534:65534:1"] {
        let expected = ("65534 65534 65534".to_owned(), own.to_owned());
        assert_eq!(who(&place, NOBODY, options), expected, "{options}");
    }
    for options in ["--user 0", "--user root", "--uidmap 0:65534:1"] {
        let expected = ("0 0 0".to_owned(), "0 65534 1".to_owned());
        assert_eq!(who(&place, NOBODY, options), expected, "{options}");
    }
    let workspace = place.path().join("workspace");
    std::fs::create_dir(&workspace).unwrap();
    chown(&workspace, Some(NOBODY), Some(NOBODY)).unwrap();
    let words = [
        "run",
        "--user",
        "0",
        "--workspace",
        "workspace",
        "--",
        "touch",
        "new",
    ];
    let output = place.of(NOBODY).nucleus(&words).code(0);
    assert_eq!(output.err(), "");
    let owner = workspace.join("new").metadata().unwrap().uid();
    assert_eq!(owner, NOBODY);
}

#[test]
fn mistakes_are_named_before_anything_starts() {
    require!(root, userns);
    let place = Place::new();
    for (user, options, expected) in [
        (0, "--uidmap 0:100000:10 --uidmap 9:200000:1", "overlap"),
        (0, "--uidmap 0:100000:10 --user 77", "--uidmap 77:HOST:1"),
        (
            0,
            "--userns nomap --group-add 70000",
            "--gidmap 70000:HOST:1",
        ),
        (NOBODY, "--group-add 7", "--gidmap 7:HOST:1"),
    ] {
        let said = refusal(&place, user, options);
        assert!(said.contains(expected), "{options}: {said}");
    }
    for (options, expected) in [
        ("--uidmap 0:1", "CONTAINER:HOST:SIZE"),
        ("--uidmap 0:1:0", "at least one id"),
        ("--user no-such-user", "/etc/passwd"),
        ("--group-add no-such-group", "/etc/group"),
    ] {
        let words: Vec<_> = ["run"].into_iter().chain(options.split(' ')).collect();
        let output = place.nucleus(&[&words[..], &["--", "true"]].concat());
        assert!(!output.status.success());
        assert!(output.err().contains(expected), "{}", output.err());
    }
}

/// Runs `script` as nobody where `/etc/subuid` and `/etc/subgid` hold `ranges`;
/// `first` runs as root before.
fn with_ranges(place: &Place, ranges: &str, first: &str, script: &str) -> std::process::Output {
    place.write("ranges", ranges);
    let setup = format!(
        "mount --bind ranges /etc/subuid && mount --bind ranges /etc/subgid && {first} \
         exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -c '{script}'"
    );
    place
        .command("unshare")
        .args(["--mount", "sh", "-c", &setup])
        .output()
        .unwrap()
}

#[test]
fn subordinate_ids_come_from_the_helpers() {
    require!(root, userns, userland, tool("newuidmap"), tool("setpriv"));
    let place = Place::new();
    let check = |options: &str, ids: &str, map: &str| {
        let script = format!(
            "./nucleus run {options} -- sh -c \"{}\"",
            WHO.replace('$', "\\$")
        );
        let script = script.replace("' '", "\\\" \\\"");
        let output = with_ranges(&place, "nobody:100000:65536\n", "", &script).code(0);
        let (found, found_map) = output.out().split_once('\n').unwrap();
        assert_eq!(found, ids, "{options}");
        let found_map: Vec<_> = found_map.lines().map(str::trim).collect();
        if map.is_empty() {
            let [inside, outside, count] = found_map[0].split(' ').collect::<Vec<_>>()[..] else {
                panic!("{found_map:?}");
            };
            let outside: u32 = outside.parse().unwrap();
            assert!((100_000..165_536).contains(&outside), "{outside}");
            assert_eq!((inside, count), ("1000", "1"));
        } else {
            assert_eq!(found_map.join(","), map, "{options}");
        }
    };
    check("--userns auto", "1000 1000 1000", "");
    check("--userns nomap", "1000 1000 1000", "0 100000 65536");
    check(
        "--userns nomap --user 0:0 --group-add 7",
        "0 0 0 7",
        "0 100000 65536",
    );
    check(
        "--userns keep-id --user 5:6",
        "5 6 6",
        "0 100000 65534,65534 65534 1,65535 165534 2",
    );
    check(
        "--uidmap 0:65534:1 --uidmap 1:100000:9",
        "0 0 0",
        "0 65534 1,1 100000 9",
    );
}

#[test]
fn missing_ranges_and_helpers_are_named_with_what_to_do() {
    require!(root, userns, userland, tool("newuidmap"), tool("setpriv"));
    let place = Place::new();
    let run = "./nucleus run --userns nomap -- true";
    let said = |ranges: &str, first: &str, script: &str| {
        let output = with_ranges(&place, ranges, first, script).code(125);
        output.err().to_owned()
    };
    let none = said("other:100000:65536\n", "", run);
    assert!(none.contains("/etc/subuid"), "{none}");
    assert!(none.contains("nobody:100000:65536"), "{none}");
    let range = "nobody:100000:65536\n";
    let foreign = said(range, "", "./nucleus run --uidmap 0:300000:9 -- true");
    assert!(foreign.contains("nobody:300000:9"), "{foreign}");
    let hide = "mount --bind /dev/null $(command -v newgidmap) &&";
    let helper = said(range, hide, run);
    assert!(helper.contains("newgidmap is not installed"), "{helper}");
    assert!(helper.contains("uidmap"), "{helper}");
    // A helper that may not: what it says is passed on, and nothing is left.
    let disarm = "cp $(command -v newuidmap) helper && chmod 755 helper && \
        mount --bind helper $(command -v newuidmap) &&";
    let refused = said(range, disarm, run);
    assert!(refused.contains("did not map the ids"), "{refused}");
}

/// The ids of `auto` and `nomap` own nothing, so a grant would be none.
#[test]
fn a_write_grant_that_would_be_none_is_refused() {
    require!(root, userns, userland, tool("newuidmap"), tool("setpriv"));
    let place = Place::new();
    let own = "mkdir own && chown 65534:65534 own &&";
    let run = "./nucleus run --userns auto --workspace own -- true";
    let output = with_ranges(&place, "nobody:100000:65536\n", own, run).code(125);
    assert!(output.err().contains("could not write"), "{}", output.err());
}
