//! The cgroup of a systemd unit or of a container, by its name.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// What a cgroup below one hierarchy is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// `nginx`, `nginx.service`, `machine-x.scope`, `user-1000.slice`.
    Unit(&'a str),
    /// The beginning of the id that docker, podman and containerd show.
    Container(&'a str),
}

/// The path of the one cgroup below `root` that is `wanted`'s, from the root.
pub(super) fn find(root: &Path, wanted: Wanted<'_>) -> anyhow::Result<PathBuf> {
    match wanted {
        Wanted::Unit(_) => ensure!(
            ["init.scope", "system.slice", "user.slice"]
                .iter()
                .any(|name| root.join(name).is_dir()),
            "systemd does not manage the cgroups here: {} holds none of its own; \
             name the cgroup with --cgroup",
            root.display()
        ),
        Wanted::Container(id) => ensure!(
            id.len() >= 4 && is_hex(id),
            "{id:?} is no container id; give at least its first 4 digits, as `docker ps` or \
             `podman ps` shows it"
        ),
    }
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        // One that was removed meanwhile has none.
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let path = entry.path();
            if entry
                .file_name()
                .to_str()
                .is_some_and(|name| wanted.is(name))
            {
                found.push(path);
            } else {
                folders.push(path);
            }
        }
    }
    found.sort();
    match found.as_slice() {
        [one] => Ok(one
            .strip_prefix(root)
            .context("a cgroup outside of its hierarchy")?
            .to_owned()),
        [] => bail!(
            "{} has no cgroup below {}: it does not run, or is not of this host",
            wanted.name(),
            root.display()
        ),
        several => {
            let paths: Vec<_> = several
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            bail!(
                "{} has several cgroups; name one with --cgroup: {}",
                wanted.name(),
                paths.join(", ")
            )
        }
    }
}

impl Wanted<'_> {
    fn name(self) -> String {
        match self {
            Self::Unit(name) => format!("unit {}", full_name(name)),
            Self::Container(id) => format!("container {id}"),
        }
    }

    fn is(self, folder: &str) -> bool {
        match self {
            Self::Unit(name) => folder == full_name(name),
            Self::Container(id) => container_of(folder).is_some_and(|full| full.starts_with(id)),
        }
    }
}

/// As systemctl takes it: without a type it is a service.
fn full_name(unit: &str) -> String {
    let types = [".service", ".scope", ".slice", ".mount", ".socket", ".swap"];
    if types.iter().any(|suffix| unit.ends_with(suffix)) {
        unit.to_owned()
    } else {
        format!("{unit}.service")
    }
}

/// The id in `docker-ID.scope`, `libpod-ID.scope`, `cri-containerd-ID.scope`, or
/// a folder that is named by the id alone. The monitor of a container is none.
fn container_of(folder: &str) -> Option<&str> {
    let name = folder.strip_suffix(".scope").unwrap_or(folder);
    let (runtime, id) = name.rsplit_once('-').unwrap_or(("", name));
    (id.len() == 64 && is_hex(id) && !runtime.ends_with("conmon")).then_some(id)
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(folders: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in folders {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        root
    }

    fn check(root: &Path, wanted: Wanted<'_>, expected: &str) {
        assert_eq!(
            find(root, wanted).unwrap(),
            Path::new(expected),
            "{wanted:?}"
        );
    }

    fn refused(root: &Path, wanted: Wanted<'_>, part: &str) {
        let error = find(root, wanted).unwrap_err().to_string();
        assert!(error.contains(part), "{wanted:?}: {error}");
    }

    #[test]
    fn units_are_found_by_their_full_names() {
        let root = hierarchy(&[
            "init.scope",
            "system.slice/nginx.service",
            "system.slice/a.service",
            "user.slice/user-1000.slice/user@1000.service/app.slice/a.service",
        ]);
        let root = root.path();
        check(root, Wanted::Unit("nginx"), "system.slice/nginx.service");
        check(
            root,
            Wanted::Unit("nginx.service"),
            "system.slice/nginx.service",
        );
        check(
            root,
            Wanted::Unit("user-1000.slice"),
            "user.slice/user-1000.slice",
        );
        refused(root, Wanted::Unit("ngin"), "ngin.service has no cgroup");
        refused(root, Wanted::Unit("a"), "--cgroup");
    }

    #[test]
    fn without_systemd_there_are_no_units() {
        let root = hierarchy(&["docker"]);
        refused(
            root.path(),
            Wanted::Unit("nginx"),
            "systemd does not manage",
        );
    }

    #[test]
    fn containers_are_found_by_the_beginning_of_their_ids() {
        let (one, two) = ("ab12".repeat(16), "cd34".repeat(16));
        let root = hierarchy(&[
            &format!("system.slice/docker-{one}.scope/inner"),
            &format!("docker/{two}"),
            &format!("machine.slice/libpod-conmon-{one}.scope"),
        ]);
        let root = root.path();
        let docker = format!("system.slice/docker-{one}.scope");
        check(root, Wanted::Container("ab12ab12"), &docker);
        check(root, Wanted::Container(&two), &format!("docker/{two}"));
        refused(root, Wanted::Container("ffff"), "has no cgroup");
        refused(root, Wanted::Container("nginx"), "no container id");
    }
}
