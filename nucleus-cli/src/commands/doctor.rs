//! `nucleus doctor`: what this host lets nucleus enforce, found out by doing.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nucleus_audit::{LogKind, LogPurpose, LogSource, PtraceMode};
use nucleus_cgroup::Controller;
use nucleus_core::{Access, Command, Isolation, Stdio, UserNamespace, View};
use nucleus_seccomp::{Action, Insn, Program};
use serde::Serialize;

use super::sandbox::cgroup::Found;
use crate::exit::Exit;
use crate::session::{self, Attendants, Tracing};

/// Find out what can be enforced here
///
/// Tries each protection and each source of events in a throw-away process,
/// as the user who runs it, and says what fails, why, and what nucleus does
/// without it. The exit code is 0 when the default sandbox works, 1 when not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus doctor
  nucleus doctor --json | jq '.[] | select(.works | not)'")]
pub(crate) struct Args {
    /// Print JSON: what, whether it works, the details, what it is needed for
    #[arg(long)]
    json: bool,
}

/// One thing that was tried.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    works: bool,
    /// What was found, or why it does not work and how it would.
    details: String,
    /// What nucleus uses it for.
    used_for: &'static str,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let findings = examine();
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &findings)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        findings.iter().try_for_each(|finding| {
            let works = if finding.works { "yes" } else { "NO" };
            let Finding { what, details, .. } = finding;
            writeln!(out, "{works:4}{what:22} {details}")?;
            if !finding.works {
                writeln!(out, "    {:22} needed for: {}", "", finding.used_for)?;
            }
            Ok(())
        })
    }
    .context("cannot write to standard output")?;
    let sandbox = findings.first().is_some_and(|finding| finding.works);
    Ok(if sandbox {
        Exit::SUCCESS
    } else {
        Exit::DIFFERENT
    })
}

fn examine() -> Vec<Finding> {
    let mut findings = vec![
        finding(
            "default sandbox",
            "run, trace and learn without --host",
            || sandbox(Isolation::new()),
        ),
        finding("sandbox in a sandbox", "--allow-nested", nested),
        finding(
            "ids that own nothing",
            "--userns nomap, --userns auto, --uidmap",
            other_ids,
        ),
        finding(
            "capabilities inside",
            "--cap-add, --caps-policy",
            capability,
        ),
        finding(
            "reduced sandbox",
            "--no-userns, for root --userns host, where there is no default sandbox",
            reduced,
        ),
        finding(
            "write grants",
            "--workspace, --volume SRC:DST:rw",
            workspace,
        ),
        finding(
            "Landlock",
            "the second wall; --no-landlock does without",
            landlock,
        ),
        finding("seccomp filters", "every profile", filter),
        finding(
            "seccomp notification",
            "decisions while the program runs",
            listener,
        ),
        finding("ptrace", "trace and learn; --seccomp-log-denied", ptrace),
        finding("audit records", "--source audit; audit watch", || {
            log(LogKind::Audit)
        }),
        finding("kernel log", "--source kmsg", || log(LogKind::Kmsg)),
    ];
    findings.extend(
        [
            ("cgroup memory", Controller::Memory, "--memory"),
            ("cgroup cpu", Controller::Cpu, "--cpus"),
            ("cgroup pids", Controller::Pids, "--pids"),
        ]
        .map(|(what, controller, used_for)| finding(what, used_for, move || cgroup(controller))),
    );
    findings
}

fn finding<D: Display + Send + 'static>(
    what: &'static str,
    used_for: &'static str,
    probe: impl FnOnce() -> anyhow::Result<D> + Send + 'static,
) -> Finding {
    let (works, details) = match within(PATIENCE, probe) {
        Ok(details) => (true, details.to_string()),
        Err(error) => (false, format!("{error:#}")),
    };
    Finding {
        what,
        works,
        details,
        used_for,
    }
}

/// How long one probe may take; on a machine that is overloaded it may wait for
/// ever for what others hold.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a probe answers in time. One that does not is left behind, on a thread
/// that ends with this process.
fn within<T: Send + 'static>(
    limit: Duration,
    probe: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let (answer, answers) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("probe".into());
    thread
        .spawn(move || {
            // Nobody waits any more when it comes too late.
            answer.send(probe()).ok();
        })
        .context("cannot start a thread")?;
    match answers.recv_timeout(limit) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => bail!("no answer within {limit:?}"),
        Err(RecvTimeoutError::Disconnected) => bail!("the probe panicked"),
    }
}

/// `true`, without a word.
fn quiet(name: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(name);
    command
        .stdin(Stdio::Null)
        .stdout(Stdio::Null)
        .stderr(Stdio::Null);
    command
}

fn succeeds(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "the program in it ended with {status}");
    Ok(())
}

fn sandbox(sandbox: Isolation) -> anyhow::Result<&'static str> {
    succeeds(quiet("true").view(View::Isolated(sandbox)))?;
    Ok("namespaces, mounts, ids, capabilities and Landlock are in force")
}

