//! Machines that lack something, or have it in another way: each test runs
//! where `cargo xtask vm-test` has booted one.

#![allow(
    clippy::expect_used,
    reason = "what the helpers cannot do fails the test that asked for it"
)]

use nucleus_cgroup::{Controller, Host, Layout};
use nucleus_tests::nucleus::{Said as _, nucleus};
use nucleus_tests::{kernel, require};

fn errno(result: std::io::Result<()>) -> Option<i32> {
    result
        .map_err(|error| error.raw_os_error().unwrap_or(0))
        .err()
}

#[test]
fn audit_records_can_be_read_with_audit_on() {
    require!(machine("audit=1"), root);
    assert_eq!(errno(kernel::join_audit_group()), None);
}

#[test]
fn audit_has_no_socket_when_switched_off() {
    require!(machine("audit=0"), root);
    assert_eq!(
        errno(kernel::join_audit_group()),
        Some(libc::EPROTONOSUPPORT)
    );
}

#[test]
fn watching_without_audit_is_refused() {
    require!(machine("audit=0"), root);
    refused(&["audit", "watch", "--all", "--source=audit"], "audit=0");
    refused(&["audit", "watch", "--all", "--source=kmsg"], "audit=0");
}

#[test]
fn user_namespaces_are_used_up_at_once() {
    require!(machine("no-userns"));
    assert_eq!(errno(kernel::enter_user_namespace()), Some(libc::ENOSPC));
}

#[test]
fn a_sandbox_without_userns_is_refused_by_the_name_of_the_setting() {
    require!(machine("no-userns"));
    refused(&["run", "--", "true"], "user.max_user_namespaces");
}

#[test]
fn tracing_against_yama_is_refused_by_the_name_of_the_setting() {
    require!(machine("yama-3"));
    let trace = ["trace", "--host", "-o", "/tmp/trace", "--", "true"];
    refused(&trace, "kernel.yama.ptrace_scope");
}

/// nucleus fails by itself and names the cause; the program does not run.
fn refused(arguments: &[&str], cause: &str) {
    let output = nucleus(arguments).output().expect("nucleus").code(125);
    assert!(output.err().contains(cause), "{}", output.err());
}

/// Level 1 lets a parent trace its child, level 2 lets root, level 3 nobody.
#[test]
fn yama_decides_who_may_ptrace() {
    require!(root);
    let expected = match std::env::var("NUCLEUS_TEST_GROUP").as_deref() {
        Ok("plain" | "yama-1" | "yama-2") => None,
        Ok("yama-3") => Some(libc::EPERM),
        _ => {
            require!(machine("yama-3"));
            return;
        }
    };
    assert_eq!(errno(kernel::trace_a_child()), expected);
}

#[test]
fn controllers_of_version_1_are_named_in_the_hybrid_layout() {
    require!(machine("hybrid-cgroups"), root);
    let host = Host::detect().unwrap();
    assert_eq!(host.layout(), Layout::Hybrid);
    assert!(host.is_v1(Controller::Pids));
    let wanted = [Controller::Pids].into();
    let error = host.require_v2(&wanted).unwrap_err();
    assert!(error.to_string().contains("pids"), "{error}");
}

#[test]
fn a_new_root_can_be_entered_by_pivot_root() {
    require!(root, tool("unshare"), tool("pivot_root"));
    let script = "mount -t tmpfs tmpfs /mnt && mkdir /mnt/old && cd /mnt \
        && pivot_root . old && test -d /old/usr";
    let status = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn real_programs_run() {
    require!(
        tool("bash"),
        tool("dash"),
        tool("git"),
        tool("perl"),
        tool("python3")
    );
    for (program, arguments, expected) in [
        ("bash", ["-c", "echo $((6 * 7))"], "42"),
        ("dash", ["-c", "echo $((6 * 7))"], "42"),
        (
            "git",
            ["hash-object", "/dev/null"],
            "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
        ),
        ("perl", ["-e", "print 6 * 7"], "42"),
        ("python3", ["-c", "print(6 * 7)"], "42"),
    ] {
        let output = std::process::Command::new(program)
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.trim_end(), expected, "{program}: {output:?}");
    }
}
