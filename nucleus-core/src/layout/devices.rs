//! `/dev` and `/proc`, and the masks in the one that need the other.

use super::builder::Builder;
use crate::error::LaunchError;
use crate::host::{DEVICES, Node};
use crate::plan::{MountAttr, Step};
use crate::source::Source;

impl Builder<'_> {
    /// The devices that every program may use, and a folder for terminals.
    pub(super) fn devices(&mut self) -> Result<(), LaunchError> {
        for path in DEVICES {
            let attr = MountAttr::NOSUID | MountAttr::NOEXEC;
            let source = Source::Path(path.into());
            self.bind(source, path.into(), false, attr, None);
        }
        self.link(c"/dev/fd", c"/proc/self/fd");
        self.link(c"/dev/ptmx", c"pts/ptmx");
        self.link(c"/dev/stderr", c"/proc/self/fd/2");
        self.link(c"/dev/stdin", c"/proc/self/fd/0");
        self.link(c"/dev/stdout", c"/proc/self/fd/1");
        // With the mode of what masks, which it is at first.
        self.folder(c"/dev/pts", 0o555);
        self.grants.devices(c"/dev");
        let size = self.share(10);
        self.private(c"/dev/shm", 0o1777, false, MountAttr::NOEXEC, size)
    }

    /// Processes, without what tells about the host; and terminals.
    pub(super) fn proc(&mut self, nested: bool) {
        self.folder(c"/proc", 0o555);
        self.steps.push(Step::Place {
            tree: self.takes.len(),
            path: c"/proc".into(),
        });
        self.takes.push(Step::TakeProc);
        // Root owns /proc/sys, and needs no capability to write to it: what
        // runs as root of the host after all may not.
        if self.ids.outside.0 != 0 {
            self.grants.proc(c"/proc");
        }
        if !nested {
            for (path, node) in &self.host.sensitive_proc {
                let path = path.clone();
                self.steps.push(match node {
                    Node::Folder => Step::MaskDir(path),
                    Node::File | Node::Link(_) => Step::MaskFile(path),
                });
            }
        }
        self.steps.push(Step::Devpts);
    }
}