fn other_ids() -> anyhow::Result<&'static str> {
    let sandbox = Isolation::new().user_namespace(UserNamespace::NoMap);
    succeeds(quiet("true").view(View::Isolated(sandbox)))?;
    Ok("a range of ids is there to be mapped")
}

fn capability() -> anyhow::Result<&'static str> {
    let sandbox = Isolation::new().capability("net_bind_service".parse()?);
    succeeds(quiet("true").view(View::Isolated(sandbox)))?;
    Ok("tried with CAP_NET_BIND_SERVICE, over a network of its own")
}

/// Root has another way without user namespaces, with more walls. Anybody else
/// tries in a process of its own: who starts a reduced sandbox closes itself to
/// tracers, and could start no other one then.
fn reduced() -> anyhow::Result<&'static str> {
    if rustix::process::geteuid().is_root() {
        let view = Isolation::new().user_namespace(UserNamespace::Host);
        let tried = succeeds(quiet("true").view(View::Isolated(view)));
        if tried.is_ok() {
            return Ok("root gets --userns host: all but the user namespace is in force");
        }
        // Root of a user namespace, perhaps, which is a user like any other.
    }
    let itself = std::env::current_exe().context("cannot find the path of nucleus")?;
    let output = std::process::Command::new(itself)
        .args(["run", "--no-userns", "--", "true"])
        .stdin(std::process::Stdio::null())
        .output()
        .context("cannot start nucleus")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    ensure!(
        output.status.success(),
        "{}",
        last.trim_start_matches("nucleus: ")
    );
    Ok("Landlock, limits and no_new_privs are in force without namespaces")
}

fn nested() -> anyhow::Result<&'static str> {
    let itself = std::env::current_exe().context("cannot find the path of nucleus")?;
    let outer = Isolation::new().nested(true);
    let mut command = quiet(itself);
    command.args(["run", "--", "true"]);
    succeeds(command.view(View::Isolated(outer)))?;
    Ok("a nucleus in it starts a sandbox of its own")
}

fn workspace() -> anyhow::Result<&'static str> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let view = Isolation::new().volume(folder.path(), "/grant", Access::ReadWrite);
    let mut command = quiet("touch");
    command.arg("/grant/written").view(View::Isolated(view));
    succeeds(&mut command)?;
    ensure!(
        folder.path().join("written").exists(),
        "what the program wrote did not arrive"
    );
    Ok("tried on the temporary folder's file system")
}

fn landlock() -> anyhow::Result<String> {
    let abi = nucleus_core::landlock_abi();
    ensure!(
        abi > 0,
        "not in this kernel, or not in the lsm= list of its command line"
    );
    let enforcement = Isolation::new().landlock_enforcement(abi, true);
    Ok(format!("ABI {abi}: enforced {enforcement}"))
}

fn allow_all() -> anyhow::Result<Program> {
    Ok(Program::new(vec![Insn::ret(Action::Allow)])?)
}

fn filter() -> anyhow::Result<&'static str> {
    succeeds(quiet("true").filter(allow_all()?))?;
    Ok("without privilege, by no_new_privs")
}

fn listener() -> anyhow::Result<&'static str> {
    let mut child = quiet("true").filter(allow_all()?).listen(true).spawn()?;
    drop(child.take_listener()?);
    ensure!(child.wait()?.success(), "the program in it failed");
    Ok("a listener was handed over")
}

fn ptrace() -> anyhow::Result<String> {
    let mut calls = 0_u32;
    let mut command = quiet("true");
    command.filter(Program::trace_all());
    let observe = Box::new(|_event: &_, _pid| calls += 1);
    let attendants = Attendants {
        tracer: Some(Tracing::observing(PtraceMode::Record, observe)),
        ..Attendants::default()
    };
    session::attend(&mut command.into(), attendants)?;
    ensure!(calls > 0, "the tracer saw no call");
    Ok(format!("saw the {calls} calls of true"))
}

fn log(kind: LogKind) -> anyhow::Result<&'static str> {
    LogSource::open(kind, LogPurpose::Denials)?;
    Ok("opened")
}

fn cgroup(controller: Controller) -> anyhow::Result<&'static str> {
    let found = Found::for_controllers(&BTreeSet::from([controller]))?;
    Ok(match found.scope {
        None => "a limited cgroup can be made",
        Some(_scope) => "a limited cgroup can be made, in a scope of the user's systemd",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_that_does_not_answer_is_left_behind() {
        let (open, never) = mpsc::channel::<()>();
        let stuck = within(Duration::from_millis(10), move || Ok(never.recv()?));
        let error = stuck.unwrap_err().to_string();
        assert_eq!(error, "no answer within 10ms");
        drop(open);
        assert_eq!(within(PATIENCE, || Ok(7)).unwrap(), 7);
    }
}
