//! Programs in the host's view: status, streams, signals, errors, and that
//! nothing outlives the one who started it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use nucleus_core::{Command, LaunchError, Stdio};
use nucleus_seccomp::{Action, Arch, Insn, Program, Syscall, offset, op};

fn sh(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

#[allow(clippy::unwrap_used, reason = "a test helper")]
/// A filter that answers one call with `action` and allows the rest.
fn deny(nr: i64, action: Action) -> Program {
    Program::new(vec![
        Insn::load(offset::NR),
        Insn::jump(op::JEQ_K, u32::try_from(nr).unwrap(), 0, 1),
        Insn::ret(action),
        Insn::ret(Action::Allow),
    ])
    .unwrap()
}

#[test]
fn exit_codes_and_signals_come_back_exactly() {
    for code in [0, 1, 125, 127, 255] {
        let status = sh(&format!("exit {code}")).status().unwrap();
        assert_eq!(status.code(), Some(code));
    }
    for signal in [1, 2, 9, 15, 31] {
        let status = sh(&format!("kill -{signal} $$")).status().unwrap();
        assert_eq!((status.code(), status.signal()), (None, Some(signal)));
    }
}

#[test]
fn streams_are_connected() {
    let mut child = sh("cat; echo err >&2")
        .stdin(Stdio::Piped)
        .stdout(Stdio::Piped)
        .stderr(Stdio::Piped)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"in").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"in");
    assert_eq!(output.stderr, b"err\n");
}

#[test]
fn large_output_on_both_streams_does_not_block() {
    let output = sh("head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2")
        .output()
        .unwrap();
    assert_eq!(
        (output.stdout.len(), output.stderr.len()),
        (1_000_000, 1_000_000)
    );
}

#[test]
fn environment_and_folder_are_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("/bin/sh")
        .args([
            "-c",
            "env | grep -v -e ^PWD= -e ^OLDPWD= -e ^_= -e ^SHLVL= ; pwd -P",
        ])
        .env_clear()
        .env("B", "2")
        .env("A", "1")
        .env("PATH", "/usr/bin:/bin")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let mut lines: Vec<_> = std::str::from_utf8(&output.stdout)
        .unwrap()
        .lines()
        .collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [folder.to_str().unwrap(), "A=1", "B=2", "PATH=/usr/bin:/bin"]
    );
}

#[test]
fn the_program_has_a_clean_start() {
    let output = Command::new("/bin/cat")
        .arg("/proc/self/status")
        .output()
        .unwrap();
    let status = String::from_utf8(output.stdout).unwrap();
    let mask = |status: &str, name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    assert_eq!(mask(&status, "SigBlk:"), 0);
    assert_eq!(mask(&status, "SigCgt:"), 0);
    // Rust's runtime ignores SIGPIPE in this process; the rest is inherited.
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let sigpipe = 1 << (libc::SIGPIPE - 1);
    assert_eq!(mask(&own, "SigIgn:") & sigpipe, sigpipe);
    assert_eq!(mask(&status, "SigIgn:"), mask(&own, "SigIgn:") & !sigpipe);

    // Only the streams, and the one that ls has on the folder.
    let output = Command::new("/bin/ls")
        .arg("/proc/self/fd")
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"0\n1\n2\n3\n");
}

#[test]
fn a_missing_program_is_127() {
    let error = Command::new("no-such-program-here").spawn().unwrap_err();
    assert_eq!(error.exit_code(), 127);
    assert!(matches!(&error, LaunchError::NotFound { searched, .. } if !searched.is_empty()));
    let error = Command::new("/no/such/program").spawn().unwrap_err();
    assert_eq!(error.to_string(), "program \"/no/such/program\" not found");
    assert_eq!(Command::new("").spawn().unwrap_err().exit_code(), 127);
}

#[test]
fn what_cannot_be_executed_is_126() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let check = |path: &Path, errno: i32| {
        let error = Command::new(path).spawn().unwrap_err();
        assert_eq!(error.exit_code(), 126, "{error}");
        match error {
            LaunchError::NotExecutable { source, .. } => {
                assert_eq!(source.raw_os_error(), Some(errno));
            }
            other => panic!("{other:?}"),
        }
    };
    check(&write("plain", "#!/bin/sh\n", 0o644), libc::EACCES);
    check(
        &write("garbage", "neither binary nor script", 0o755),
        libc::ENOEXEC,
    );
    check(folder.path(), libc::EISDIR);

    let orphan = write("orphan", "#!/no/such/interpreter\n", 0o755);
    let error = Command::new(orphan).spawn().unwrap_err();
    assert!(
        matches!(error, LaunchError::InterpreterMissing { .. }),
        "{error:?}"
    );
    assert_eq!(error.exit_code(), 126);
}

