//! Starts a machine and follows what it says until it ends.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nucleus_tests::vm::PORT;

use crate::shell;
use crate::vm::verdict::{self, End};

/// How long a machine may take until it says its first word: 4 to 16 s under
/// translation, by the kernel and by what else the host does.
const BOOT: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Accelerator {
    /// KVM where it can run a stock kernel, else TCG
    Auto,
    /// The processor's own virtualisation
    Kvm,
    /// Translation; works everywhere
    Tcg,
}

impl Accelerator {
    /// What `Auto` means on this machine.
    ///
    /// A writable `/dev/kvm` is not enough: it may belong to a hypervisor that
    /// runs guests without the processor's help, and stock kernels die in it.
    pub(crate) fn resolve(self) -> Result<Self> {
        if self != Self::Auto {
            return Ok(self);
        }
        let writable = File::options().write(true).open("/dev/kvm").is_ok();
        let processor =
            std::fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
        let flags = processor.lines().find(|line| line.starts_with("flags"));
        let able =
            flags.is_some_and(|line| line.split(' ').any(|flag| flag == "vmx" || flag == "svm"));
        Ok(if writable && able {
            Self::Kvm
        } else {
            Self::Tcg
        })
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host", "-smp", "2"],
            // With a thread for each of several processors, one can run code
            // that another is patching, half old and half new: that broke one
            // boot of a new kernel in ten. With one thread for two, each has
            // turns of 0.1 s, and who hands work over between them, as a tracer
            // does, waits that long each time: a test of 2 s took 73.
            Self::Auto | Self::Tcg => &[
                "-accel",
                "tcg,thread=single,tb-size=256",
                "-cpu",
                "max",
                "-smp",
                "1",
            ],
        }
    }
}

/// A machine to start.
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) image: &'a Path,
    /// Added to the kernel's command line.
    pub(crate) append: &'a str,
    pub(crate) accelerator: Accelerator,
    pub(crate) memory: u32,
    /// Where the serial console is written.
    pub(crate) console: PathBuf,
    /// The machine has hung when it says nothing for this long.
    pub(crate) silence: Duration,
    /// And when it runs for longer than this.
    pub(crate) limit: Duration,
}

impl Machine<'_> {
    /// Runs until `line` has said that all is done, or until the machine ends.
    /// `line` gets every line that comes over the port, with its end.
    pub(crate) fn run(&self, mut line: impl FnMut(&[u8]) -> Result<Said>) -> Result<End> {
        let mut command = self.command();
        command
            .arg("-serial")
            .arg(format!("file:{}", self.console.display()));
        // A file and not stdio: QEMU would take the end of its standard input
        // for a closed port, and the guest would wait for ever.
        command.args(["-device", "virtio-serial-pci"]);
        command.args(["-chardev", "file,id=out,path=/dev/stdout,append=on"]);
        command
            .arg("-device")
            .arg(format!("virtserialport,chardev=out,name={PORT}"));
        let mut qemu = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting qemu-system-x86_64")?;
        let lines = lines(&mut qemu)?;

        let deadline = Instant::now() + self.limit;
        let mut said = Said::Nothing;
        let why = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let patience = match said {
                Said::Nothing => BOOT.max(self.silence),
                Said::Something => self.silence,
                // It has nothing left to do but to power off.
                Said::Done => Duration::from_secs(15),
            };
            match lines.recv_timeout(patience.min(left)) {
                Ok(bytes) => {
                    if said != Said::Done {
                        said = line(&bytes)?;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) if left <= patience => {
                    break Some(format!("still running after {} s", self.limit.as_secs()));
                }
                Err(RecvTimeoutError::Timeout) => {
                    break Some(format!("said nothing for {} s", patience.as_secs()));
                }
            }
        };
        if why.is_some() {
            qemu.kill().context("killing qemu")?;
        }
        let status = qemu.wait().context("waiting for qemu")?;
        if said == Said::Done {
            return Ok(End::Done);
        }
        let console = verdict::console(&self.console)?;
        Ok(verdict::explain(&console, why, status))
    }

    /// Runs with the console on our terminal.
    pub(crate) fn attend(&self) -> Result<()> {
        let mut command = self.command();
        // Ctrl-C goes to the guest.
        command.args(["-chardev", "stdio,id=console,signal=off"]);
        command.args(["-serial", "chardev:console", "-device", "virtio-serial-pci"]);
        let status = command.status().context("starting qemu-system-x86_64")?;
        if !status.success() {
            bail!("qemu ended with {status}");
        }
        Ok(())
    }

    fn command(&self) -> Command {
        // Should we die, so does the machine.
        let setpriv = shell::find("setpriv").unwrap_or_else(|| "setpriv".into());
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args(["-nodefaults", "-no-user-config", "-no-reboot"]);
        command.args(["-display", "none", "-monitor", "none", "-machine", "q35"]);
        command.args(self.accelerator.arguments());
        command.args(["-m", &self.memory.to_string()]);
        command.arg("-kernel").arg(self.kernel);
        command.arg("-initrd").arg(self.image);
        // Level 4 shows errors, so that the console tells an exhausted memory
        // and a lock-up. Without tsc=reliable some kernels settle for a slow
        // clock under translation.
        let append = format!(
            "console=ttyS0 quiet loglevel=4 panic=-1 tsc=reliable no_timer_check log_buf_len=16M {}",
            self.append
        );
        command.arg("-append").arg(append);
        command
    }
}

/// What the guest said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Nothing,
    Something,
    Done,
}

fn lines(qemu: &mut Child) -> Result<Receiver<Vec<u8>>> {
    let stdout = qemu.stdout.take().context("qemu has no output")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        loop {
            let mut line = Vec::new();
            match reader.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            }
        }
    });
    Ok(receiver)
}
