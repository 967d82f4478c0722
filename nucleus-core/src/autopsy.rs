//! Why a program did not start, out of what it left behind.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nucleus_seccomp::Action;
use rustix::io::Errno;

use crate::error::{ImageError, KeptLayerError, LaunchError};
use crate::isolation::Resource;
use crate::launch::namespaces_refused;
use crate::message::Message;
use crate::mounted_on::MountedOn;
use crate::plan::{Namespaces, Plan, Reaping, Step};
use crate::report::{Call, Fault, Report, Stage};
use crate::source::Source;

/// What is needed to say why a program did not start.
#[derive(Debug)]
pub(crate) struct Autopsy {
    pub(crate) report: Report,
    pub(crate) plan: Plan,
    pub(crate) program: OsString,
    pub(crate) searched: Vec<PathBuf>,
    /// What the filter answers execve with.
    pub(crate) exec: Option<Action>,
}

impl Autopsy {
    /// What the child tells and hears without system calls.
    pub(crate) const fn report(&self) -> &Report {
        &self.report
    }

    /// A step failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.report.failure().is_some()
    }

    /// The filter ends the program at execve without a report.
    pub(crate) const fn filter_kills_exec(&self) -> bool {
        matches!(
            self.exec,
            Some(Action::KillProcess | Action::KillThread | Action::Trap(_))
        )
    }

    /// Why the program did not start, if it did not.
    pub(crate) fn diagnose(&self, ended: Option<Message>) -> Option<LaunchError> {
        if let Some(error) = self.failure() {
            return Some(error);
        }
        match ended? {
            Message::Killed {
                signal,
                started: false,
                ..
            } => Some(match self.exec {
                Some(action) if signal == libc::SIGSYS && self.filter_kills_exec() => {
                    LaunchError::FilterForbidsExec {
                        path: self.found(),
                        action,
                    }
                }
                _ => LaunchError::KilledEarly { signal },
            }),
            _ => None,
        }
    }

    /// The step that failed, as an error.
    pub(crate) fn failure(&self) -> Option<LaunchError> {
        let failure = self.report.failure()?;
        let errno = failure.fault.errno;
        let steps = match failure.stage {
            Stage::Init => &self.plan.init,
            Stage::Program => &self.plan.program,
            Stage::Settle => &self.plan.settle,
        };
        let step = steps.get(failure.step);
        Some(match step {
            Some(Step::Find { .. }) if errno == Errno::NOENT => self.missing(),
            Some(Step::Find { .. }) => LaunchError::NotExecutable {
                path: self.found(),
                source: errno.into(),
            },
            Some(Step::Exec) => self.refused(errno),
            Some(Step::Take {
                source,
                recursive,
                ids,
                ..
            }) => not_taken(source, *recursive, ids.is_some(), failure.fault)
                .unwrap_or_else(|| LaunchError::step(describe(step), failure.fault)),
            None if self.plan.program_ids.is_some() && failure.fault.call == Call::Clone => {
                namespaces_refused(Namespaces::USER, errno)
            }
            Some(Step::EnterNetwork) if failure.fault.call == Call::Unshare => {
                namespaces_refused(Namespaces::NET, errno)
            }
            Some(Step::Chdir(folder))
                if self.plan.reaping == Reaping::Namespace
                    && matches!(errno, Errno::NOENT | Errno::NOTDIR) =>
            {
                LaunchError::NoFolder {
                    path: OsStr::from_bytes(folder.to_bytes()).into(),
                    source: errno.into(),
                }
            }
            Some(Step::Chdir(folder))
                if self.plan.reaping == Reaping::Namespace && errno == Errno::ACCESS =>
            {
                LaunchError::ClosedFolder {
                    path: OsStr::from_bytes(folder.to_bytes()).into(),
                    source: errno.into(),
                }
            }
            Some(Step::Filter(..)) if errno == Errno::MFILE => match self.limit_of_files() {
                Some(limit) => LaunchError::NoListener {
                    limit,
                    source: errno.into(),
                },
                None => LaunchError::step(describe(step), failure.fault),
            },
            Some(Step::Limit(limit)) if errno == Errno::PERM => LaunchError::LimitTooHigh {
                resource: limit.resource.name(),
                value: limit.value,
                source: errno.into(),
            },
            Some(Step::EnterImage(overlay))
                if failure.fault.call == Call::MountOverlay && overlay.kept.is_some() =>
            {
                let path = overlay.kept.map(|kept| self.taken(kept));
                KeptLayerError::Mount {
                    path: path.unwrap_or_default(),
                    over: self.taken(overlay.lower),
                    source: errno.into(),
                }
                .into()
            }
            Some(Step::Overlay(overlay) | Step::EnterImage(overlay))
                if failure.fault.call == Call::MountOverlay =>
            {
                LaunchError::Overlay {
                    path: self.taken(overlay.lower),
                    source: errno.into(),
                }
            }
            _ => match self.image() {
                Some(path) if errno == Errno::ACCESS && is_closed(&path) => {
                    let (step, source) = (describe(step), errno.into());
                    ImageError::Closed { step, path, source }.into()
                }
                Some(path) if errno == Errno::ACCESS && failure.stage == Stage::Init => {
                    let (step, source) = (describe(step), errno.into());
                    ImageError::NothingAdded { step, path, source }.into()
                }
                _ => LaunchError::step(describe(step), failure.fault),
            },
        })
    }

    /// How many files the program may have open, where that was asked for.
    fn limit_of_files(&self) -> Option<u64> {
        self.plan.program.iter().find_map(|step| match step {
            Step::Limit(limit) if limit.resource == Resource::OpenFiles => Some(limit.value),
            _ => None,
        })
    }

    /// The root directory of the user's own.
    fn image(&self) -> Option<PathBuf> {
        self.plan.init.iter().find_map(|step| match step {
            Step::EnterImage(overlay) => Some(self.taken(overlay.lower)),
            _ => None,
        })
    }

    /// Where on the host a tree is from.
    fn taken(&self, tree: usize) -> PathBuf {
        let mut trees = self.plan.init.iter().filter_map(|step| match step {
            Step::Take { source, .. } => Some(source.path().to_bytes()),
            Step::TakeProc => Some(&b"/proc"[..]),
            _ => None,
        });
        OsStr::from_bytes(trees.nth(tree).unwrap_or_default()).into()
    }

    /// There is no such program, or the sandbox does not show it.
    fn missing(&self) -> LaunchError {
        let program = self.program.clone();
        if let Some(path) = self.image() {
            let searched = self.searched.clone();
            return ImageError::NoProgram {
                program,
                searched,
                path,
            }
            .into();
        }
        let shows_host = self.plan.reaping == Reaping::Namespace;
        let hidden = self
            .candidates()
            .map(|path| Path::new(OsStr::from_bytes(path.as_bytes())))
            .find(|path| shows_host && path.is_file())
            .map(|path| std::path::absolute(path).unwrap_or_else(|_error| path.to_owned()));
        match hidden {
            Some(path) => LaunchError::NotVisible {
                program,
                folder: path.parent().unwrap_or(&path).to_owned(),
                path,
            },
            None => LaunchError::NotFound {
                program,
                searched: self.searched.clone(),
            },
        }
    }

    /// execve came back. An errno of the filter looks like one of the file,
    /// so the filter is asked.
    fn refused(&self, errno: Errno) -> LaunchError {
        let path = self.found();
        let raw = u16::try_from(errno.raw_os_error()).unwrap_or(0);
        match self.exec {
            Some(action @ (Action::Errno(data) | Action::Trace(data))) if data == raw => {
                LaunchError::FilterForbidsExec { path, action }
            }
            Some(action @ (Action::Trace(_) | Action::Notify)) if errno == Errno::NOSYS => {
                LaunchError::FilterForbidsExec { path, action }
            }
            _ if errno == Errno::NOENT => LaunchError::InterpreterMissing { path },
            _ => LaunchError::NotExecutable {
                path,
                source: errno.into(),
            },
        }
    }

    /// The places where the program was looked for.
    fn candidates(&self) -> impl Iterator<Item = &CString> {
        self.plan.program.iter().flat_map(|step| match step {
            Step::Find { candidates, .. } => candidates.as_slice(),
            _ => &[],
        })
    }

    /// The file that was, or would have been, executed.
    fn found(&self) -> PathBuf {
        self.candidates().nth(self.report.candidate()).map_or_else(
            || PathBuf::from(&self.program),
            |path| Path::new(OsStr::from_bytes(path.as_bytes())).to_owned(),
        )
    }
}

