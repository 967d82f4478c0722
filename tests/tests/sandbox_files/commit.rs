//! Commits that are killed: nothing is half written, and each can be finished.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::require;

use super::copy::{copy, users};
use super::place::{NOBODY, Place};

/// Every kind of change.
const WORK: &str = "echo new > file; rm -r gone; mkdir -p deep/er; echo new > deep/er/file; \
    rm -r folder; echo new > folder; rm other; mkdir other; echo new > other/in; \
    ln -sf file link; ln file hard; chmod 500 deep";

fn place(user: u32) -> Place {
    let place = Place::new(user);
    place.prepare(
        "mkdir -p ws/gone ws/folder; cd ws; echo old > file; echo old > gone/in; \
         echo old > folder/in; echo old > other; ln -s other link; echo old > kept",
    );
    place
}

/// Names and contents, without what commits keep there.
fn contents(place: &Place) -> BTreeSet<String> {
    let script = "find ws -name '.nucleus-*' -prune -o -type f -printf '%P %m ' -exec cat {} ';' \
                  -o -type l -printf '%P -> %l\n' -o -printf '%P/ %m\n'";
    let output = place.command("sh").args(["-ec", script]).output().unwrap();
    output.code(0).out().lines().map(str::to_owned).collect()
}

/// What commits keep in the workspace.
fn left(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.scratch.file("ws")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".nucleus")).collect()
}

