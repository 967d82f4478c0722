//! A machine whose first process is systemd; the runner of the tests is a
//! service of it.

use std::convert::Infallible;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

const SYSTEMD: &str = "/usr/lib/systemd/systemd";
const UNITS: &str = "/run/systemd/system";
const UNIT: &str = "vm-runner.service";

/// The bus of the user is started with the manager, and not by the first
/// program that asks: it would look like something that a test has left.
const SERVICE: &str = "\
[Unit]
Description=Tests
DefaultDependencies=no
Requires=dbus.socket systemd-logind.service user@1000.service
After=dbus.socket systemd-logind.service user@1000.service
SuccessAction=poweroff-immediate
FailureAction=poweroff-immediate

[Service]
Type=oneshot
TasksMax=infinity
StandardOutput=null
StandardError=kmsg
ExecStartPre=setpriv --reuid=1000 --regid=1000 --clear-groups \
env XDG_RUNTIME_DIR=/run/user/1000 systemctl --user start dbus.service
";

/// Becomes systemd, which starts this program again with `argument`.
pub(crate) fn start(argument: &str) -> Result<Infallible> {
    fs::create_dir_all(UNITS).with_context(|| format!("making {UNITS}"))?;
    let service = format!("{SERVICE}ExecStart=/init {argument}\n");
    fs::write(format!("{UNITS}/{UNIT}"), service).with_context(|| format!("writing {UNIT}"))?;
    let failed = Command::new(SYSTEMD)
        .arg(format!("--unit={UNIT}"))
        .arg("--show-status=no")
        .exec();
    Err(failed).with_context(|| format!("starting {SYSTEMD}"))
}