#[test]
fn a_missing_folder_names_the_step() {
    let error = Command::new("true")
        .current_dir("/no/such/folder")
        .spawn()
        .unwrap_err();
    assert_eq!(error.exit_code(), 125);
    assert_eq!(
        error.to_string(),
        "could not enter the working directory \"/no/such/folder\": chdir failed"
    );
}

#[test]
fn a_filter_is_in_force_and_implies_no_new_privs() {
    // Newer architectures have no mkdir(2).
    let mkdir = Syscall::by_name(Arch::native().unwrap(), "mkdir")
        .or_else(|| Syscall::by_name(Arch::native().unwrap(), "mkdirat"))
        .unwrap();
    let filter = deny(mkdir.number().into(), Action::Errno(13));
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new("mkdir")
        .arg(folder.path().join("new"))
        .filter(filter.clone())
        .stderr(Stdio::Null)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(!folder.path().join("new").exists());

    let output = Command::new("cat")
        .arg("/proc/self/status")
        .filter(filter)
        .output()
        .unwrap();
    let status = String::from_utf8(output.stdout).unwrap();
    assert!(status.contains("NoNewPrivs:\t1\n"));
    assert!(status.contains("Seccomp_filters:\t1\n"));
}

#[test]
fn a_filter_without_execve_says_so() {
    for action in [
        Action::KillProcess,
        Action::KillThread,
        Action::Trap(0),
        Action::Errno(1),
        Action::Errno(2),
        Action::Errno(13),
        Action::Trace(0),
        Action::Notify,
    ] {
        let error = Command::new("true")
            .filter(deny(libc::SYS_execve, action))
            .spawn()
            .unwrap_err();
        assert_eq!(error.exit_code(), 125);
        match error {
            LaunchError::FilterForbidsExec { path, action: said } => {
                assert_eq!(said, action);
                assert!(path.ends_with("true"), "{path:?}");
            }
            other => panic!("{action}: {other:?}"),
        }
    }
}

#[test]
fn a_held_program_waits_and_can_be_seized() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ran");
    let mut child = Command::new("touch").arg(&file).hold(true).spawn().unwrap();
    let pid = i32::try_from(child.program_pid()).unwrap();
    // SAFETY: PTRACE_SEIZE takes no memory.
    let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
    assert_eq!(seized, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: as above.
    unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0) };
    // SAFETY: no status is asked for.
    let stopped = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
    assert_eq!(stopped, pid);
    assert!(!file.exists());
    // SAFETY: as above.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) };

    child.release().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(file.exists());
}

#[test]
fn a_held_program_that_is_missing_is_found_out_before_it_is_held() {
    let error = Command::new("/no/such/program")
        .hold(true)
        .spawn()
        .unwrap_err();
    assert_eq!(error.exit_code(), 127);
}

#[test]
fn what_fails_after_letting_go_comes_from_wait() {
    let mut child = Command::new("true")
        .filter(deny(libc::SYS_execve, Action::Errno(1)))
        .hold(true)
        .spawn()
        .unwrap();
    child.let_go().unwrap();
    assert!(matches!(
        child.wait(),
        Err(LaunchError::FilterForbidsExec { .. })
    ));
}

#[test]
fn a_held_program_that_is_killed_did_not_start() {
    let mut child = Command::new("true").hold(true).spawn().unwrap();
    child.signal(libc::SIGKILL).unwrap();
    assert!(matches!(
        child.wait(),
        Err(LaunchError::KilledEarly { signal: 9 })
    ));
}

#[test]
fn signals_reach_the_program() {
    let mut child = sh("trap 'exit 7' TERM; echo ready; while :; do read -r line; done")
        .stdin(Stdio::Piped)
        .stdout(Stdio::Piped)
        .spawn()
        .unwrap();
    let stdin = child.stdin.take();
    let mut ready = [0; 6];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut ready)
        .unwrap();
    child.signal(libc::SIGTERM).unwrap();
    drop(stdin);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(7));
}

#[test]
fn wait_waits_for_the_last_descendant() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("late");
    // The pipe's writer is the orphan alone: it writes after its parent ended.
    let (read, write) = std::io::pipe().unwrap();
    let mut child = sh(&format!(
        "exec 3<&0; (read -r line <&3; echo done > {}) & exit 3",
        file.display()
    ))
    .stdin(Stdio::Fd(read.into()))
    .spawn()
    .unwrap();
    while child.try_wait().unwrap().is_none() && ended(child.program_pid()).is_none() {
        std::thread::yield_now();
    }
    assert!(!file.exists());
    drop(write);
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(file.exists());
}

