//! From the bare initial file system to a machine that tests can run on.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nucleus_tests::vm::{Cgroups, Job, MODULES, PORT};
use rustix::mount::{MountFlags, mount, mount_bind, mount_move};

const CGROUP: &str = "/sys/fs/cgroup";

/// `pivot_root` refuses to leave the kernel's own root file system (EINVAL on
/// 6.1 and 6.12). So a mount of it is put on top, and that becomes the root.
pub(crate) fn leave_rootfs() -> Result<()> {
    fs::create_dir_all("/.root").context("making /.root")?;
    mount_bind("/", "/.root").context("binding / to /.root")?;
    std::env::set_current_dir("/.root").context("entering /.root")?;
    mount_move(".", "/").context("moving /.root to /")?;
    rustix::process::chroot(".").context("making /.root the root")?;
    std::env::set_current_dir("/").context("entering the new root")
}

/// What every Linux system has mounted.
pub(crate) fn mount_kernel_file_systems() -> Result<()> {
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let shared = MountFlags::NOSUID | MountFlags::NODEV;
    attach("proc", "/proc", quiet, "")?;
    attach("sysfs", "/sys", quiet, "")?;
    attach("devtmpfs", "/dev", MountFlags::NOSUID, "mode=755")?;
    attach(
        "devpts",
        "/dev/pts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        "newinstance,ptmxmode=666,mode=620,gid=5",
    )?;
    attach("tmpfs", "/dev/shm", shared, "mode=1777")?;
    attach("mqueue", "/dev/mqueue", quiet, "")?;
    attach("tmpfs", "/run", shared, "mode=755")?;
    attach("securityfs", "/sys/kernel/security", quiet, "")?;
    attach("debugfs", "/sys/kernel/debug", quiet, "")?;
    attach("tracefs", "/sys/kernel/tracing", quiet, "")?;
    attach("bpf", "/sys/fs/bpf", quiet, "mode=700")?;
    for (link, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ] {
        std::os::unix::fs::symlink(target, Path::new("/dev").join(link))
            .with_context(|| format!("linking /dev/{link}"))?;
    }
    Ok(())
}

/// Loads what the host has put into [`MODULES`], in the order of the names,
/// which is that of their dependencies.
pub(crate) fn load_modules() -> Result<()> {
    let mut modules = BTreeSet::new();
    for entry in fs::read_dir(MODULES).with_context(|| format!("reading {MODULES}"))? {
        modules.insert(entry.with_context(|| format!("reading {MODULES}"))?.path());
    }
    for module in modules {
        let file = File::open(&module).with_context(|| format!("opening {}", module.display()))?;
        rustix::system::finit_module(&file, &CString::default(), 0)
            .with_context(|| format!("loading {}", module.display()))?;
    }
    Ok(())
}

/// What this job asks for, and what every job needs.
pub(crate) fn prepare(job: &Job) -> Result<()> {
    match job.cgroups {
        Cgroups::Unified => unified_cgroups()?,
        Cgroups::Hybrid => hybrid_cgroups()?,
        // It mounts what it finds missing.
        Cgroups::Systemd => {}
    }
    for directory in ["/tmp", "/var/tmp"] {
        fs::create_dir_all(directory).with_context(|| format!("making {directory}"))?;
        // The root cannot map ids, tmpfs can since 6.3. Where the host keeps
        // the checkout in such a directory, it must not be hidden.
        if is_empty(Path::new(directory))? {
            attach("tmpfs", directory, MountFlags::empty(), "")?;
        }
        fs::set_permissions(directory, Permissions::from_mode(0o1777))
            .with_context(|| format!("opening {directory} to all"))?;
    }
    rustix::system::sethostname(b"vm").context("setting the host name")?;
    let up = Command::new("/bin/busybox")
        .args(["ip", "link", "set", "lo", "up"])
        .status()
        .context("starting busybox")?;
    if !up.success() {
        bail!("bringing lo up: {up}");
    }
    Ok(())
}

fn is_empty(directory: &Path) -> Result<bool> {
    let mut entries =
        fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    Ok(entries.next().is_none())
}

fn unified_cgroups() -> Result<()> {
    attach("cgroup2", CGROUP, MountFlags::empty(), "nsdelegate")?;
    let root = Path::new(CGROUP);
    let controllers = fs::read_to_string(root.join("cgroup.controllers"))
        .context("reading the list of cgroup controllers")?;
    for controller in controllers.split_whitespace() {
        fs::write(
            root.join("cgroup.subtree_control"),
            format!("+{controller}"),
        )
        .with_context(|| format!("enabling the cgroup controller {controller}"))?;
    }
    Ok(())
}

/// As systemd's hybrid layout: version 1 has the controllers.
fn hybrid_cgroups() -> Result<()> {
    attach("tmpfs", CGROUP, MountFlags::empty(), "mode=755")?;
    let mut mounted = 0;
    for controller in ["cpu", "cpuset", "devices", "freezer", "memory", "pids"] {
        let path = Path::new(CGROUP).join(controller);
        match attach("cgroup", &path, MountFlags::empty(), controller) {
            Ok(()) => mounted += 1,
            // Newer kernels are built without some of version 1.
            Err(_) => {
                fs::remove_dir(&path).with_context(|| format!("removing {}", path.display()))?
            }
        }
    }
    if mounted == 0 {
        bail!("this kernel has no cgroup controller of version 1");
    }
    let unified = Path::new(CGROUP).join("unified");
    attach("cgroup2", &unified, MountFlags::empty(), "nsdelegate")
}

/// The device file of the port named [`PORT`], which appears some time after
/// its driver is loaded.
pub(crate) fn port_device() -> Result<PathBuf> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let ports = Path::new("/sys/class/virtio-ports");
    while Instant::now() < deadline {
        for entry in fs::read_dir(ports).with_context(|| format!("reading {}", ports.display()))? {
            let entry = entry.with_context(|| format!("reading {}", ports.display()))?;
            let name = match fs::read_to_string(entry.path().join("name")) {
                Ok(name) => name,
                // A port gets its name after its directory.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error).context("reading the name of a virtio port"),
            };
            let device = Path::new("/dev").join(entry.file_name());
            if name.trim_end() == PORT && device.exists() {
                return Ok(device);
            }
        }
        sleep(Duration::from_millis(5));
    }
    bail!("no virtio serial port named {PORT}")
}

fn attach(kind: &str, target: impl AsRef<Path>, flags: MountFlags, options: &str) -> Result<()> {
    let target = target.as_ref();
    fs::create_dir_all(target).with_context(|| format!("making {}", target.display()))?;
    let options = CString::new(options).context("mount options")?;
    mount(kind, target, kind, flags, Some(options.as_c_str()))
        .with_context(|| format!("mounting {kind} on {}", target.display()))
}
