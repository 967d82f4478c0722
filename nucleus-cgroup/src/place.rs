//! Where a limited cgroup can be made: which cgroup may be its parent.
//!
//! A parent must be writable, offer the controllers, and have no process of its
//! own unless it is the root ("no internal process constraint"). Candidates are
//! the own cgroup and its ancestors, the nearest first: the further up, the
//! more of what already limits this process is left behind.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use crate::{Cgroup, Controller, Error, Host};

/// Where processes go that must leave a cgroup so that it can be a parent.
const ASIDE: &str = "nucleus-self";

/// Rounds of moving processes that fork meanwhile.
const ROUNDS: usize = 64;

/// Why a cgroup cannot be the parent of a limited one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// Its files may not be written: `EACCES`, `EPERM` or `EROFS`.
    NotWritable(Errno),
    /// It holds processes that are not this program's to move.
    Occupied(Vec<i32>),
    /// It is of a type that takes no controllers, such as `threaded`.
    Threaded(String),
    /// Controllers are not handed down to it.
    NotDelegated(Vec<Controller>),
    /// To use it would leave a limit behind that acts on this process.
    Escape {
        /// The cgroup that is limited.
        from: PathBuf,
        /// The file that holds the limit.
        limit: &'static str,
    },
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWritable(Errno::ROFS) => f.write_str("it is mounted read-only"),
            Self::NotWritable(_) => f.write_str("no write permission on it"),
            Self::Occupied(pids) => write!(f, "it holds other processes ({})", some(pids)),
            Self::Threaded(kind) => write!(f, "it is of type {kind:?}"),
            Self::NotDelegated(controllers) => {
                let set = controllers.iter().copied().collect();
                let names = crate::controller::list(&set);
                write!(f, "controllers not delegated to it: {names}")
            }
            Self::Escape { from, limit } => {
                write!(f, "its child {} has {limit} set", from.display())
            }
        }
    }
}

impl Rejection {
    /// What the user can do about it.
    pub(crate) const fn remedy(&self) -> &'static str {
        match self {
            Self::NotWritable(Errno::ROFS) => {
                "give the container a writable cgroup2 mount in a cgroup namespace of its own"
            }
            Self::NotDelegated(_) => {
                "have an administrator delegate them: systemctl edit user@.service, \
                 [Service] Delegate=cpu cpuset io memory pids"
            }
            Self::NotWritable(_) | Self::Occupied(_) | Self::Threaded(_) | Self::Escape { .. } => {
                "run under systemd-run --user --scope -p Delegate=yes \
                 (as root without --user); without systemd, in a cgroup of which an \
                 administrator has given you the folder, cgroup.procs and \
                 cgroup.subtree_control"
            }
        }
    }
}

fn some(pids: &[i32]) -> String {
    let shown: Vec<String> = pids.iter().take(3).map(ToString::to_string).collect();
    let more = if pids.len() > shown.len() {
        ", ..."
    } else {
        ""
    };
    format!("{}{more}", shown.join(", "))
}

/// What a candidate looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    writable: Result<(), Errno>,
    root: bool,
    kind: String,
    processes: Vec<i32>,
    delegated: bool,
    offers: BTreeSet<Controller>,
    limit: Option<&'static str>,
}

impl Standing {
    fn of(cgroup: &Cgroup) -> Result<Self, Error> {
        let kind = cgroup.read_if_there("cgroup.type")?;
        // The root of the hierarchy alone has no type.
        let root = kind.is_none();
        let kind = String::from_utf8_lossy(&kind.unwrap_or_default())
            .trim_end()
            .to_owned();
        let processes = if kind == "threaded" {
            Vec::new()
        } else {
            cgroup.processes()?
        };
        Ok(Self {
            writable: writable(cgroup),
            root,
            processes,
            delegated: is_delegated(cgroup),
            offers: cgroup.controllers()?,
            limit: if root { None } else { limit_set(cgroup)? },
            kind,
        })
    }
}

fn writable(cgroup: &Cgroup) -> Result<(), Errno> {
    // As the effective user: what the following writes are judged by.
    let may = |file, access| rustix::fs::accessat(cgroup, file, access, AtFlags::EACCESS);
    may(".", Access::WRITE_OK | Access::EXEC_OK)?;
    may("cgroup.procs", Access::WRITE_OK)?;
    may("cgroup.subtree_control", Access::WRITE_OK)
}

