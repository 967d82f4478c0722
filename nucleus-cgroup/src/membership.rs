//! `/proc/PID/cgroup`: where a process is in each hierarchy.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The cgroups of one process (cgroups(7), "/proc files").
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Membership {
    /// The path in the v2 hierarchy, relative to the root of the reader's
    /// cgroup namespace; it begins with `/..` when it lies outside of that.
    /// `None` on a kernel without v2.
    pub unified: Option<PathBuf>,
    /// Controller or named hierarchy (`name=systemd`) of version 1 to the path
    /// in it.
    pub v1: BTreeMap<OsString, PathBuf>,
}

/// Why a line is not one of `/proc/PID/cgroup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not ID:CONTROLLERS:PATH")]
pub struct MembershipError {
    /// The line, counted from 1.
    pub line: usize,
}

/// Reads every line: `0::/path` is version 2, `4:memory:/path` version 1.
///
/// # Errors
///
/// A line without two colons.
pub fn parse(bytes: &[u8]) -> Result<Membership, MembershipError> {
    let mut found = Membership::default();
    let lines = bytes.split(|&byte| byte == b'\n').enumerate();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let (Some(id), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            return Err(MembershipError { line: index + 1 });
        };
        let path = PathBuf::from(OsString::from_vec(path.to_vec()));
        if id == b"0" && controllers.is_empty() {
            found.unified = Some(path);
            continue;
        }
        for controller in controllers.split(|&byte| byte == b',') {
            let name = OsString::from_vec(controller.to_vec());
            found.v1.insert(name, path.clone());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_hybrid_host() {
        let got =
            parse(b"9:name=systemd:/\n4:cpu,cpuacct:/a:b\n0::/user.slice\n").expect("a valid file");
        assert_eq!(got.unified.as_deref(), Some(Path::new("/user.slice")));
        let names: Vec<_> = got.v1.keys().collect();
        assert_eq!(names, ["cpu", "cpuacct", "name=systemd"]);
        assert_eq!(got.v1[&OsString::from("cpuacct")], Path::new("/a:b"));
    }

    #[test]
    fn a_host_of_either_version_alone() {
        let v2 = parse(b"0::/\n").expect("a valid file");
        assert_eq!(v2.unified.as_deref(), Some(Path::new("/")));
        assert!(v2.v1.is_empty());
        let v1 = parse(b"1:memory:/\n").expect("a valid file");
        assert_eq!(v1.unified, None);
    }

    #[test]
    fn a_line_without_colons_is_named() {
        assert_eq!(parse(b"0::/\nmemory\n"), Err(MembershipError { line: 2 }));
    }
}
