//! The first process of a test VM.
//!
//! It sets the guest up, then starts itself again as the runner of the tests
//! and reaps whatever loses its parent: tests look whether a process is gone,
//! and a zombie is not. It powers the machine off when the runner has ended.
//! Where the machine is to have systemd, all but the setting up is left to that.

mod leftovers;
mod runner;
mod setup;
mod systemd;

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use nucleus_tests::vm::{Cgroups, Event, JOB, Job};
use rustix::process::{Pid, WaitOptions, WaitStatus};
use rustix::system::{RebootCommand, reboot};

const RUNNER: &str = "--runner";
const SERVICE: &str = "--service";

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some(RUNNER) => {
            // As below a shell: a parent in the same session, else the process
            // group of a test is an orphan and cannot be stopped from a
            // terminal's keys.
            rustix::process::setsid().context("starting a session")?;
            return runner::run(&job()?, &port()?);
        }
        Some(SERVICE) => {
            let job = job()?;
            if job.shell {
                return shell(&job);
            }
            return match runner::run(&job, &port()?) {
                Ok(()) => Ok(()),
                Err(error) => say_broken(&job, &format!("{error:#}")),
            };
        }
        _ => {}
    }
    if !rustix::process::getpid().is_init() {
        bail!("this is the init of a test VM and no use elsewhere");
    }
    if let Err(error) = init() {
        // The console is all that is left; the host shows it when no verdict
        // comes.
        eprintln!("vm-init: {error:#}");
    }
    reboot(RebootCommand::PowerOff).context("powering off")?;
    bail!("the machine is still on")
}

fn init() -> Result<()> {
    setup::leave_rootfs()?;
    setup::mount_kernel_file_systems()?;
    setup::load_modules()?;
    let job = job()?;
    let prepared = setup::prepare(&job);
    let prepared = prepared.and_then(|()| match job.cgroups {
        Cgroups::Unified | Cgroups::Hybrid => Ok(()),
        Cgroups::Systemd => systemd::start(SERVICE).map(|never| match never {}),
    });
    if job.shell {
        prepared?;
        return shell(&job);
    }
    if let Err(error) = prepared {
        return say_broken(&job, &format!("{error:#}"));
    }
    let runner = Command::new("/proc/self/exe")
        .arg0("vm-runner")
        .arg(RUNNER)
        .spawn()
        .context("starting the runner")?;
    let pid = i32::try_from(runner.id()).context("the runner's process id")?;
    let status = reap_until(Pid::from_raw(pid).context("the runner's process id")?)?;
    if status.exit_status() != Some(0) {
        return say_broken(
            &job,
            &format!("the runner of the tests ended early: {status:?}"),
        );
    }
    Ok(())
}

/// Reaps every process that ends, until `last` has.
fn reap_until(last: Pid) -> Result<WaitStatus> {
    loop {
        let ended = rustix::process::wait(WaitOptions::empty()).context("waiting for a process")?;
        if let Some((pid, status)) = ended
            && pid == last
        {
            return Ok(status);
        }
    }
}

fn say_broken(job: &Job, why: &str) -> Result<()> {
    let why = why.to_owned();
    port()?
        .write_all(&Event::Broken { why }.to_line(&job.nonce))
        .context("reporting to the host")
}

/// A login-like shell on the serial console, until the person leaves it.
fn shell(job: &Job) -> Result<()> {
    let console = File::options()
        .read(true)
        .write(true)
        .open("/dev/ttyS0")
        .context("opening /dev/ttyS0")?;
    let shell = Command::new("/bin/busybox")
        .args(["setsid", "-c", "/bin/bash", "-i"])
        .envs(job.phases.iter().flat_map(|phase| &phase.environment))
        .env("HOME", "/root")
        .env("TERM", "linux")
        .env("PS1", "vm:\\w# ")
        .stdin(console.try_clone().context("sharing the console")?)
        .stdout(console.try_clone().context("sharing the console")?)
        .stderr(console)
        .spawn()
        .context("starting bash")?;
    let pid = i32::try_from(shell.id()).context("the shell's process id")?;
    reap_until(Pid::from_raw(pid).context("the shell's process id")?)?;
    Ok(())
}

fn job() -> Result<Job> {
    let json = std::fs::read(JOB).with_context(|| format!("reading {JOB}"))?;
    serde_json::from_slice(&json).with_context(|| format!("parsing {JOB}"))
}

/// The serial port to the host.
fn port() -> Result<File> {
    let path: PathBuf = setup::port_device()?;
    File::options()
        .write(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))
}
