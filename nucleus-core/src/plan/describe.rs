//! A plan in words: for `--print-plan`, and for what failed.

use std::fmt;

use super::{MountAttr, Plan, Port, Ruleset, Step, Stream};
use crate::isolation::TerminalSize;
use crate::secret::Secret;

impl fmt::Display for Plan {
    /// One numbered line a step.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps().enumerate() {
            writeln!(f, "{:3} {step}", number + 1)?;
        }
        Ok(())
    }
}

/// Mount attributes as mount(8) has them.
struct Flags(MountAttr);

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (MountAttr::NOSUID, "nosuid"),
            (MountAttr::NODEV, "nodev"),
            (MountAttr::NOEXEC, "noexec"),
        ];
        f.write_str(if self.0.contains(MountAttr::RDONLY) {
            "ro"
        } else {
            "rw"
        })?;
        for (flag, name) in names {
            if self.0.contains(flag) {
                write!(f, ",{name}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdin => "standard input",
            Self::Stdout => "standard output",
            Self::Stderr => "standard error",
        })
    }
}

impl fmt::Display for Step {
    /// In the imperative, so that it can follow "could not".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HideCommandLine => f.write_str("hide the command line of nucleus"),
            Self::MapIds(_) => f.write_str("map user and group ids (uid_map, gid_map)"),
            Self::AwaitHelpers => f.write_str("wait for newuidmap and newgidmap to map ids"),
            Self::BeginNetwork => f.write_str("begin to make a network namespace"),
            Self::EnterNetwork => f.write_str("enter the network namespace"),
            Self::Loopback => f.write_str("bring the loopback device up"),
            Self::Hostname(name) => write!(f, "set the host name {name:?}"),
            Self::Uptime(seconds) => write!(f, "start monotonic clocks at {seconds} s"),
            Self::PrivateMounts => f.write_str("make all mounts private"),
            Self::Take {
                source, attr, ids, ..
            } => {
                write!(f, "take {:?} ({})", source.path(), Flags(*attr))?;
                f.write_str(if ids.is_some() { ", id-mapped" } else { "" })
            }
            Self::TakeProc => f.write_str("make a proc file system"),
            Self::EnterRoot(options) => write!(f, "enter an empty root ({options:?})"),
            Self::LeaveHost => f.write_str("let go of the host's root"),
            Self::MakeDir { path, .. } => write!(f, "make folder {path:?}"),
            Self::WriteFile { path, content } => {
                write!(f, "write file {path:?} ({} bytes)", content.len())
            }
            Self::Symlink { target, path } => write!(f, "link {path:?} to {target:?}"),
            Self::Place { tree, path } => write!(f, "place tree {tree} at {path:?}"),
            Self::Secret(Secret { target, .. }) => write!(f, "copy a secret to {target:?}"),
            Self::EnterImage(overlay) => {
                write!(f, "enter tree {} as the root, under ", overlay.lower)?;
                match overlay.kept {
                    Some(kept) => write!(f, "the layer in tree {kept}"),
                    None => f.write_str("a layer in memory"),
                }
            }
            Self::Provide {
                path,
                content,
                replace,
            } => {
                let when = if *replace {
                    ""
                } else {
                    ", if there is none and one can be made"
                };
                write!(f, "write file {path:?} ({} bytes){when}", content.len())
            }
            Self::Overlay(overlay) => {
                let (lower, target) = (overlay.lower, &overlay.target);
                write!(
                    f,
                    "lay a writable layer in memory over tree {lower}, at {target:?}"
                )
            }
            Self::Tmpfs {
                path,
                options,
                attr,
            } => {
                write!(f, "mount tmpfs at {path:?} ({}, {options:?})", Flags(*attr))
            }
            Self::Private {
                path,
                mode,
                owner,
                attr,
            } => {
                write!(
                    f,
                    "make folder {path:?}, mounted over itself ({}, mode {mode:o}",
                    Flags(*attr)
                )?;
                match owner {
                    Some((uid, gid)) => write!(f, ", user {uid}, group {gid})"),
                    None => f.write_str(")"),
                }
            }
            Self::MaskFile(path) | Self::MaskDir(path) => write!(f, "mask {path:?}"),
            Self::Devpts => f.write_str("mount pseudo-terminals at \"/dev/pts\""),
            Self::Seal(path) => write!(f, "make {path:?} read-only"),
            Self::AwaitIds => f.write_str("wait for the id maps"),
            Self::NewSession => f.write_str("start a session without a terminal"),
            Self::NewTerminal(TerminalSize { rows, columns }) => {
                write!(f, "start a session on a new terminal of {rows} x {columns}")
            }
            Self::NewKeyring => f.write_str("start with an empty session keyring"),
            Self::ForbidNamespaces => {
                f.write_str("forbid further user namespaces (user.max_user_namespaces)")
            }
            Self::Limit(limit) => write!(f, "limit {} to {}", limit.resource.name(), limit.value),
            Self::Become { uid, gid, groups } => {
                write!(f, "become user {uid}, group {gid}")?;
                for (index, group) in groups.iter().flatten().enumerate() {
                    let before = if index == 0 { " with groups " } else { ", " };
                    write!(f, "{before}{}", group.as_raw())?;
                }
                Ok(())
            }
            Self::LimitBoundingSet(keep) if keep.is_empty() => {
                f.write_str("empty the capability bounding set")
            }
            Self::LimitBoundingSet(keep) => {
                write!(f, "limit the capability bounding set to {keep}")
            }
            Self::SetCapabilities(keep) if keep.is_empty() => f.write_str("drop every capability"),
            Self::SetCapabilities(keep) => write!(f, "drop every capability but {keep}"),
            Self::CheckBoundingSet(_) => f.write_str("check the capability bounding set"),
            Self::CheckCapabilities(_) => {
                f.write_str("check the effective, permitted, inheritable and ambient capabilities")
            }
            Self::Landlock(ruleset) => write!(f, "begin a Landlock ruleset: {ruleset}"),
            Self::LandlockPath { path, rights } => write!(f, "allow {rights} beneath {path:?}"),
            Self::LandlockPort(Port { port, access: 1 }) => {
                write!(f, "allow to bind to TCP port {port}")
            }
            Self::LandlockPort(Port { port, .. }) => {
                write!(f, "allow to connect to TCP port {port}")
            }
            Self::LandlockRestrict => f.write_str("restrict with Landlock"),
            Self::Subreaper => f.write_str("adopt the program's orphans"),
            Self::DieBeforeInit => {
                f.write_str("be killed before init when memory runs out (oom_score_adj)")
            }
            Self::DieWithInit => f.write_str("tie the program's life to init's"),
            Self::Connect(stream) => write!(f, "connect {stream}"),
            Self::Chdir(folder) => write!(f, "enter the working directory {folder:?}"),
            Self::Find { candidates, .. } => match candidates.as_slice() {
                [path] => write!(f, "find the program {path:?}"),
                _ => write!(f, "find the program in {} places", candidates.len()),
            },
            Self::CloseFds => f.write_str("close every other file descriptor"),
            Self::Signals => f.write_str("reset the signal mask and SIGPIPE"),
            Self::NoNewPrivs => f.write_str("set no_new_privs"),
            Self::CloseMemory => f.write_str("close its memory to tracers"),
            Self::OpenMemory => f.write_str("open its memory to its user"),
            Self::Announce => f.write_str("announce the program's process number"),
            Self::Hold => f.write_str("wait until the program is released"),
            Self::Filter(program, _) => write!(
                f,
                "install the seccomp filter ({} instructions)",
                program.insns().len()
            ),
            Self::Exec => f.write_str("execute the program"),
        }
    }
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.files.bits() != 0, "files"),
            (self.ports & 1 != 0, "TCP bind"),
            (self.ports & 2 != 0, "TCP connect"),
            (self.scopes & 1 != 0, "abstract sockets"),
            (self.scopes & 2 != 0, "signals"),
        ];
        let kinds = kinds.into_iter().filter(|(is_there, _kind)| *is_there);
        for (index, (_is_there, kind)) in kinds.enumerate() {
            let before = if index == 0 { "" } else { ", " };
            write!(f, "{before}{kind}")?;
        }
        Ok(())
    }
}
