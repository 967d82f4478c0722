//! What tests of changes begin with.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{Changes, Layers, Owner};

/// Two layers and a folder that belongs to neither.
pub(super) struct Folders {
    scratch: tempfile::TempDir,
}

impl Folders {
    pub(super) fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        for name in ["upper", "lower", "outside"] {
            fs::create_dir(scratch.path().join(name)).unwrap();
        }
        Self { scratch }
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.scratch.path().join(path)
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    pub(super) fn changes(&self) -> Changes {
        let open = |name: &str| OwnedFd::from(File::open(self.at(name)).unwrap());
        let layers = Layers {
            lower: open("lower"),
            owner: Owner::Caller,
            user_xattr: true,
            has_user_attributes: true,
            attributes: Vec::new(),
        };
        Changes::read(open("upper"), layers).unwrap()
    }

    pub(super) fn said(&self) -> Vec<String> {
        self.changes().iter().map(ToString::to_string).collect()
    }

    /// No folder of a commit is left.
    pub(super) fn assert_tidy(&self) {
        let names = fs::read_dir(self.at("lower")).unwrap();
        let mut names = names.map(|entry| entry.unwrap().file_name());
        assert!(!names.any(|name| name.as_bytes().starts_with(b".nucleus")));
    }
}