/// Runs `nucleus` with these words; it is killed before it makes this call of a
/// kind for this many times.
fn killed_at(place: &Place, words: &[&str], call: &str, count: usize) -> Output {
    let inject = format!("inject={call}:signal=KILL:when={count}");
    let trace = format!("trace={call}");
    place
        .command("strace")
        .args(["-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject])
        .arg("./nucleus")
        .args(words)
        .output()
        .unwrap()
}

/// Kills it at its calls that change something, until there is none left to
/// kill it at; returns how often it was killed.
fn killed_everywhere(
    words: &[&str],
    prepared: impl Fn() -> Place,
    mut check: impl FnMut(&Place),
) -> usize {
    // All of them take minutes: NUCLEUS_TEST_TRIES, whatever it is, asks for that.
    let all = std::env::var_os("NUCLEUS_TEST_TRIES").is_some();
    let mut kills = 0;
    for call in [
        "mkdirat",
        "linkat",
        "symlinkat",
        "write",
        "fchmod",
        "chmod",
        "utimensat",
        "syncfs",
        "renameat,renameat2",
        "unlinkat",
        "flock",
    ] {
        let step = match call {
            _ if all => 1,
            "renameat,renameat2" => 3,
            _ => 8,
        };
        for count in (1..).step_by(step) {
            let place = prepared();
            let output = killed_at(&place, words, call, count);
            if output.status.signal() != Some(libc::SIGKILL) {
                output.code(0);
                break;
            }
            kills += 1;
            check(&place);
        }
    }
    kills
}

/// At whatever call a commit is killed, the workspace is either as it was, or
/// the commit can be finished, and nothing else is started there before.
#[test]
fn a_commit_that_is_killed_anywhere_is_finished_or_never_was() {
    require!(root, userns, tool("strace"), kernel(6, 6), userland);
    let fresh = place(NOBODY);
    let old = contents(&fresh);
    fresh.run(&copy("commit", WORK)).code(0);
    let new = contents(&fresh);
    assert_ne!(old, new);
    let files = |contents: &BTreeSet<String>| -> BTreeSet<String> {
        let lines = contents
            .iter()
            .filter(|line| !line.contains('/') || line.contains("/in"));
        lines.cloned().collect()
    };
    let either: BTreeSet<_> = files(&old).union(&files(&new)).cloned().collect();

    let words = [&["run"], &copy("commit", WORK)[..]].concat();
    let (mut begun, mut finished) = (0, 0);
    let kills = killed_everywhere(
        &words,
        || place(NOBODY),
        |place| {
            let now = contents(place);
            // Whole files, old or new.
            assert!(files(&now).is_subset(&either), "{now:?}");
            let pending = left(place)
                .iter()
                .any(|name| name.starts_with(".nucleus-commit-"));
            if pending {
                begun += 1;
                let refused = place.run(&["--workspace", "ws:ro", "--", "echo", "started"]);
                let refused = refused.code(125);
                assert_eq!(refused.out(), "");
                assert!(
                    refused
                        .err()
                        .contains("; finish it with: nucleus workspace commit "),
                    "{}",
                    refused.err()
                );
                let finish = place
                    .command("./nucleus")
                    .args(["workspace", "commit", "ws"])
                    .output();
                assert_eq!(finish.unwrap().code(0).err(), "");
                assert_eq!(left(place), [""; 0]);
                assert_eq!(contents(place), new);
            } else {
                finished += usize::from(now == new);
                assert!(now == old || now == new, "{now:?}");
                // What was gathered goes with the next commit.
                place.run(&copy("commit", "echo more > more")).code(0);
                assert_eq!(left(place), [""; 0]);
            }
        },
    );
    assert!(
        begun > 1 && kills > begun + finished,
        "{begun} {finished} {kills}"
    );
}

/// Finishing can be killed, too.
#[test]
fn finishing_a_commit_can_be_killed_and_finished() {
    require!(root, userns, tool("strace"), kernel(6, 6), userland);
    let interrupted = || {
        let place = place(NOBODY);
        let words = [&["run"], &copy("commit", WORK)[..]].concat();
        // The first rename says that all is on the disk.
        let output = killed_at(&place, &words, "renameat,renameat2", 3);
        assert_eq!(output.status.signal(), Some(libc::SIGKILL));
        assert_eq!(left(&place).len(), 1);
        place
    };
    let whole = interrupted();
    let finish = |place: &Place| {
        let output = place
            .command("./nucleus")
            .args(["workspace", "commit", "ws"])
            .output();
        output.unwrap().code(0);
        assert_eq!(left(place), [""; 0]);
        contents(place)
    };
    let new = finish(&whole);
    let words = ["workspace", "commit", "ws"];
    let kills = killed_everywhere(&words, interrupted, |place| assert_eq!(finish(place), new));
    assert!(kills > 2, "{kills}");
}

#[test]
fn an_interrupted_commit_is_shown_and_can_be_forgotten() {
    require!(root, userns, mapped_ids, tool("strace"), userland);
    for user in users() {
        let place = place(user);
        let workspace = |verb: &str| {
            let output = place
                .command("./nucleus")
                .args(["workspace", verb, "ws"])
                .output();
            output.unwrap().code(0)
        };
        assert_eq!(workspace("status").out(), "no commit was interrupted\n");
        let words = [&["run"], &copy("commit", WORK)[..]].concat();
        killed_at(&place, &words, "renameat,renameat2", 4);
        assert_eq!(
            workspace("status").out(),
            "a commit was interrupted after 2 of 10 changes\n"
        );
        let half = contents(&place);
        assert_eq!(workspace("discard").err(), "");
        assert_eq!(contents(&place), half);
        assert_eq!(left(&place), [""; 0]);
        assert_eq!(
            workspace("commit").err(),
            "nucleus: no commit to ws was interrupted\n"
        );
    }
}

/// Nobody's to finish but of who began it: another could have made it up.
#[test]
fn an_interrupted_commit_of_another_is_not_finished() {
    require!(root, userns, tool("strace"), kernel(6, 6), userland);
    let place = place(NOBODY);
    let words = [&["run"], &copy("commit", WORK)[..]].concat();
    killed_at(&place, &words, "renameat,renameat2", 3);
    let half = contents(&place);
    let mut command = std::process::Command::new(place.scratch.file("nucleus"));
    let output = command
        .args(["workspace", "commit", "ws"])
        .current_dir(place.scratch.path())
        .output()
        .unwrap()
        .code(125);
    assert!(
        output.err().contains("user 65534 began"),
        "{}",
        output.err()
    );
    assert_eq!(contents(&place), half);
}

/// What a program names like that cannot be taken for a commit.
#[test]
fn a_program_cannot_make_up_a_commit() {
    require!(root, userns, kernel(6, 6));
    let place = place(NOBODY);
    let script = "mkdir .nucleus-commit-1; echo x > .nucleus-commit-1/journal; touch new";
    let output = place.run(&copy("commit", script)).code(0);
    assert!(
        output.err().contains("a name that commits use"),
        "{}",
        output.err()
    );
    assert!(place.scratch.file("ws/new").exists());
    assert_eq!(left(&place), [""; 0]);
}

/// A commit for which there is no room changes nothing, and says what is lost.
#[test]
fn a_commit_without_room_changes_nothing() {
    require!(
        root,
        userns,
        kernel(6, 6),
        tool("unshare"),
        tool("mount"),
        tool("setpriv")
    );
    for user in users() {
        let place = Place::new(user);
        place.prepare("mkdir ws");
        let script = format!(
            "mount -t tmpfs -o size=64k,mode=777 none ws && echo old > ws/file && chown -R {user}:{user} ws \
             && setpriv --reuid {user} --regid {user} --clear-groups ./nucleus run --workspace \
             ws:cow --on-exit commit -- sh -c 'echo new > file; head -c 1000000 /dev/zero > big'; \
             echo $?; ls -A ws; cat ws/file"
        );
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        let output = command.current_dir(place.scratch.path()).output().unwrap();
        let output = output.code(0);
        assert_eq!(output.out(), "125\nfile\nold\n", "{}", output.err());
        assert_eq!(
            output.err(),
            "nucleus: cannot commit the changes to the workspace, which is as it was; what the \
             program wrote is lost: could not write \"big\" in the folder on the host: No space \
             left on device (os error 28)\n"
        );
    }
}
