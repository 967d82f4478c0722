//! What of the host the user wants the program to see, and folders in memory.

use super::builder::{Builder, READ_ONLY};
use crate::cpath::CPath;
use crate::error::LaunchError;
use crate::ids::{IdRange, Maker, inward};
use crate::isolation::{Access, Tmpfs};
use crate::plan::{IdMaps, MountAttr};
use crate::source::Opened;

impl Builder<'_> {
    pub(super) fn volume(
        &mut self,
        opened: Opened,
        access: Access,
        target: CPath,
    ) -> Result<(), LaunchError> {
        let (source, is_folder) = (opened.source(), opened.is_folder());
        match access {
            Access::ReadOnly => self.bind(source, target, is_folder, READ_ONLY, None),
            Access::ReadWrite => {
                let attr = MountAttr::NOSUID | MountAttr::NODEV;
                let ids = self.owner_becomes_program(&opened)?;
                self.bind(source, target.clone(), is_folder, attr, ids);
                self.grants.write(target, is_folder);
            }
        }
        self.keep(opened);
        Ok(())
    }

    pub(super) fn tmpfs(&mut self, tmpfs: &Tmpfs, target: CPath) -> Result<(), LaunchError> {
        let options = self.owned("mode=755");
        let size = tmpfs.size.unwrap_or_else(|| self.share(20));
        self.memory(target, &options, MountAttr::empty(), size)
    }

    /// The id mapping with which the owner of a file is the program's user,
    /// unless the program knows the owner as itself or as somebody else.
    pub(super) fn owner_becomes_program(
        &mut self,
        source: &Opened,
    ) -> Result<Option<usize>, LaunchError> {
        let owner = source.owner();
        let (users, groups) = (&self.ids.users, &self.ids.group_ranges);
        if self.ids.maker != Maker::Root {
            let program = self.ids.outside.0;
            let known = inward(users, owner.0).is_some();
            if program == self.host.uid || known || source.is_writable_by_all() {
                return Ok(None);
            }
            return Err(LaunchError::GrantOfAnother {
                path: source.path.as_path().to_owned(),
                owner: owner.0,
                program,
            });
        }
        if inward(users, owner.0).is_some() && inward(groups, owner.1).is_some() {
            return Ok(None);
        }
        let maps = IdMaps::single(owner, self.ids.outside);
        Ok(Some(self.mount_ids(maps)))
    }

    /// As [`Builder::owner_becomes_program`], for a folder that nothing is
    /// written to: everybody else's ids stay what they are, so that files with
    /// an access control list can be copied.
    pub(super) fn owner_and_program_swap(
        &mut self,
        source: &Opened,
    ) -> Result<Option<usize>, LaunchError> {
        let is_mapped = self.owner_becomes_program(source)?.is_some();
        let program = self.ids.outside;
        Ok(is_mapped.then(|| self.swap_ids(source.owner(), program)))
    }

    /// The id mapping by which two users and groups stand for each other.
    pub(super) fn swap_ids(&mut self, one: (u32, u32), other: (u32, u32)) -> usize {
        let users = swapped(&self.host.user_extents, one.0, other.0);
        let groups = swapped(&self.host.group_extents, one.1, other.1);
        self.mount_ids(IdMaps::new(&users, &groups, false))
    }

    /// The number of these maps.
    fn mount_ids(&mut self, maps: IdMaps) -> usize {
        let known = self.mount_ids.iter().position(|known| *known == maps);
        known.unwrap_or_else(|| {
            self.mount_ids.push(maps);
            self.mount_ids.len() - 1
        })
    }
}

/// All ids, as they are but for two that stand for each other.
fn swapped(extents: &[(u32, u32)], one: u32, other: u32) -> Vec<IdRange> {
    let (low, high) = (one.min(other), one.max(other));
    let mut ranges = Vec::new();
    let mut add = |first: u32, end: u32, outside: u32| {
        ranges.extend(IdRange::new(first, outside, end.saturating_sub(first)));
    };
    for &(mut first, end) in extents {
        for (id, outside) in [(low, high), (high, low)] {
            if (first..end).contains(&id) {
                add(first, id, first);
                add(id, id + 1, outside);
                first = id + 1;
            }
        }
        add(first, end, first);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ids_stand_for_each_other() {
        let check = |extents: &[(u32, u32)], one, other, expected: &[(u32, u32, u32)]| {
            let found = swapped(extents, one, other);
            let plain: Vec<_> = found
                .iter()
                .map(|range| (range.inside(), range.outside(), range.count()))
                .collect();
            assert_eq!(plain, expected);
        };
        let all = (0, u32::MAX);
        check(
            &[all],
            5,
            100,
            &[
                (0, 0, 5),
                (5, 100, 1),
                (6, 6, 94),
                (100, 5, 1),
                (101, 101, u32::MAX - 101),
            ],
        );
        check(&[(0, 10)], 9, 0, &[(0, 9, 1), (1, 1, 8), (9, 0, 1)]);
        check(&[(0, 3), (5, 6)], 7, 5, &[(0, 0, 3), (5, 7, 1)]);
        check(&[(0, 3)], 1, 1, &[(0, 0, 1), (1, 1, 1), (2, 2, 1)]);
    }
}
