//! Which calls the path policy traps, and which the filter refuses.

use std::sync::Arc;

use nucleus_seccomp::{Arch, Syscall};
use rustix::io::Errno;

use super::scene::Scene;
use super::subject::Subject;
use super::walk::Beyond;
use super::{Judge, attributes, look, names, open, sockets, xattr};
use crate::{
    ArgTest, Decision, Failure, Handler, PolicyError, Refusal, Registry, Request, TrapError, When,
};

type Handle = fn(&Scene<'_>) -> Result<Decision, Failure>;

/// A handler, which waits for disks and for whoever is asked.
struct OnBehalf {
    judge: Arc<Judge>,
    handle: Handle,
}

impl Handler for OnBehalf {
    fn handle(&self, request: &Request) -> Result<Decision, Failure> {
        use std::os::fd::AsFd;
        let subject = Subject::of(request)?;
        let marks = self.judge.rules.marks(subject.root.as_fd())?;
        let beyond = Beyond {
            tightened: self.judge.tightened.as_ref(),
            arbiter: self.judge.arbiter.as_ref(),
        };
        if let Some(context) = beyond.tightened {
            // Now, before the call can change what a path leads to.
            context.denied(subject.outer.process, subject.root.as_fd())?;
        }
        (self.handle)(&Scene::new(request, subject, marks, beyond))
    }
}

/// Calls that open or change what a path leads to.
const USING: &[(&str, Handle)] = &[
    ("open", open::open),
    ("openat", open::openat),
    ("openat2", open::openat2),
    ("creat", open::creat),
    ("mkdir", names::mkdir),
    ("mkdirat", names::mkdirat),
    ("mknod", names::mknod),
    ("mknodat", names::mknodat),
    ("symlink", names::symlink),
    ("symlinkat", names::symlinkat),
    ("link", names::link),
    ("linkat", names::linkat),
    ("unlink", names::unlink),
    ("unlinkat", names::unlinkat),
    ("rmdir", names::rmdir),
    ("rename", names::rename),
    ("renameat", names::renameat),
    ("renameat2", names::renameat2),
    ("truncate", attributes::truncate),
    ("chmod", attributes::chmod),
    ("fchmodat", attributes::fchmodat),
    ("fchmodat2", attributes::fchmodat2),
    ("chown", attributes::chown),
    ("lchown", attributes::lchown),
    ("fchownat", attributes::fchownat),
    ("utime", attributes::utime),
    ("utimes", attributes::utimes),
    ("inotify_add_watch", attributes::inotify_add_watch),
    ("setxattr", xattr::setxattr),
    ("lsetxattr", xattr::lsetxattr),
    ("setxattrat", xattr::setxattrat),
    ("getxattr", xattr::getxattr),
    ("lgetxattr", xattr::lgetxattr),
    ("getxattrat", xattr::getxattrat),
    ("listxattr", xattr::listxattr),
    ("llistxattr", xattr::llistxattr),
    ("listxattrat", xattr::listxattrat),
    ("removexattr", xattr::removexattr),
    ("lremovexattr", xattr::lremovexattr),
    ("removexattrat", xattr::removexattrat),
];

/// Those that change the times of a descriptor where the path is NULL.
const WITH_OR_WITHOUT_PATH: &[(&str, Handle)] = &[
    ("futimesat", attributes::futimesat),
    ("utimensat", attributes::utimensat),
];

/// Calls that only look: they matter where something is hidden.
const LOOKING: &[(&str, Handle)] = &[
    ("stat", look::stat),
    ("lstat", look::lstat),
    ("newfstatat", look::newfstatat),
    ("statx", look::statx),
    ("access", look::access),
    ("faccessat", look::faccessat),
    ("faccessat2", look::faccessat2),
    ("readlink", look::readlink),
    ("readlinkat", look::readlinkat),
    ("statfs", look::statfs),
    ("chdir", attributes::enter),
    ("chroot", attributes::enter),
];

/// Calls that lead a unix socket to a path.
const NAMING_SOCKETS: &[(&str, Handle)] = &[("connect", sockets::connect), ("bind", sockets::bind)];

/// What is nothing for a program under rules on paths: ways to objects that no
/// path leads to, calls that would change what a path means, and attributes
/// that are newer than what is known here. With what programs take for "there
/// is no such thing here".
const REFUSED: &[(&str, Errno)] = &[
    ("open_by_handle_at", Errno::PERM),
    ("name_to_handle_at", Errno::OPNOTSUPP),
    ("file_getattr", Errno::NOSYS),
    ("file_setattr", Errno::NOSYS),
    ("fanotify_init", Errno::NOSYS),
    ("fanotify_mark", Errno::NOSYS),
    ("quotactl", Errno::PERM),
    ("acct", Errno::PERM),
    ("swapon", Errno::PERM),
    ("swapoff", Errno::PERM),
    ("uselib", Errno::NOSYS),
    ("bpf", Errno::PERM),
    ("mount", Errno::PERM),
    ("umount2", Errno::PERM),
    ("pivot_root", Errno::PERM),
    ("move_mount", Errno::PERM),
    ("mount_setattr", Errno::PERM),
    ("open_tree", Errno::PERM),
    ("open_tree_attr", Errno::PERM),
    ("fsopen", Errno::PERM),
    ("fspick", Errno::PERM),
    ("fsmount", Errno::PERM),
    ("io_uring_setup", Errno::NOSYS),
    ("io_uring_enter", Errno::NOSYS),
    ("io_uring_register", Errno::NOSYS),
];

/// Requests that make, remove or copy trees by names in a folder that is open:
/// subvolumes and their snapshots, whose files are other objects than those that
/// they are copies of (`linux/btrfs.h`, `fs/bcachefs/bcachefs_ioctl.h`).
const IOCTLS: [u32; 8] = [
    // BTRFS_IOC_SNAP_CREATE, SUBVOL_CREATE, SNAP_DESTROY, and their second forms.
    0x5000_9401,
    0x5000_940e,
    0x5000_940f,
    0x5000_9417,
    0x5000_9418,
    0x5000_943f,
    // BCH_IOCTL_SUBVOLUME_CREATE and _DESTROY.
    0x4020_bc10,
    0x4020_bc11,
];

pub(super) fn register(judge: Judge, registry: &mut Registry) -> Result<(), PolicyError> {
    let native = Arch::native().ok_or(PolicyError::Architecture)?;
    refuse(native, registry)?;
    let judge = Arc::new(judge);
    let with_path = When::test(ArgTest::LongNot { index: 1, value: 0 });
    let looking: &[_] = if judge.hiding { LOOKING } else { &[] };
    let sockets: &[_] = if judge.sockets { NAMING_SOCKETS } else { &[] };
    if judge.sockets {
        sockets::refuse(native, registry)?;
    }
    let calls = [
        (USING, When::Always),
        (sockets, When::Always),
        (WITH_OR_WITHOUT_PATH, with_path),
        (looking, When::Always),
    ];
    for (calls, when) in calls {
        for (name, handle) in calls {
            if let Some(call) = Syscall::by_name(native, name) {
                let judge = Arc::clone(&judge);
                let handle = *handle;
                registry.add(call, when.clone(), OnBehalf { judge, handle })?;
            }
        }
    }
    Ok(())
}

fn refuse(native: Arch, registry: &mut Registry) -> Result<(), TrapError> {
    for (name, errno) in REFUSED {
        for arch in Arch::ALL {
            if let Some(call) = Syscall::by_name(arch, name) {
                registry.refuse(call, Refusal::Of(When::Always, *errno))?;
            }
        }
    }
    if let Some(ioctl) = Syscall::by_name(native, "ioctl") {
        let commands = IOCTLS.map(|command| vec![ArgTest::int(1, command)]);
        let named = When::Any(commands.to_vec());
        registry.refuse(ioctl, Refusal::Of(named, Errno::PERM))?;
    }
    let trapped = [USING, WITH_OR_WITHOUT_PATH, LOOKING];
    let names = trapped.iter().copied().flatten().map(|(name, _)| *name);
    // Names of the same calls that only other architectures have.
    let names = names.chain(["stat64", "lstat64", "fstatat64", "statfs64", "umount"]);
    let names = names.chain(["chown32", "lchown32", "truncate64", "utimensat_time64"]);
    let names: Vec<_> = names.collect();
    for arch in Arch::ALL.into_iter().filter(|arch| *arch != native) {
        for name in &names {
            if let Some(call) = Syscall::by_name(arch, name) {
                registry.refuse(call, Refusal::Of(When::Always, Errno::NOSYS))?;
            }
        }
    }
    Ok(())
}