/// What a step, or init behind its last one, was to do.
fn describe(step: Option<&Step>) -> String {
    step.map_or_else(
        || "start the program's process".to_owned(),
        ToString::to_string,
    )
}

/// Whether only its owner, and perhaps a group, may enter a folder.
fn is_closed(folder: &Path) -> bool {
    folder
        .metadata()
        .is_ok_and(|found| found.mode() & 0o001 == 0)
}

/// Why something of the host could not be taken, where more can be said than
/// the call that failed.
fn not_taken(source: &Source, recursive: bool, mapped: bool, fault: Fault) -> Option<LaunchError> {
    let path = PathBuf::from(OsStr::from_bytes(source.path().to_bytes()));
    match (source, fault.call, fault.errno) {
        (
            Source::Opened { .. },
            Call::Open | Call::Stat,
            Errno::LOOP | Errno::NOENT | Errno::NOTDIR | Errno::STALE,
        ) => Some(LaunchError::Replaced { path }),
        (Source::Opened { .. }, Call::OpenTree, Errno::INVAL) if !recursive => {
            Some(LaunchError::MountsBelow { path })
        }
        (_, Call::MountSetattr, Errno::INVAL) if mapped => {
            let mount = MountedOn::of(&path)?;
            Some(LaunchError::NotMappable {
                owner: path.metadata().ok()?.uid(),
                path,
                kind: mount.kind,
                mount_point: mount.point,
                source: fault.errno.into(),
            })
        }
        _ => None,
    }
}
