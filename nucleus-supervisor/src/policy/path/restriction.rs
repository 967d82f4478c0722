//! What a callback has taken away, by what its paths led to when it did.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use super::PathRules;
use super::walk::Found;
use crate::callback::Context;

/// The denied paths of a [`Context`], each with what it led to at the first call
/// after it was denied: renaming a folder above it later leads nowhere else.
#[derive(Debug, Default)]
pub(super) struct Restrictions(Mutex<BTreeMap<PathBuf, PathRules>>);

impl Restrictions {
    /// What a process may not use, as of now.
    pub(super) fn of(
        &self,
        context: &Context,
        process: u32,
        root: BorrowedFd<'_>,
    ) -> Result<Vec<PathRules>, Errno> {
        let denied = context.denied_paths(process);
        // Nothing panics between changes that belong together.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|path, _| denied.contains_key(path));
        for path in denied.keys() {
            if !known.contains_key(path) {
                let rules = PathRules::new();
                // One that is not absolute is no path after all links.
                rules.deny(path).map_err(|_relative| Errno::ACCESS)?;
                known.insert(path.clone(), rules);
            }
        }
        for rules in known.values() {
            rules.marks(root)?;
        }
        let own = known
            .iter()
            .filter(|(path, _)| denied.get(*path) == Some(&true));
        Ok(own.map(|(_, rules)| rules.clone()).collect())
    }
}

/// Whether none of the restrictions is about what was found.
pub(super) fn judge(
    restrictions: &[PathRules],
    root: BorrowedFd<'_>,
    found: &Found,
) -> Result<(), Errno> {
    for rules in restrictions {
        if let Some(object) = &found.object {
            rules.judge(root, object.as_fd())?;
        }
        if let Some(place) = &found.place {
            rules.judge_name(root, place.folder.as_fd(), &place.name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callback::Whom;
    use rustix::fs::{Mode, OFlags};
    use std::fs;

    #[test]
    fn a_folder_that_is_renamed_takes_its_denials_with_it() {
        let top = std::env::temp_dir().join(format!("nucleus-taken-{}", std::process::id()));
        fs::create_dir_all(top.join("a")).expect("a folder");
        fs::write(top.join("a/f"), "").expect("a file");
        let open = |path: &std::path::Path| rustix::fs::open(path, OFlags::PATH, Mode::empty());
        let root = open("/".as_ref()).expect("the root");
        let (context, restrictions) = (Context::default(), Restrictions::default());
        context.deny_path(Whom::Process(1), top.join("a/f"));
        // Another process's call, and then that of the one that it is about.
        let of = |process| restrictions.of(&context, process, root.as_fd());
        assert_eq!(of(2).expect("found").len(), 0);
        fs::rename(top.join("a"), top.join("b")).expect("renamed");
        let denied = of(1).expect("found");
        let file = open(&top.join("b/f")).expect("a file");
        let judged = denied.iter().map(|it| it.judge(root.as_fd(), file.as_fd()));
        assert_eq!(judged.collect::<Vec<_>>(), [Err(Errno::ACCESS)]);
        context.allow_path(Whom::Process(1), &top.join("a/f"));
        assert_eq!(of(1).expect("found").len(), 0);
        fs::remove_dir_all(&top).expect("removed");
    }
}