/// Whether a process is gone.
fn ended(pid: u32) -> Option<()> {
    (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
}

#[test]
fn kill_reaches_daemons() {
    let folder = tempfile::tempdir().unwrap();
    let (mut read, write) = std::io::pipe().unwrap();
    let script =
        "setsid sh -c '(setsid sleep 1000 & echo $!; exit 0) & wait; exec sleep 1000' & wait";
    let mut child = sh(script)
        .current_dir(folder.path())
        .stdout(Stdio::Fd(write.into()))
        .spawn()
        .unwrap();
    let mut line = [0; 1];
    read.read_exact(&mut line).unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    // Every process that could write to the pipe is gone.
    let mut rest = Vec::new();
    read.read_to_end(&mut rest).unwrap();
}

#[test]
fn dropping_a_child_kills_it() {
    let (mut read, write) = std::io::pipe().unwrap();
    let child = sh("echo ready; sleep 1000 & sleep 1000")
        .stdout(Stdio::Fd(write.into()))
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    read.read_exact(&mut ready).unwrap();
    drop(child);
    let mut rest = Vec::new();
    read.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn threads_can_spawn_at_the_same_time() {
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for _ in 0..10 {
                    let output = sh(&format!("echo {thread}")).output().unwrap();
                    assert_eq!(output.stdout, format!("{thread}\n").as_bytes());
                }
            });
        }
    });
}

#[test]
fn a_held_program_does_not_block_another_launch() {
    let mut held = Command::new("true").hold(true).spawn().unwrap();
    assert!(Command::new("true").status().unwrap().success());
    held.release().unwrap();
    assert!(held.wait().unwrap().success());
}

/// Not a test: what `nothing_outlives_a_killed_parent` starts, in a process
/// of its own, to kill it.
#[test]
fn helper_that_starts_daemons() {
    if std::env::var_os("NUCLEUS_CORE_TEST_HELPER").is_none() {
        return;
    }
    // From a thread that ends, which must not end the program.
    let child = std::thread::spawn(|| {
        sh("setsid sh -c '(setsid sleep 1000 & exit 0); (sleep 1000 & exit 0); echo ready; exec sleep 1000' & wait")
            .stdin(Stdio::Null)
            .spawn()
            .unwrap()
    });
    let status = child.join().unwrap().wait();
    panic!("ended by itself: {status:?}");
}

#[test]
fn nothing_outlives_a_killed_parent() {
    for stopped in [false, true] {
        let (mut read, write) = std::io::pipe().unwrap();
        let mut helper = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "helper_that_starts_daemons", "--nocapture"])
            .env("NUCLEUS_CORE_TEST_HELPER", "1")
            .stdin(std::process::Stdio::null())
            .stdout(write.try_clone().unwrap())
            .stderr(write)
            .spawn()
            .unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"ready\n") {
            let mut byte = [0];
            read.read_exact(&mut byte).unwrap();
            seen.push(byte[0]);
        }
        if stopped {
            let init = fs::read_to_string(format!("/proc/{0}/task/{0}/children", helper.id()));
            let threads = fs::read_dir(format!("/proc/{}/task", helper.id())).unwrap();
            let mut children = init.unwrap();
            for thread in threads {
                let path = thread.unwrap().path().join("children");
                children += &fs::read_to_string(path).unwrap();
            }
            let init: i32 = children.split_whitespace().next().unwrap().parse().unwrap();
            // SAFETY: kill takes no memory.
            assert_eq!(unsafe { libc::kill(init, libc::SIGSTOP) }, 0);
        }
        helper.kill().unwrap();
        helper.wait().unwrap();
        // End of file: every process that had the pipe is gone.
        let mut rest = Vec::new();
        read.read_to_end(&mut rest).unwrap();
    }
}

#[test]
fn the_listener_of_a_filter_is_handed_over_before_exec() {
    for call in [libc::SYS_uname, libc::SYS_execve] {
        let mut child = Command::new("uname")
            .filter(deny(call, Action::Notify))
            .listen(true)
            .stderr(Stdio::Null)
            .spawn()
            .unwrap();
        let listener = child.take_listener().unwrap();
        // The program waits in its call until somebody answers.
        let mut fds = [rustix::event::PollFd::new(
            &listener,
            rustix::event::PollFlags::IN,
        )];
        assert_eq!(rustix::event::poll(&mut fds, None), Ok(1));
        assert!(child.try_wait().unwrap().is_none());
        if call == libc::SYS_execve {
            // Before exec the program itself still holds the listener open.
            child.kill().unwrap();
            assert!(matches!(
                child.wait(),
                Err(LaunchError::KilledEarly { signal: 9 })
            ));
        } else {
            // With no listener left the call fails with ENOSYS.
            drop(listener);
            assert_eq!(child.wait().unwrap().code(), Some(1));
        }
    }
}

#[test]
fn a_program_that_never_gets_to_its_filter_has_no_listener() {
    let mut child = Command::new("true")
        .filter(deny(libc::SYS_uname, Action::Notify))
        .listen(true)
        .spawn()
        .unwrap();
    child.signal(libc::SIGKILL).unwrap();
    assert!(matches!(
        child.take_listener(),
        Err(LaunchError::KilledEarly { signal: 9 })
    ));
}
