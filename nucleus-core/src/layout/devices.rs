//! `/dev` and `/proc`, and the masks in the one that need the other.

use std::path::Path;

use super::builder::Builder;
use crate::error::LaunchError;
use crate::host::Node;
use crate::plan::{MountAttr, Step};
use crate::source::Source;
use crate::strings::c_string;

impl Builder<'_> {
    /// The devices that every program may use, and a folder for terminals.
    pub(super) fn devices(&mut self) -> Result<(), LaunchError> {
        for name in ["full", "null", "random", "tty", "urandom", "zero"] {
            let path = Path::new("/dev").join(name);
            let attr = MountAttr::NOSUID | MountAttr::NOEXEC;
            let source = Source::Path(c_string("path", &path)?);
            self.bind(source, &path, false, attr, None)?;
        }
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("ptmx", "pts/ptmx"),
            ("stderr", "/proc/self/fd/2"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
        ] {
            self.link(&Path::new("/dev").join(name), Path::new(target))?;
        }
        // With the mode of what masks, which it is at first.
        self.folder(Path::new("/dev/pts"), 0o555)?;
        self.grants.devices("/dev")?;
        let size = self.share(10);
        self.memory("/dev/shm", "mode=1777", MountAttr::NOEXEC, size)
    }

    /// Processes, without what tells about the host; and terminals.
    pub(super) fn proc(&mut self, nested: bool) -> Result<(), LaunchError> {
        self.folder(Path::new("/proc"), 0o555)?;
        self.steps.push(Step::Place {
            tree: self.takes.len(),
            path: c_string("path", "/proc")?,
        });
        self.takes.push(Step::TakeProc);
        // Root owns /proc/sys, and needs no capability to write to it: what
        // runs as root of the host after all may not.
        if self.ids.outside.0 != 0 {
            self.grants.proc("/proc")?;
        }
        if !nested {
            for (path, node) in &self.host.sensitive_proc {
                let path = c_string("path", path)?;
                self.steps.push(match node {
                    Node::Folder => Step::MaskDir(path),
                    Node::File | Node::Link(_) => Step::MaskFile(path),
                });
            }
        }
        self.steps.push(Step::Devpts);
        Ok(())
    }
}
