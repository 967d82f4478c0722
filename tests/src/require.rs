//! What a test needs of the machine, and how it skips aloud without.
//!
//! ```
//! fn the_filter_is_listed() {
//!     nucleus_tests::require!(kernel(5, 10), tool("strace"), ptrace);
//!     // ...
//! }
//! # the_filter_is_listed();
//! ```
//!
//! With `NUCLEUS_TEST_REQUIRE=all` a skip is a failure, unless the kernel is
//! older than what the test asks for, or the machine of another kind: then no
//! set-up could help. Skips go to
//! standard error and, as one line each, to the file that `NUCLEUS_TEST_SKIPS`
//! names, because test runners keep quiet about the output of tests that pass.

use std::fs::OpenOptions;
use std::io::Write as _;

use nucleus_seccomp::KernelVersion;

use crate::sys;

/// Something that a test needs; see the functions of [`need`].
#[derive(Debug, Clone, Copy)]
pub enum Need {
    /// Effective user id 0.
    Root,
    /// A program in `PATH`.
    Tool(&'static str),
    /// A kernel of this version or later.
    Kernel(u16, u16),
    /// A test VM of this kind, such as `audit=1`.
    Machine(&'static str),
    /// A cgroup v2 hierarchy that has the controller and that we may write to.
    Cgroup2(&'static str),
    /// The audit records of the machine.
    Audit,
    /// Landlock with this ABI or later.
    Landlock(i32),
    /// User namespaces for this user.
    Userns,
    /// Tracing of own children.
    Ptrace,
    /// 32-bit x86 programs.
    Ia32,
    /// A file, such as a device.
    Path(&'static str),
    /// A file system of temporary files that can be mounted with other ids.
    MappedIds,
    /// Programs as an installed system has them; a test VM has a selection.
    Userland,
}

/// The words of [`require!`](crate::require!).
pub mod need {
    use super::Need;

    macro_rules! words {
        ($($word:ident($($argument:ident: $type:ty),*) => $need:ident;)*) => {$(
            #[doc = concat!("[`Need::", stringify!($need), "`].")]
            #[must_use]
            pub const fn $word($($argument: $type),*) -> Need {
                words!(@make $need $($argument)*)
            }
        )*};
        (@make $need:ident) => { Need::$need };
        (@make $need:ident $($argument:ident)+) => { Need::$need($($argument),+) };
    }

    words! {
        root() => Root;
        tool(name: &'static str) => Tool;
        kernel(major: u16, minor: u16) => Kernel;
        machine(kind: &'static str) => Machine;
        cgroup2(controller: &'static str) => Cgroup2;
        audit() => Audit;
        landlock(abi: i32) => Landlock;
        userns() => Userns;
        ptrace() => Ptrace;
        ia32() => Ia32;
        path(path: &'static str) => Path;
        mapped_ids() => MappedIds;
        userland() => Userland;
    }
}

/// Returns from the test, aloud, unless the machine has all that is named:
/// `root`, `tool("strace")`, `kernel(6, 7)`, `machine("audit=1")`,
/// `cgroup2("memory")`, `audit`, `landlock(4)`, `userns`, `ptrace`, `ia32`,
/// `path("/dev/fuse")`, `mapped_ids`, `userland`.
#[macro_export]
macro_rules! require {
    ($($need:ident $(($($argument:expr),+))?),+ $(,)?) => {
        let needs = [$($crate::require::need::$need($($($argument),+)?)),+];
        if $crate::require::skip(&needs) {
            return;
        }
    };
}

/// What is missing.
#[derive(Debug)]
struct Missing {
    why: String,
    /// No set-up of this machine could help.
    elsewhere: bool,
}

/// Whether to skip the running test; says so then.
///
/// # Panics
///
/// With `NUCLEUS_TEST_REQUIRE=all`, when something is missing that could be there.
#[must_use]
pub fn skip(needs: &[Need]) -> bool {
    let Some(missing) = needs.iter().find_map(|need| need.missing()) else {
        return false;
    };
    let strict = std::env::var_os("NUCLEUS_TEST_REQUIRE").is_some_and(|value| value == "all");
    assert!(
        !strict || missing.elsewhere,
        "this test has to run here, and cannot: {}",
        missing.why
    );
    say(&missing.why);
    true
}

/// Says that the running test is skipped and why.
///
/// # Panics
///
/// When that cannot be written: a skip must not be silent.
pub fn say(why: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED {}: {why}\n", thread.name().unwrap_or("?"));
    // Not by `eprintln!`, which the test harness would keep to itself.
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("writing to standard error");
    if let Some(path) = std::env::var_os("NUCLEUS_TEST_SKIPS") {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("writing to the file that NUCLEUS_TEST_SKIPS names");
    }
}

/// Of what is done many times over, how many a try stands for: in a test VM,
/// whose processor is emulated, five.
#[must_use]
pub fn stride() -> u32 {
    if std::env::var_os("NUCLEUS_TEST_GROUP").is_some() {
        5
    } else {
        1
    }
}

/// How often to try a race: what `NUCLEUS_TEST_TRIES` says, else this, by the
/// [`stride`].
///
/// # Panics
///
/// The variable holds no number.
#[must_use]
pub fn tries(otherwise: u64) -> u64 {
    std::env::var("NUCLEUS_TEST_TRIES").map_or(otherwise / u64::from(stride()), |tries| {
        tries.parse().expect("NUCLEUS_TEST_TRIES is a number")
    })
}

/// Says something to whoever runs a race by hand.
pub fn remark(what: &str) {
    if std::env::var_os("NUCLEUS_TEST_TRIES").is_some() {
        // That nobody reads it is no failure of the test.
        writeln!(std::io::stderr(), "{what}").ok();
    }
}

impl Need {
    fn missing(self) -> Option<Missing> {
        let here = |why: String| Missing {
            why,
            elsewhere: false,
        };
        match self {
            Self::Root => (!rustix::process::geteuid().is_root()).then(|| here("not root".into())),
            Self::Tool(name) => find(name)
                .is_none()
                .then(|| here(format!("{name} is not installed"))),
            Self::Kernel(major, minor) => older_than(KernelVersion::new(major, minor)),
            Self::Machine(kind) => machine(kind),
            Self::Cgroup2(controller) => cgroup2(controller).err().map(here),
            Self::Audit => sys::join_audit_group()
                .err()
                .map(|error| here(format!("cannot read audit records: {error}"))),
            Self::Landlock(abi) => match sys::landlock_abi() {
                Ok(found) if found >= abi => None,
                found => older_than(landlock_since(abi)).or_else(|| {
                    Some(here(format!(
                        "Landlock ABI {abi} wanted, the kernel says {found:?}"
                    )))
                }),
            },
            Self::Userns => sys::enter_user_namespace()
                .err()
                .map(|error| here(format!("cannot create a user namespace: {error}"))),
            Self::Ptrace => sys::trace_a_child()
                .err()
                .map(|error| here(format!("cannot trace a child: {error}"))),
            Self::Ia32 => crate::elf32::run_hello()
                .err()
                .map(|error| here(format!("cannot run a 32-bit program: {error}"))),
            Self::Path(path) => rustix::fs::access(path, rustix::fs::Access::EXISTS)
                .err()
                .map(|errno| here(format!("no {path}: {errno}"))),
            Self::MappedIds => mapped_ids(),
            Self::Userland => std::env::var_os("NUCLEUS_TEST_GROUP").map(|_in_a_vm| Missing {
                why: "for an installed system; the test VM has a selection of programs".into(),
                elsewhere: true,
            }),
        }
    }
}

/// The kernel that brought a Landlock ABI (`Documentation/userspace-api/landlock.rst`).
const fn landlock_since(abi: i32) -> KernelVersion {
    match abi {
        ..=1 => KernelVersion::new(5, 13),
        2 => KernelVersion::new(5, 19),
        3 => KernelVersion::new(6, 2),
        4 => KernelVersion::new(6, 7),
        5 => KernelVersion::new(6, 10),
        6 => KernelVersion::new(6, 12),
        _ => KernelVersion::new(6, 15),
    }
}

fn older_than(wanted: KernelVersion) -> Option<Missing> {
    let found = KernelVersion::running().expect("the kernel's version");
    (found < wanted).then(|| Missing {
        why: format!("kernel {wanted} wanted, this is {found}"),
        elsewhere: true,
    })
}

/// Which file systems can: those with `FS_ALLOW_IDMAP`. Tmpfs has it since 6.3,
/// the kernel's first root, which a checkout in a test VM's `/tmp` is on, has
/// not.
fn mapped_ids() -> Option<Missing> {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    let folder = std::env::temp_dir();
    if is_on_rootfs(&folder) {
        return Some(Missing {
            why: format!("{} is on rootfs, which cannot map ids", folder.display()),
            elsewhere: true,
        });
    }
    let kind = rustix::fs::statfs(&folder).map(|found| found.f_type);
    (kind == Ok(TMPFS_MAGIC))
        .then(|| older_than(KernelVersion::new(6, 3)))
        .flatten()
}

/// Whether the device of a folder is that of a mount of type `rootfs`
/// (`/proc/self/mountinfo`: the device is the third field, the type the first
/// after the hyphen).
fn is_on_rootfs(folder: &std::path::Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("the list of mounts");
    let device = rustix::fs::stat(folder)
        .expect("the temporary folder")
        .st_dev;
    let device = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    mounts.lines().any(|line| {
        line.split(' ').nth(2) == Some(&device)
            && line
                .split_once(" - ")
                .is_some_and(|(_, kind)| kind.starts_with("rootfs "))
    })
}

fn machine(kind: &str) -> Option<Missing> {
    let is_it = std::env::var_os("NUCLEUS_TEST_GROUP").is_some_and(|found| found == kind);
    (!is_it).then(|| Missing {
        why: format!("for the test VM `{kind}`"),
        elsewhere: true,
    })
}

fn cgroup2(controller: &str) -> Result<(), String> {
    const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
    let root = "/sys/fs/cgroup";
    let mounted = rustix::fs::statfs(root).map_err(|errno| format!("no {root}: {errno}"))?;
    if mounted.f_type != CGROUP2_SUPER_MAGIC {
        return Err(format!("{root} is not a cgroup v2 mount"));
    }
    let controllers = std::fs::read_to_string(format!("{root}/cgroup.controllers"))
        .map_err(|error| format!("cannot read {root}/cgroup.controllers: {error}"))?;
    if !controllers
        .split_whitespace()
        .any(|name| name == controller)
    {
        return Err(format!("no cgroup v2 controller {controller}"));
    }
    rustix::fs::access(root, rustix::fs::Access::WRITE_OK)
        .map_err(|errno| format!("cannot write to {root}: {errno}"))
}

/// Where a program is: in a directory of `PATH`.
#[must_use]
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|directory| directory.join(program))
        .find(|path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_missing() {
        assert!(Need::Kernel(3, 5).missing().is_none());
        assert!(Need::Tool("sh").missing().is_none());
        let root = rustix::process::geteuid().is_root();
        assert_eq!(Need::Root.missing().is_none(), root);
    }

    #[test]
    fn what_is_missing_has_a_reason() {
        let missing = Need::Tool("no-such-program").missing().unwrap();
        assert_eq!(missing.why, "no-such-program is not installed");
        assert!(!missing.elsewhere);
        let missing = Need::Kernel(99, 0).missing().unwrap();
        assert!(missing.why.contains("kernel 99.0 wanted, this is "));
        assert!(missing.elsewhere);
    }

    /// Whatever the machine is like, each question gets an answer with a reason.
    #[test]
    fn every_question_can_be_asked() {
        for need in [
            Need::Cgroup2("memory"),
            Need::Audit,
            Need::Landlock(1),
            Need::Userns,
            Need::Ptrace,
            Need::Ia32,
        ] {
            if let Some(missing) = need.missing() {
                assert!(missing.why.len() > 10, "{need:?}: {missing:?}");
            }
        }
    }
}