/// systemd marks what it has handed over (`systemd.resource-control(5)`,
/// `Delegate=`); the one attribute is for users, the other for root.
fn is_delegated(cgroup: &Cgroup) -> bool {
    ["user.delegate", "trusted.delegate"]
        .into_iter()
        .any(|name| {
            let mut value = [0_u8; 4];
            let length = rustix::fs::fgetxattr(cgroup, name, &mut value[..]);
            length.is_ok_and(|length| &value[..length] == b"1")
        })
}

/// A limit that somebody set on purpose. `pids.max` is none: systemd sets it on
/// every unit.
pub(crate) fn limit_set(cgroup: &Cgroup) -> Result<Option<&'static str>, Error> {
    for (file, unlimited) in [
        ("memory.max", "max"),
        ("memory.high", "max"),
        ("memory.swap.max", "max"),
        ("cpu.max", "max 100000"),
        ("cpuset.cpus", ""),
        ("io.max", ""),
    ] {
        let text = cgroup.read_if_there(file)?;
        if text.is_some_and(|text| text.trim_ascii_end() != unlimited.as_bytes()) {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// The index of the candidate to use, or why each cannot be. `needed` may be
/// enabled from any ancestor that is writable.
fn choose(
    lineage: &[(&Path, Standing)],
    needed: &BTreeSet<Controller>,
    own_pid: i32,
) -> Result<usize, Vec<Rejection>> {
    let mut rejections = Vec::new();
    for index in 0..lineage.len() {
        match judge(lineage, index, needed, own_pid) {
            Ok(()) => return Ok(index),
            Err(rejection) => rejections.push(rejection),
        }
    }
    Err(rejections)
}

fn judge(
    lineage: &[(&Path, Standing)],
    index: usize,
    needed: &BTreeSet<Controller>,
    own_pid: i32,
) -> Result<(), Rejection> {
    let it = &lineage[index].1;
    it.writable.map_err(Rejection::NotWritable)?;
    if !matches!(it.kind.as_str(), "" | "domain") {
        return Err(Rejection::Threaded(it.kind.clone()));
    }
    for (path, left_behind) in &lineage[..index] {
        if let Some(limit) = left_behind.limit {
            return Err(Rejection::Escape {
                from: path.to_path_buf(),
                limit,
            });
        }
    }
    // Without a controller there is no constraint on processes.
    let free = it.root || it.processes.is_empty() || needed.is_empty();
    let movable = index == 0 && (it.delegated || it.processes == [own_pid]);
    if !free && !movable {
        return Err(Rejection::Occupied(it.processes.clone()));
    }
    let mut missing: BTreeSet<Controller> = needed.difference(&it.offers).copied().collect();
    for (_, ancestor) in &lineage[index + 1..] {
        if missing.is_empty() || ancestor.writable.is_err() {
            break;
        }
        missing.retain(|controller| !ancestor.offers.contains(controller));
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Rejection::NotDelegated(missing.into_iter().collect()))
    }
}

/// A cgroup below which limited ones can be made, prepared for it.
#[derive(Debug)]
pub struct Place {
    cgroup: Cgroup,
}

impl Place {
    /// Finds one for these controllers, at the own cgroup or above, and
    /// prepares it: enables the controllers down to it, and where it is the own
    /// cgroup moves the processes in it into a child of the name
    /// `nucleus-self`. That is done only with processes that are this
    /// program's to move: itself alone, or those of a subtree that systemd has
    /// marked as delegated.
    ///
    /// # Errors
    ///
    /// A controller is bound to version 1; no cgroup fits
    /// ([`Error::NoPlace`] says why for each); the preparation fails.
    pub fn find(host: &Host, needed: &BTreeSet<Controller>) -> Result<Self, Error> {
        host.require_v2(needed)?;
        Self::among(host.lineage()?, needed, own_pid())
    }

    /// Prepares the cgroup at a path that the user named.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find); it is not on cgroup2.
    pub fn at(host: &Host, path: &Path, needed: &BTreeSet<Controller>) -> Result<Self, Error> {
        host.require_v2(needed)?;
        Self::among(vec![host.open(path)?], needed, own_pid())
    }

    fn among(
        mut lineage: Vec<Cgroup>,
        needed: &BTreeSet<Controller>,
        own_pid: i32,
    ) -> Result<Self, Error> {
        let mut standings = Vec::with_capacity(lineage.len());
        for cgroup in &lineage {
            standings.push((cgroup.path(), Standing::of(cgroup)?));
        }
        let index = match choose(&standings, needed, own_pid) {
            Ok(index) => index,
            Err(rejections) => {
                let paths = lineage.iter().map(|cgroup| cgroup.path().to_owned());
                return Err(Error::NoPlace {
                    needed: needed.iter().copied().collect(),
                    tried: paths.zip(rejections).collect(),
                });
            }
        };
        let root = standings[index].1.root;
        let ancestors = lineage.split_off(index + 1);
        let cgroup = lineage.swap_remove(index);
        let lacking: BTreeSet<Controller> =
            needed.difference(&cgroup.controllers()?).copied().collect();
        if !lacking.is_empty() {
            for ancestor in ancestors.iter().rev() {
                let offered = ancestor.controllers()?;
                ancestor.enable(&lacking.intersection(&offered).copied().collect())?;
            }
        }
        if !root && !needed.is_empty() {
            step_aside(&cgroup)?;
        }
        cgroup.enable(needed)?;
        Ok(Self { cgroup })
    }

    /// The parent.
    #[must_use]
    pub const fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    pub(crate) fn into_cgroup(self) -> Cgroup {
        self.cgroup
    }
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Moves every process of a cgroup into a child.
fn step_aside(cgroup: &Cgroup) -> Result<(), Error> {
    let mut pids = cgroup.processes()?;
    if pids.is_empty() {
        return Ok(());
    }
    let name = OsStr::new(ASIDE);
    let aside = match cgroup.create_child(name) {
        Err(Error::Create { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
            cgroup.child(name)?
        }
        made => made?,
    };
    for _ in 0..ROUNDS {
        for pid in pids {
            match aside.admit(pid) {
                Err(Error::Write { source, .. })
                    if source.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
                moved => moved?,
            }
        }
        pids = cgroup.processes()?;
        if pids.is_empty() {
            return Ok(());
        }
    }
    Err(Error::Refilled {
        path: cgroup.path().to_owned(),
        pids,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fake;

    const SELF: i32 = 100;

    fn standing() -> Standing {
        Standing {
            writable: Ok(()),
            root: false,
            kind: "domain".to_owned(),
            processes: Vec::new(),
            delegated: false,
            offers: BTreeSet::from(Controller::ALL),
            limit: None,
        }
    }

    fn with(change: impl FnOnce(&mut Standing)) -> Standing {
        let mut it = standing();
        change(&mut it);
        it
    }

    /// The candidates are `/0`, `/1`, ...: the own one first.
    fn check(lineage: Vec<Standing>, expected: Result<usize, &[&str]>) {
        let paths: Vec<_> = (0..lineage.len()).map(|i| format!("/{i}")).collect();
        let lineage: Vec<_> = paths.iter().map(Path::new).zip(lineage).collect();
        let needed = BTreeSet::from([Controller::Memory, Controller::Pids]);
        let got = choose(&lineage, &needed, SELF)
            .map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
        let expected = expected.map_err(|all| all.iter().map(|&s| s.to_owned()).collect());
        assert_eq!(got, expected, "{lineage:#?}");
    }

    #[test]
    fn the_root_of_the_hierarchy_takes_children_beside_its_processes() {
        let root = with(|it| {
            it.root = true;
            it.kind = String::new();
            it.processes = vec![1, 2, SELF];
        });
        check(vec![root], Ok(0));
    }

    #[test]
    fn the_own_cgroup_when_its_processes_are_ours_to_move() {
        check(
            vec![with(|it| it.processes = vec![SELF]), standing()],
            Ok(0),
        );
        let shell = |it: &mut Standing| it.processes = vec![SELF - 1, SELF];
        let delegated = with(|it| {
            shell(it);
            it.delegated = true;
        });
        check(vec![delegated, standing()], Ok(0));
        check(vec![with(shell), standing()], Ok(1));
        check(
            vec![with(shell)],
            Err(&["it holds other processes (99, 100)"]),
        );
    }

    #[test]
    fn an_ssh_session_of_a_user_has_no_place() {
        let closed = || with(|it| it.writable = Err(Errno::ACCESS));
        let needed = "no write permission on it";
        check(vec![closed(), closed()], Err(&[needed, needed]));
        let read_only = with(|it| it.writable = Err(Errno::ROFS));
        check(vec![read_only], Err(&["it is mounted read-only"]));
    }

    #[test]
    fn a_limit_on_this_process_is_not_left_behind() {
        let limited = with(|it| {
            it.processes = vec![1, SELF];
            it.limit = Some("memory.max");
        });
        check(
            vec![limited, standing()],
            Err(&[
                "it holds other processes (1, 100)",
                "its child /0 has memory.max set",
            ]),
        );
    }

    #[test]
    fn controllers_come_from_above_as_far_as_it_may_be_written() {
        let bare = |it: &mut Standing| it.offers = BTreeSet::from([Controller::Memory]);
        check(vec![with(bare), with(bare), standing()], Ok(0));
        let closed = with(|it| it.writable = Err(Errno::ACCESS));
        check(
            vec![with(bare), closed],
            Err(&[
                "controllers not delegated to it: pids",
                "no write permission on it",
            ]),
        );
    }

    #[test]
    fn threaded_cgroups_take_no_memory_controller() {
        for kind in ["threaded", "domain threaded", "domain invalid"] {
            let it = with(|it| kind.clone_into(&mut it.kind));
            check(vec![it], Err(&[&format!("it is of type {kind:?}")]));
        }
    }

    #[test]
    fn a_candidate_is_read_from_its_files() {
        let tree = tempfile::tempdir().expect("a directory");
        let files = [
            ("cgroup.type", "domain\n"),
            ("cgroup.procs", "5\n6\n"),
            ("cgroup.controllers", "memory pids\n"),
            ("cgroup.subtree_control", ""),
            ("memory.max", "max\n"),
            ("cpu.max", "50000 100000\n"),
        ];
        let cgroup = fake(tree.path(), "a", &files);
        let expected = with(|it| {
            it.processes = vec![5, 6];
            it.offers = BTreeSet::from([Controller::Memory, Controller::Pids]);
            it.limit = Some("cpu.max");
        });
        assert_eq!(Standing::of(&cgroup).expect("readable"), expected);
        let top = fake(tree.path(), "top", &files[1..]);
        let top = Standing::of(&top).expect("readable");
        assert!(top.root);
        assert_eq!(top.limit, None, "the root has no limits");
    }

    #[test]
    fn the_error_says_why_for_each_and_what_to_do() {
        let tree = tempfile::tempdir().expect("a directory");
        let cgroup = fake(
            tree.path(),
            "a",
            &[
                ("cgroup.type", "domain\n"),
                ("cgroup.procs", "5\n6\n7\n8\n"),
                ("cgroup.controllers", "memory\n"),
                ("cgroup.subtree_control", ""),
            ],
        );
        let path = cgroup.path().display().to_string();
        let needed = BTreeSet::from([Controller::Memory]);
        let error = Place::among(vec![cgroup], &needed, SELF).expect_err("occupied");
        assert_eq!(
            error.to_string(),
            format!(
                "no cgroup to put the program into with controllers memory: {path}: \
                 it holds other processes (5, 6, 7, ...); run under \
                 systemd-run --user --scope -p Delegate=yes (as root without --user); \
                 without systemd, in a cgroup of which an administrator has given you the folder, \
                 cgroup.procs and cgroup.subtree_control"
            )
        );
    }

    #[test]
    fn nothing_is_moved_or_enabled_when_no_controller_is_needed() {
        let tree = tempfile::tempdir().expect("a directory");
        let files = [
            ("cgroup.type", "domain\n"),
            ("cgroup.procs", "5\n6\n"),
            ("cgroup.controllers", ""),
            ("cgroup.subtree_control", ""),
        ];
        let cgroup = fake(tree.path(), "a", &files);
        let place = Place::among(vec![cgroup], &BTreeSet::new(), SELF).expect("a place");
        assert_eq!(place.cgroup().children().expect("listed").len(), 0);
    }
}
